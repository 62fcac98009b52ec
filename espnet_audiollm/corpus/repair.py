"""Fixing a data directory where that needs no guessing."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from operator import itemgetter
from pathlib import Path

from ..data import layout, segments
from ..data.kaldi_dir import REQUIRED, existing, read_table, tables
from ..data.sorting import sort_rows
from ..data.validation import EMPTY_TEXT, NEXT_STEP
from ..store.atomic import atomic_write
from ..store.tables import CONTROL_ID, LONG_ID, Row, as_line, outer_join, scan, write_table

# Errors that are not fixed without guessing.
GUESSES = (
    "lines that are not UTF-8",
    "lines with a NUL byte",
    "lines without an id",
    LONG_ID,
    CONTROL_ID,
)


def fix(directory: str | Path) -> dict[str, int]:
    """Sort the tables, fix line ends, drop blank lines, identical duplicates and empty
    transcripts, and keep the utterances that all tables have; {what: how many} was changed.

    What cannot be fixed without guessing is a ValueError and changes nothing: bytes that are not
    UTF-8, lines without an id, one id with two values."""
    directory = Path(directory)
    for name in REQUIRED:
        existing(directory / name)
    names, done = tables(directory), dict[str, int]()
    cut = segments.has(directory)  # wav.scp is of recordings, then, and all of them are kept
    if cut:
        names[names.index("wav.scp")] = segments.NAME
    with tempfile.TemporaryDirectory(dir=directory, prefix=".fix.") as aside:
        rows = {name: _fix(directory / name, Path(aside) / name, done) for name in names}
        if cut:
            _fix(directory / "wav.scp", Path(aside) / "wav.scp", done)
        partial = layout.of(directory).partial
        had = {name: _fix(directory / name, Path(aside) / name, done) for name in partial}
        kept, left = _keep_common(Path(aside), directory, names, partial)
        if cut:
            os.replace(Path(aside) / "wav.scp", directory / "wav.scp")
    for name in names:
        done[f"utterances removed from {name}"] = rows[name] - kept
    for name in partial:
        done[f"utterances removed from {name}"] = had[name] - left[name]
    return {what: count for what, count in done.items() if count}


def _fix(path: Path, fixed: Path, done: dict[str, int]) -> int:
    """Write the table `path`, sorted and fixed, to `fixed`; returns its rows."""

    def unique() -> Iterator[Row]:
        for id_, rows in itertools.groupby(sort_rows(_fixed_rows(path, done)), itemgetter(0)):
            values = {value for _, value in rows}
            if len(values) > 1:
                raise ValueError(f"{path}: {id_} has two values; keep the right one")
            yield id_, values.pop()

    return write_table(fixed, unique(), presorted=True)


def _fixed_rows(path: Path, done: dict[str, int]) -> Iterator[Row]:
    previous = ""
    for number, id_, value, errors in scan(path):
        for error in errors:
            if error in GUESSES:
                raise ValueError(f"{path}, line {number}: {error}; {NEXT_STEP[error]}")
            _count(done, f"{error} in {path.name}")
        if not id_:
            continue
        if not value and path.name == "text":
            _count(done, f"{EMPTY_TEXT} in {path.name}")
            continue
        if id_ <= previous:
            kind = "duplicate ids" if id_ == previous else "lines out of order"
            _count(done, f"{kind} in {path.name}")
        previous = id_
        yield id_, value


def _keep_common(
    source: Path, target: Path, names: list[str], partial: Sequence[str]
) -> tuple[int, Counter[str]]:
    """Write the rows whose ids are in all tables `names` of `source`, of `partial` those that are
    there; returns how many ids that are, and {partial table: rows}."""
    kept, left = 0, Counter[str]()
    both = (*names, *partial)
    with ExitStack() as stack:
        out = {name: stack.enter_context(atomic_write(target / name)) for name in both}
        for id_, values in outer_join(*(read_table(source / name) for name in both)):
            if None in values[: len(names)]:
                continue
            kept += 1
            for name, value in zip(both, values, strict=True):
                if value is not None:
                    out[name].write(as_line(id_, value))
                    left[name] += 1
        if not kept:
            raise ValueError(f"{target}: no utterance is in all of {', '.join(names)}")
    return kept, left


def _count(done: dict[str, int], what: str) -> None:
    done[what] = done.get(what, 0) + 1
