"""Word and character error counts of a test set, joined by utterance id.

The counts of substitutions, deletions and insertions are the result; the rates are views of it.
Both sides go through `text.normalize` first, so case and punctuation are not counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from ..text.normalize import normalize
from .tables import check_same_ids


@dataclass(frozen=True)
class WordErrors:
    substitutions: int
    deletions: int
    insertions: int
    reference_words: int

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Word error rate, %. Insertions count, so it can exceed 100."""
        return 100.0 * self.errors / self.reference_words

    def as_dict(self) -> dict:
        """The counts and the rate (%), for a JSON file."""
        return {**asdict(self), "errors": self.errors, "wer": self.rate}


@dataclass(frozen=True)
class CharacterErrors:
    substitutions: int
    deletions: int
    insertions: int
    reference_characters: int  # blanks between words included

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Character error rate, %. Insertions count, so it can exceed 100."""
        return 100.0 * self.errors / self.reference_characters

    def as_dict(self) -> dict:
        """The counts and the rate (%), for a JSON file."""
        return {**asdict(self), "errors": self.errors, "cer": self.rate}


def word_errors(references: Mapping[str, str], hypotheses: Mapping[str, str]) -> WordErrors:
    """Word errors of {id: hypothesis} against {id: reference}; an empty hypothesis is allowed.

    Raises ValueError for a missing or unknown hypothesis, or a reference without words."""
    import jiwer

    return WordErrors(*_counts(jiwer.process_words, references, hypotheses))


def character_errors(
    references: Mapping[str, str], hypotheses: Mapping[str, str]
) -> CharacterErrors:
    """Character errors; as `word_errors`."""
    import jiwer

    return CharacterErrors(*_counts(jiwer.process_characters, references, hypotheses))


def _counts(process, references, hypotheses) -> tuple[int, int, int, int]:
    if not references:
        raise ValueError("there are no reference transcripts to score against")
    check_same_ids(references, hypotheses, "the hypotheses", "decode this test set again")
    refs = [normalize(text) for text in references.values()]
    empty = [id for id, text in zip(references, refs, strict=True) if not text]
    if empty:
        raise ValueError(
            f"{len(empty)} of {len(references)} reference transcripts have no words once "
            f"normalised (first: {empty[0]}); correct them or drop these utterances"
        )
    out = process(refs, [normalize(hypotheses[id]) for id in references])
    length = out.hits + out.substitutions + out.deletions
    return out.substitutions, out.deletions, out.insertions, length
