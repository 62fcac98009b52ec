"""What an alignment takes over from a CTC checkpoint (AudioChatLlama, section 3.2)."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from ..model.adapters import ADAPTERS, CTCCompressAdapter, TokenBridgeAdapter
from ..model.audiollm import AudioLLMESPnetModel
from ..model.llm import LLM
from ..text.tokens import BLANK, END, UNKNOWN
from ..train import checkpoints
from ..train.loading import load_state, read_config
from .choices import PARTS

TOKENS = ("token_type", "token_list", "bpemodel")  # what a recogniser's config.yaml says of them


@dataclass(frozen=True)
class InitCTC:
    """A checkpoint of stage 5, read and known to be one."""

    path: Path
    state: checkpoints.State

    @classmethod
    def read(cls, path: str | Path) -> InitCTC:
        """ValueError: missing, damaged, or of another kind of training."""
        state = checkpoints.load(Path(path))
        if "ctc_out.weight" not in state:
            raise ValueError(
                f"--init_ctc {path} has no CTC layer: give a checkpoint of stage 5, "
                "like exp/ctc/valid.loss.ave.pth"
            )
        return cls(Path(path), state)

    def part(self, name: str) -> checkpoints.State:
        """The weights of the submodule `name`, without this prefix."""
        prefix = f"{name}."
        return {
            key.removeprefix(prefix): value
            for key, value in self.state.items()
            if key.startswith(prefix)
        }

    def set_sizes(self, args: argparse.Namespace) -> None:
        """Put into `args` (and so into config.yaml) what the model needs to know of the CTC layer:
        the number of pieces for the adapter, and the tokens.

        ValueError: no config.yaml beside the checkpoint."""
        if _reads_ctc(args):
            number = len(self.state["ctc_out.weight"])
            args.audio_adapter_conf = {**args.audio_adapter_conf, "num_pieces": number}
        if _ctc_weight(args) or ADAPTERS[args.audio_adapter] is TokenBridgeAdapter:
            theirs = read_config(self.path.parent, *TOKENS)
            args.ctc_tokens = {name: getattr(theirs, name) for name in TOKENS}

    def load_into(self, model: AudioLLMESPnetModel, args: argparse.Namespace) -> None:
        """The speech encoder's weights, and the CTC layer's where the adapter has one.

        ValueError: the encoders differ, with the options that do."""
        try:
            load_state(model.speech_encoder, self.part("speech_encoder"), self.path)
        except ValueError as error:
            differ = "; ".join(self._differences(args)) or str(error)
            raise ValueError(
                f"--init_ctc {self.path} has another speech encoder than this configuration "
                f"({differ}): give both trainings the same one"
            ) from error
        if _reads_ctc(args) or _ctc_weight(args):
            load_state(model.ctc_layer(), self.part("ctc_out"), self.path)

    def _differences(self, args: argparse.Namespace) -> Iterator[str]:
        """Options of the speech encoder that are others in the checkpoint's config.yaml."""
        if not (self.path.parent / "config.yaml").exists():
            return
        theirs = read_config(self.path.parent)
        for name in PARTS:
            yield from _different(f"{name}", getattr(theirs, name), getattr(args, name))
            there, here = (getattr(each, f"{name}_conf") for each in (theirs, args))
            for key in sorted(there.keys() | here.keys()):
                yield from _different(f"{name}_conf {key}", there.get(key), here.get(key))


def check_adapter(args: argparse.Namespace) -> None:
    """ValueError: a CTC layer is needed, and nothing says which."""
    needing = []
    if _reads_ctc(args) and "num_pieces" not in args.audio_adapter_conf:
        needing.append(f"--audio_adapter {args.audio_adapter}")
    if _ctc_weight(args) and not getattr(args, "ctc_tokens", None):
        needing.append(f"--ctc_weight {_ctc_weight(args):g}")
    if needing:
        raise ValueError(
            f"{needing[0]} needs the CTC layer of stage 5: "
            "give --init_ctc CHECKPOINT (in a recipe: --init_checkpoint)"
        )


def _ctc_weight(args: argparse.Namespace) -> float:
    return getattr(args, "ctc_weight", 0.0)  # an older experiment has none


def _reads_ctc(args: argparse.Namespace) -> bool:
    return ADAPTERS[args.audio_adapter] in (CTCCompressAdapter, TokenBridgeAdapter)


def _different(option: str, there: object, here: object) -> Iterator[str]:
    if there != here:
        yield f"{option}: {there} there, {here} here"


def llm_ids(token_list: list[str], llm: LLM) -> list[tuple[str, int | None]]:
    """The tokens of a recogniser, and what they are in the LLM. None: a sign of the list's own.

    ValueError: they are not tokens of this LLM."""
    known = llm.tokenizer.get_vocab()
    own = (BLANK, UNKNOWN, END)
    strange = [token for token in token_list if token not in known and token not in own]
    if strange:
        raise ValueError(
            f"{len(strange)} of {len(token_list)} tokens of the recogniser are none of the LLM "
            f"{llm.name} (first: {strange[0]!r}): train the recogniser with --token_type llm and "
            "this LLM"
        )
    return [(token, None if token in own else known[token]) for token in token_list]


def read_tokens(adapter: TokenBridgeAdapter, token_list: list[str], llm: LLM) -> None:
    """Give the adapter the LLM's embeddings of a recogniser's tokens.

    ValueError: they are not tokens of this LLM."""
    ids = [id for _, id in llm_ids(token_list, llm)]
    ids_V = torch.tensor([id or 0 for id in ids])
    readable_V = torch.tensor([id is not None for id in ids])
    embed = llm.model.get_input_embeddings()
    with torch.no_grad():
        adapter.read_tokens(embed(ids_V.to(embed.weight.device)), readable_V)
