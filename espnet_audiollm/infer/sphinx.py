"""A judge of generated speech that has nothing to do with its units: CMU PocketSphinx.

The acoustic model and the lexicon are those of its package (US English). The language model is a
bigram of texts that are given, so that the vocabulary is closed: generated speech is judged by how
well it says what could have been said here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from ..data import workers
from ..data.audio import read_mono_16k
from ..text.arpa import BEGIN, END, write_arpa
from ..text.ngrams import witten_bell
from ..text.normalize import normalize
from ..types import Utterance

LEXICON, ACOUSTIC = "en-us/cmudict-en-us.dict", "en-us/en-us"


class Sphinx:
    """A recogniser with the language model of `texts`. One object for each process.

    Errors (ValueError): words that the lexicon lacks; the package is not installed."""

    def __init__(self, texts: Iterable[str]):
        sphinx = package()
        bigrams = witten_bell((normalize(text).split() for text in texts), 2)
        check_words(set(bigrams.words) - {BEGIN, END}, Path(sphinx.get_model_path(LEXICON)))
        with tempfile.NamedTemporaryFile("w", suffix=".arpa", encoding="utf-8") as arpa:
            write_arpa(bigrams, arpa)
            arpa.flush()
            self._decoder = sphinx.Decoder(
                hmm=sphinx.get_model_path(ACOUSTIC),
                dict=sphinx.get_model_path(LEXICON),
                lm=arpa.name,
                loglevel="FATAL",
            )

    def text(self, samples: np.ndarray) -> str:
        """The text recognised in (N,) samples in [-1, 1] at 16 kHz; "" for nothing.

        It does not depend on earlier recordings: the running mean of the features starts anew,
        and is of all of the recording."""
        data = np.clip(np.rint(samples * 32768), -32768, 32767).astype("<i2").tobytes()
        self._decoder.reinit_feat()
        self._decoder.start_utt()
        self._decoder.process_raw(data, no_search=False, full_utt=True)
        self._decoder.end_utt()
        found = self._decoder.hyp()
        return found.hypstr if found else ""

    def __call__(self, utterances: Sequence[Utterance]) -> list[str]:
        """The text recognised in each recording."""
        return [self.text(read_mono_16k(utt.audio)) for utt in utterances]


def recognise(
    utterances: Sequence[Utterance | None], texts: Iterable[str], nj: int = 1
) -> Iterator[str]:
    """The text recognised in each, in order, by `nj` processes; "" where there is no recording.

    texts: of the language model. Errors (ValueError): as for `Sphinx`."""
    work = partial(_recognise, tuple(texts))
    size = max(1, min(workers.CHUNK, len(utterances) // (4 * nj)))
    return workers.in_order(work, utterances, nj, chunk_size=size)


def _recognise(texts: tuple[str, ...], utterance: Utterance | None) -> str:
    return _sphinx(texts)([utterance])[0] if utterance else ""


@lru_cache(maxsize=1)
def _sphinx(texts: tuple[str, ...]) -> Sphinx:
    """The recogniser of this process."""
    return Sphinx(texts)


def package():
    """The module pocketsphinx. ValueError: it is not installed."""
    try:
        import pocketsphinx
    except ImportError as error:
        raise ValueError(
            "the judge of generated speech needs the package pocketsphinx, which is not installed: "
            "run `pip install --no-deps pocketsphinx`"
        ) from error
    return pocketsphinx


def recognisable(texts: Mapping[str, str]) -> dict[str, str]:
    """Those of {id: text} whose words are all in the lexicon: the others cannot be judged.

    Errors (ValueError): none is; the package is not installed."""
    known = read_lexicon(Path(package().get_model_path(LEXICON)))
    found = {id_: text for id_, text in texts.items() if known.issuperset(normalize(text).split())}
    if texts and not found:
        raise ValueError(
            f"all of {len(texts)} texts (first: {next(iter(texts))}) have words that are not in "
            "the judge's lexicon of US English: judge with a recogniser of your own (--hypotheses)"
        )
    return found


def read_lexicon(path: Path) -> set[str]:
    """The words of a pronouncing dictionary."""
    with open(path, encoding="utf-8") as lines:
        return {line.split(maxsplit=1)[0] for line in lines if line.strip()}


def check_words(words: Iterable[str], lexicon: Path) -> None:
    """Refuse (ValueError) words that cannot be recognised."""
    missing = sorted(set(words) - read_lexicon(lexicon))
    if missing:
        shown = ", ".join(missing[:10]) + (", ..." if missing[10:] else "")
        raise ValueError(
            f"{len(missing)} words are not in the judge's lexicon of US English: {shown}; leave "
            "their utterances out (bin/judge_speech --leave_out_unknown true), or judge with a "
            "recogniser of your own (--hypotheses)"
        )
