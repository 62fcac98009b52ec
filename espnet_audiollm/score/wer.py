"""Word and character error counts of a test set, joined by utterance id.

The counts of substitutions, deletions and insertions are the result; the rates are views of it.
Both sides are normalised first (`text/normalize.py`), so case and punctuation are not counted. The
alignments are jiwer's. A missing hypothesis is an error that is named, never a shift."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter
from typing import Any

from ..text.normalize import normalize
from .edits import Edit, Normalize, aligned, chunks, edits, pair, write_aligned

__all__ = [
    "CharacterErrors",
    "Edit",
    "WordErrors",
    "character_errors",
    "edits",
    "group",
    "group_by_length",
    "total",
    "total_characters",
    "utterance_characters",
    "utterance_errors",
    "word_errors",
    "write_aligned",
]


@dataclass(frozen=True, slots=True)
class _Errors:
    """What is counted of words and of characters."""

    substitutions: int
    deletions: int
    insertions: int

    @property
    def errors(self) -> int:
        """Of all three kinds."""
        return self.substitutions + self.deletions + self.insertions


@dataclass(frozen=True, slots=True)
class WordErrors(_Errors):
    """Counts of word errors."""

    reference_words: int

    @property
    def rate(self) -> float:
        """Word error rate, %. Insertions count, so it can exceed 100."""
        return 100.0 * self.errors / self.reference_words

    def as_dict(self) -> dict:
        """The counts and the rate (%), for a JSON file."""
        return {**asdict(self), "errors": self.errors, "wer": self.rate}


@dataclass(frozen=True, slots=True)
class CharacterErrors(_Errors):
    """Counts of character errors."""

    reference_characters: int  # blanks between words included, in languages that have them

    @property
    def rate(self) -> float:
        """Character error rate, %. Insertions count, so it can exceed 100."""
        return 100.0 * self.errors / self.reference_characters

    def as_dict(self) -> dict:
        """The counts and the rate (%), for a JSON file."""
        return {**asdict(self), "errors": self.errors, "cer": self.rate}


def word_errors(
    references: Mapping[str, str],
    hypotheses: Mapping[str, str],
    normalize: Normalize = normalize,
) -> WordErrors:
    """Word errors of {id: hypothesis} against {id: reference}; an empty hypothesis is allowed.

    Raises ValueError for a missing or unknown hypothesis, or a reference without words."""
    return total(utterance_errors(references, hypotheses, normalize).values())


def character_errors(
    references: Mapping[str, str],
    hypotheses: Mapping[str, str],
    normalize: Normalize = normalize,
) -> CharacterErrors:
    """Character errors; as `word_errors`."""
    return total_characters(utterance_characters(references, hypotheses, normalize).values())


def utterance_characters(
    references: Mapping[str, str],
    hypotheses: Mapping[str, str],
    normalize: Normalize = normalize,
) -> dict[str, CharacterErrors]:
    """{id: the character errors of this utterance}, in the order of the references."""
    import jiwer

    blank = " " if getattr(normalize, "spaced", True) else ""
    found = {}
    for chunk in chunks(pair(references, hypotheses, normalize)):
        ids, *sides = zip(*chunk, strict=True)
        said, recognised = ([text.replace(" ", blank) for text in side] for side in sides)
        out = jiwer.process_characters(said, recognised)
        for id, reference, parts in zip(ids, said, out.alignments, strict=True):
            found[id] = _count_characters(parts, len(reference))
    return found


def utterance_errors(
    references: Mapping[str, str],
    hypotheses: Mapping[str, str],
    normalize: Normalize = normalize,
) -> dict[str, WordErrors]:
    """{id: the word errors of this utterance}, in the order of the references."""
    return {id: _count(parts) for id, parts in aligned(pair(references, hypotheses, normalize))}


def total(errors: Iterable[WordErrors]) -> WordErrors:
    """The sum of the counts."""
    return WordErrors(*_sums(errors, "reference_words"))


def total_characters(errors: Iterable[CharacterErrors]) -> CharacterErrors:
    """The sum of the counts."""
    return CharacterErrors(*_sums(errors, "reference_characters"))


def _sums(errors: Iterable, size: str) -> list[int]:
    counts, sums = attrgetter("substitutions", "deletions", "insertions", size), [0, 0, 0, 0]
    for each in errors:
        for place, count in enumerate(counts(each)):
            sums[place] += count
    return sums


def group(errors: Mapping[str, WordErrors], group_of: Mapping[str, str]) -> dict[str, WordErrors]:
    """{group: sum of the utterances' errors}."""
    members: dict[str, list[WordErrors]] = {}
    for id, each in errors.items():
        members.setdefault(group_of[id], []).append(each)
    return {name: total(each) for name, each in members.items()}


def group_by_length(
    errors: Mapping[str, WordErrors], lengths: Mapping[str, float], edges: Sequence[float]
) -> list[tuple[str, WordErrors]]:
    """[(label, word errors)] of utterances by length, short ones first; empty groups are left out.

    lengths: seconds, or reference words, by id. edges: where the groups meet, in ascending order:
    (2, 4) makes "under 2", "2 to 4" (4 not included), "4 and more"."""
    labels = [f"under {edges[0]:g}"]
    labels += [f"{a:g} to {b:g}" for a, b in itertools.pairwise(edges)]
    labels.append(f"{edges[-1]:g} and more")
    groups = group(errors, {id: labels[bisect_right(edges, lengths[id])] for id in errors})
    return [(label, groups[label]) for label in labels if label in groups]


def _count(parts: Iterable[Edit]) -> WordErrors:
    substitutions = deletions = insertions = words = 0
    for part in parts:
        words += len(part.reference_words)
        if part.op == "substitute":
            substitutions += len(part.reference_words)
        elif part.op == "delete":
            deletions += len(part.reference_words)
        elif part.op == "insert":
            insertions += len(part.hypothesis_words)
    return WordErrors(substitutions, deletions, insertions, words)


def _count_characters(parts: Iterable[Any], length: int) -> CharacterErrors:
    """From jiwer's alignment of one utterance, whose reference has `length` characters."""
    sizes = {"equal": 0, "substitute": 0, "delete": 0, "insert": 0}
    for part in parts:
        stretch = part.ref_end_idx - part.ref_start_idx
        sizes[part.type] += stretch or part.hyp_end_idx - part.hyp_start_idx
    return CharacterErrors(sizes["substitute"], sizes["delete"], sizes["insert"], length)
