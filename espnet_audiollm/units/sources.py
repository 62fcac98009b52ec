"""Where the frames come from that units are made of, by name.

    ctc:exp/ctc:3        layer 3 of the conformer of stage 5 (no number: the middle one)
    bestrq:exp/b:3       the same of a conformer of bin/bestrq_train, which saw no transcripts
    hf:DIR:9             layer 9 of a Hugging Face speech model (HuBERT, w2v-BERT) in DIR
    codec:DIR            a residual codec (DAC, Mimi, EnCodec) in DIR, which makes units itself
    fbank, fbank:4       patches of 4 frames of log mel energies: the control, nothing is learned

The analogues of AudioPaLM's tokens: USM-v2 saw an ASR loss, as our CTC conformer did; w2v-BERT and
USM-v1 (BEST-RQ) did not. The last layer of CTC is no choice: most of its frames say only "blank".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["ctc", "bestrq", "hf", "codec", "fbank"]
TRAINED = ("ctc", "bestrq")  # our conformer
FORMS = "ctc:EXP[:LAYER], bestrq:EXP[:LAYER], hf:DIR:LAYER, codec:DIR, fbank[:FRAMES]"
PATCH = 4  # frames of 10 ms: 25 units a second, as AudioPaLM has


@dataclass(frozen=True)
class Source:
    """A parsed name. Errors (ValueError): a kind, directory or number that cannot be."""

    kind: Kind
    directory: str = ""  # of the experiment or model; "": fbank
    number: int | None = (
        None  # layer, or frames of a patch. None: the middle layer (ctc, bestrq); codec
    )

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"units of {self.kind!r} are not known: give {FORMS}")
        if bool(self.directory) != (self.kind != "fbank"):
            raise ValueError(f"{self.kind} with directory {self.directory!r}: give {FORMS}")
        if self.kind == "codec":
            if self.number is not None:
                raise ValueError(f"{self}: a codec has no layers, its --levels are given beside it")
        elif self.number is None and self.kind not in TRAINED:
            raise ValueError(f"{self} does not say which layer: give {FORMS}")
        if self.number is not None and self.number < 1:
            raise ValueError(f"{self}: layers and frames are counted from 1")

    @classmethod
    def parse(cls, name: str) -> Source:
        """Of a name as above. Errors (ValueError): it has another form."""
        kind, *rest = name.split(":")
        number = int(rest.pop()) if rest and rest[-1].isdecimal() else None
        if kind == "fbank" and number is None:
            number = PATCH
        return cls(kind, ":".join(rest), number)  # type: ignore[arg-type]  # it is checked there

    def __str__(self) -> str:
        parts = (self.kind, self.directory, "" if self.number is None else str(self.number))
        return ":".join(part for part in parts if part)
