"""Preparations of question sets that are spoken here: read, counted, drawn, said (questions.py)."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from . import prepare as corpus
from . import questions

Questions = dict[str, questions.Question]  # by id


@dataclass(frozen=True)
class QuestionSet:
    """A published set of questions: its files, and how they are read."""

    name: str  # of the marker that says what was made
    files: Mapping[str, Path]  # by split as published
    published: Mapping[str, int]  # questions of each
    take: Callable[[dict], tuple[str, str, Iterable[str]]]  # id, text, answers of an object
    form: str  # what an object must have
    next_step: str  # where files are damaged
    key: str = ""  # of the array of objects (empty: it is the file)


def prepare(
    args: argparse.Namespace,
    source: QuestionSet,
    deal: Callable[[dict[str, Questions]], dict[str, Questions]] = dict,
) -> None:
    """Speak a question set into args.output/{train,valid,test}, unless that was done before.

    deal: makes train, valid and test of the splits as published. Raises one ValueError for
    everything that is wrong with the files."""
    marker = args.output / f".{source.name}"
    settings = corpus.settings_of(args, *source.files.values())
    if corpus.made_before(marker, settings):
        return
    faults = corpus.Faults(source.next_step, args.subset)
    found = {
        split: questions.read(path, source.take, source.form, faults, source.key)
        for split, path in source.files.items()
    }
    faults.refuse()
    counts = [
        corpus.with_left_out(
            f"questions in {path}",
            len(found[split]),
            faults.num_left_out(path),
            source.published[split],
        )
        for split, path in source.files.items()
    ]
    corpus.compare_counts(counts, faults)
    questions.speak_splits(deal(found), args, faults)
    corpus.mark_made(marker, settings)
