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

    utterances: int = 0
    seconds: Seconds | None = None  # by utt2dur; None: there is none
    speakers: set[str] = field(default_factory=set)
    recordings: set[str] = field(default_factory=set)  # where there are segments

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
        writers = [_Writer(source, place, stack) for place in places]
        for label, (id_, values) in zip(labels, side_by_side(source), strict=True):
            if label:
                writers[label - 1].add(id_, values)
        for target, writer in zip(targets, writers, strict=True):
            if not writer.dealt.utterances:
                raise ValueError(f"{target} would get no utterance of {source.directory}")
        stack.close()
        for place, writer in zip(places, writers, strict=True):
            _drop_empty(place, source.partial)
            _copy_lines(source, place, source.recordings, writer.dealt.recordings)
            _copy_lines(source, place, source.speakers, writer.dealt.speakers)
        return [writer.dealt for writer in writers]


class _Writer:
    """The utterances' tables of one target."""

    def __init__(self, source: Layout, place: Path, stack: ExitStack):
        names = source.utterances + source.partial
        self.dealt = Dealt(seconds=0.0 if "utt2dur" in names else None)
        self._files = {name: stack.enter_context(open_table(place / name)) for name in names}

    def add(self, id_: str, values: dict[str, str]) -> None:
        for name, value in values.items():
            self._files[name].write(kaldi_dir.as_line(id_, value))
        dealt = self.dealt
        dealt.utterances += 1
        dealt.speakers.add(values["utt2spk"])
        if dealt.seconds is not None:
            dealt.seconds += float(values["utt2dur"])
        if segments.NAME in values:
            dealt.recordings.add(values[segments.NAME].split(maxsplit=1)[0])


def open_table(path: Path):
    """To write to, in a directory that appears as a whole."""
    return open(path, "w", encoding="utf-8", newline="\n")


def _drop_empty(place: Path, names: Iterable[str]) -> None:
    """A partial table that has no line here is none."""
    for name in names:
        if not (place / name).stat().st_size:
            (place / name).unlink()


def _copy_lines(source: Layout, place: Path, names: Iterable[str], ids: set[str]) -> None:
    for name in names:
        rows = kaldi_dir.read_table(source.directory / name)
        with open_table(place / name) as out:
            out.writelines(kaldi_dir.as_line(*row) for row in rows if row[0] in ids)
    _drop_empty(place, names)
