"""What was recognised, replaced, left out and put in, utterance by utterance.

The alignments are jiwer's, of words; both sides are normalised first (`text/normalize.py`). Two
sets of texts are joined by id: a missing hypothesis is an error that is named, never a shift."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, Literal

from ..store.tables import check_same_ids
from ..text.normalize import normalize

CHUNK = 1000  # utterances aligned at once: all alignments of a large set would fill the memory
MARKS = {"equal": " ", "substitute": "S", "delete": "D", "insert": "I"}

Normalize = Callable[[str], str]
Pair = tuple[str, str, str]  # id, reference, hypothesis, both normalised


@dataclass(frozen=True)
class Edit:
    """Words in a row that were recognised, replaced, left out or put in."""

    op: Literal["equal", "substitute", "delete", "insert"]
    reference_words: tuple[str, ...]  # () when inserted
    hypothesis_words: tuple[str, ...]  # () when deleted; as many as the reference's when replaced


def edits(reference: str, hypothesis: str, normalize: Normalize = normalize) -> list[Edit]:
    """How the hypothesis is made of the reference, both normalised here; either may be empty."""
    return next(aligned([("", normalize(reference), normalize(hypothesis))]))[1]


def pair(
    references: Mapping[str, str], hypotheses: Mapping[str, str], normalize: Normalize = normalize
) -> list[Pair]:
    """The two sides joined by id and normalised, in the order of the references.

    Raises ValueError for a missing or unknown hypothesis, or a reference without words."""
    if not references:
        raise ValueError("there are no reference transcripts to score against")
    check_same_ids(references, hypotheses, "the hypotheses", "decode this test set again")
    pairs = [(id, normalize(text), normalize(hypotheses[id])) for id, text in references.items()]
    empty = [id for id, reference, _ in pairs if not reference]
    if empty:
        raise ValueError(
            f"{len(empty)} of {len(references)} reference transcripts have no words once "
            f"normalised (first: {empty[0]}); correct them or drop these utterances"
        )
    return pairs


def chunks(pairs: Sequence[Pair]) -> Iterator[Sequence[Pair]]:
    """The pairs in parts of CHUNK."""
    return (pairs[i : i + CHUNK] for i in range(0, len(pairs), CHUNK))


def aligned(pairs: Sequence[Pair]) -> Iterator[tuple[str, list[Edit]]]:
    """(id, edits) of each pair."""
    import jiwer

    for chunk in chunks(pairs):
        ids, references, hypotheses = zip(*chunk, strict=True)
        out = jiwer.process_words(list(references), list(hypotheses))
        rows = zip(ids, out.references, out.hypotheses, out.alignments, strict=True)
        for id, reference, hypothesis, alignment in rows:
            yield id, [_edit(reference, hypothesis, part) for part in alignment]


def write_aligned(
    out: IO[str],
    references: Mapping[str, str],
    hypotheses: Mapping[str, str],
    normalize: Normalize = normalize,
) -> int:
    """Write the utterances with errors, for people; returns how many there are.

        u01: 1 S, 0 D, 1 I of 3 words
        ref  the cat sat ***
        hyp  the bat sat now
                 S       I

    Raises ValueError as `pair`."""
    wrong = 0
    for id, parts in aligned(pair(references, hypotheses, normalize)):
        if all(part.op == "equal" for part in parts):
            continue
        wrong += 1
        rows = _columns(parts)
        marks = [row[2] for row in rows]
        counts = ", ".join(f"{marks.count(mark)} {mark}" for mark in "SDI")
        out.write(f"{id}: {counts} of {sum(len(part.reference_words) for part in parts)} words\n")
        for name, line in zip(("ref", "hyp", "   "), zip(*rows, strict=True), strict=True):
            cells = (cell.ljust(max(map(len, row))) for cell, row in zip(line, rows, strict=True))
            out.write(f"{name}  {' '.join(cells)}".rstrip() + "\n")
        out.write("\n")
    return wrong


def _edit(reference: list[str], hypothesis: list[str], part: Any) -> Edit:
    return Edit(
        part.type,
        tuple(reference[part.ref_start_idx : part.ref_end_idx]),
        tuple(hypothesis[part.hyp_start_idx : part.hyp_end_idx]),
    )


def _columns(parts: Sequence[Edit]) -> list[tuple[str, str, str]]:
    """(reference word, hypothesis word, mark) from left to right; stars where a word is missing."""
    rows = []
    for part in parts:
        reference, hypothesis = part.reference_words, part.hypothesis_words
        reference = reference or tuple("*" * len(word) for word in hypothesis)
        hypothesis = hypothesis or tuple("*" * len(word) for word in reference)
        rows += [(a, b, MARKS[part.op]) for a, b in zip(reference, hypothesis, strict=True)]
    return rows
