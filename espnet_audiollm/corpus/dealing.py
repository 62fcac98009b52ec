"""Dealing the utterances of a data directory out to new ones, with all their tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from ..data import kaldi_dir, segments
from ..data.layout import Layout, side_by_side
from ..store.atomic import new_directories
from ..types import Seconds

MOST = 255  # directories to deal to: a label is a byte


@dataclass
class Dealt:
    """What a new directory has got."""

    seconds: Seconds | None  # by utt2dur; None: there is none
    utterances: int = 0
    speakers: set[str] = field(default_factory=set)
    recordings: set[str] = field(default_factory=set)  # where there are segments

    def add(self, directory: Path, id_: str, values: dict[str, str]) -> None:
        """An utterance of `directory`: its values in the tables."""
        self.utterances += 1
        self.speakers.add(values["utt2spk"])
        if self.seconds is not None:
            self.seconds += kaldi_dir.seconds(directory, id_, values["utt2dur"])
        if segments.NAME in values:
            self.recordings.add(values[segments.NAME].split(maxsplit=1)[0])

    def __str__(self) -> str:
        hours = "" if self.seconds is None else f", {self.seconds / 3600:.2f} hours"
        return f"{self.utterances} utterances of {len(self.speakers)} speakers{hours}"


def deal(source: Layout, labels: Iterable[int], targets: Sequence[str | Path]) -> list[Dealt]:
    """Make the data directories `targets` of the utterances of `source`, all of them or none.

    labels: for each utterance, in order, the number of its target, from 1; 0: for none. Speakers'
    and recordings' tables keep the lines of those that are there. Raises ValueError for a target
    that gets nothing."""
    assert len(targets) <= MOST
    with new_directories(*targets) as places, ExitStack() as stack:
        out = [stack.enter_context(kaldi_dir.TableWriter(place)) for place in places]
        dealt = [Dealt(0.0 if "utt2dur" in source.utterances else None) for _ in places]
        for label, (id_, values) in zip(labels, side_by_side(source), strict=True):
            if label:
                out[label - 1].add(id_, values)
                dealt[label - 1].add(source.directory, id_, values)
        for target, tables, found in zip(targets, out, dealt, strict=True):
            if not found.utterances:
                raise ValueError(f"{target} would get no utterance of {source.directory}")
            _copy_lines(source, tables, source.recordings, found.recordings)
            _copy_lines(source, tables, source.speakers, found.speakers)
        return dealt


def _copy_lines(
    source: Layout, tables: kaldi_dir.TableWriter, names: Iterable[str], ids: set[str]
) -> None:
    for name in names:
        for id_, value in kaldi_dir.read_table(source.directory / name):
            if id_ in ids:
                tables.add(id_, {name: value})
