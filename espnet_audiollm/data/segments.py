"""Kaldi's `segments`: utterances that are parts of recordings.

A directory that has this table names recordings in wav.scp, and utterances in all its others:

    segments   utterance recording begin end [channel]    seconds; end -1: the recording's end

What follows stage 1 knows one line of wav.scp for each utterance. `by_utterance` writes it, with
parts of recordings as values (data/sources.py); stage 2 and utils/data/segments.py call it."""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

from ..store.atomic import aside_of, atomic_write
from ..store.tables import Row, is_table, outer_join, scan, write_table
from ..types import Seconds
from . import kaldi_dir, sources
from .kaldi_dir import read_table
from .sorting import sort_rows

NAME = "segments"
MALFORMED = "segments that are not 'recording begin end', in seconds"
REVERSED = "segments that end before they begin"
LOST = "segments of recordings that are not in wav.scp"
_CHANNEL = re.compile("[0-9]{1,4}")


class SegmentError(ValueError):
    """A line that is no segment; `kind` is the kind of error."""

    def __init__(self, kind: str):
        super().__init__(kind)
        self.kind = kind


@dataclass(frozen=True)
class Segment:
    """A part of a recording."""

    recording: str
    begin: Seconds
    end: Seconds | None  # None: the recording's
    channel: int | None = None  # from 0; None: all

    def source(self, recording: str) -> str:
        """The value for wav.scp, from the recording's."""
        end = "" if self.end is None else _digits(self.end)
        channel = "" if self.channel is None else str(self.channel)
        return sources.part(recording, _digits(self.begin), end, channel)

    def __str__(self) -> str:
        end = "-1" if self.end is None else _digits(self.end)
        channel = "" if self.channel is None else f" {self.channel}"
        return f"{self.recording} {_digits(self.begin)} {end}{channel}"


def parse(value: str) -> Segment:
    """Of the value of a line of `segments`. Raises SegmentError."""
    fields = value.split()
    if len(fields) not in (3, 4) or (len(fields) == 4 and not _CHANNEL.fullmatch(fields[3])):
        raise SegmentError(MALFORMED)
    try:
        begin, end = float(fields[1]), float(fields[2])
    except ValueError as error:
        raise SegmentError(MALFORMED) from error
    if not (math.isfinite(begin) and math.isfinite(end)) or begin < 0:
        raise SegmentError(MALFORMED)
    if end <= begin and end != -1:
        raise SegmentError(REVERSED)
    channel = int(fields[3]) if len(fields) == 4 else None
    return Segment(fields[0], begin, None if end == -1 else end, channel)


def table(directory: str | Path) -> Path:
    """Where the segments of a directory are."""
    return Path(directory) / NAME


def has(directory: str | Path) -> bool:
    """Whether a directory has segments."""
    return is_table(table(directory))


def errors(directory: str | Path) -> Iterator[tuple[str, str]]:
    """(kind of error, example) of each line that is no segment of a recording of wav.scp."""
    directory = Path(directory)
    bad = []

    def by_recording() -> Iterator[Row]:
        for _, id_, value, _ in scan(directory / NAME):
            try:
                yield parse(value).recording, id_
            except SegmentError as error:
                bad.append((error.kind, f"{id_} {value}"))

    recordings = sort_rows((id_, "") for _, id_, _, _ in scan(directory / "wav.scp") if id_)
    for recording, audio, id_ in _located(by_recording(), recordings):
        if audio is None:
            bad.append((LOST, f"{id_} of {recording}"))
        yield from bad
        bad.clear()
    yield from bad


def _located(
    rows: Iterable[Row], recordings: Iterator[Row]
) -> Iterator[tuple[str, str | None, str]]:
    """(recording, its value, the row's value) of rows by recording, in order of these; the
    recording's value is None where it is not one of `recordings`."""
    tables = (
        itertools.groupby(table, key=itemgetter(0)) for table in (sort_rows(rows), recordings)
    )
    for recording, (group, found) in outer_join(*tables):
        audio = next(found)[1] if found else None
        for _, value in group or ():
            yield recording, audio, value


def by_utterance(directory: str | Path, place: str | Path) -> Path:
    """`directory` as one whose wav.scp has a line for each utterance: itself where it has no
    segments, else `place`, which is made: a wav.scp, and links to the other tables.

    Raises ValueError at the first line that is no segment of a recording."""
    directory, place = Path(directory), Path(place)
    if not has(directory):
        return directory
    key = hashlib.sha256()
    for name in (NAME, "wav.scp"):
        with open(kaldi_dir.existing(directory / name), "rb") as table:
            key.update(hashlib.file_digest(table, "sha256").digest())
    marker = place / ".key"
    up_to_date = marker.is_file() and marker.read_text() == key.hexdigest()
    if not up_to_date or not (place / "wav.scp").is_file():
        place.mkdir(parents=True, exist_ok=True)
        marker.unlink(missing_ok=True)
        write_table(place / "wav.scp", resolved(directory), presorted=True)
        with atomic_write(marker) as out:
            out.write(key.hexdigest())
    _link_tables(directory, place)
    return place


def resolved(directory: str | Path) -> Iterator[Row]:
    """(utterance, value for wav.scp) of a directory with segments, in order."""
    directory = Path(directory)

    def joined() -> Iterator[Row]:
        recordings = read_table(directory / "wav.scp")
        for recording, audio, line in _located(_by_recording(directory / NAME), recordings):
            id_, _, value = line.partition(" ")
            if audio is None:
                raise _fault(directory, f"{id_}: {LOST} ({recording})")
            yield id_, parse(value).source(audio)

    return sort_rows(joined())


def _by_recording(path: Path) -> Iterator[Row]:
    for id_, value in read_table(path):
        try:
            yield parse(value).recording, f"{id_} {value}"
        except SegmentError as error:
            raise _fault(path.parent, f"{id_} {value}: {error.kind}") from error


def _fault(directory: Path, what: str) -> ValueError:
    return ValueError(
        f"{directory / NAME}: {what}; utils/data/validate.py {directory} lists all errors"
    )


def _link_tables(directory: Path, place: Path) -> None:
    """Make the tables of `place` those of `directory`, but for wav.scp."""
    wanted = set(kaldi_dir.tables(directory)) - {"wav.scp"}
    for name in kaldi_dir.OPTIONAL + kaldi_dir.REQUIRED:
        link, target = place / name, (directory / name).resolve()
        if name in wanted and not (link.is_symlink() and link.resolve() == target):
            aside = aside_of(link)
            aside.unlink(missing_ok=True)
            aside.symlink_to(target)
            os.replace(aside, link)
        elif name not in wanted and name != "wav.scp":
            link.unlink(missing_ok=True)


def _digits(seconds: Seconds) -> str:
    """Without an exponent; microseconds."""
    return f"{seconds:.6f}".rstrip("0").rstrip(".")
