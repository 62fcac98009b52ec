"""Sorting more rows than memory should hold."""

from __future__ import annotations

import heapq
import itertools
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar, cast

RUN = 200_000  # rows sorted in memory at once: about 100 MB
SEPARATOR = "\0"  # of fields: lower than what an id may go on with, so that lines sort as rows do

Fields = tuple[str, ...]  # the first is an id; all rows have the same number
R = TypeVar("R", bound=Fields)


def sort_rows(rows: Iterable[R], aside: Path | None = None) -> Iterator[R]:
    """Rows in the order of ids, equal ones in that of their further fields.

    More than RUN of them go through files in the directory `aside`, which the caller removes, or
    in a temporary one. Raises ValueError for a row that no table can hold."""
    return cast("Iterator[R]", map(split_line, _sorted_lines(iter(rows), aside)))


def _sorted_lines(rows: Iterator[Fields], aside: Path | None) -> Iterator[str]:
    run = _next_run(rows)
    if len(run) < RUN:
        yield from run
        return
    with ExitStack() as stack:
        place = aside or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        paths: list[Path] = []
        while run:
            paths.append(place / f"run.{len(paths)}")
            with open(paths[-1], "w", encoding="utf-8", newline="\n") as out:
                out.writelines(f"{line}\n" for line in run)
            run = _next_run(rows)
        files = [stack.enter_context(open(p, encoding="utf-8", newline="\n")) for p in paths]
        yield from heapq.merge(*files)


def as_line(row: Fields) -> str:
    """A row as a line of a file to sort, without its end."""
    if not row[0] or row[0].split() != [row[0]]:
        raise ValueError(f"{row[0]!r} cannot be an id: ids are not empty, without white space")
    line = SEPARATOR.join(row)
    if line.count(SEPARATOR) >= len(row) or "\n" in line or "\r" in line:
        raise ValueError(f"{row[0]}: a NUL or a line break in {row!r}: no table can hold that")
    return line


def split_line(line: str) -> Fields:
    """The row of a line."""
    return tuple(line.rstrip("\n").split(SEPARATOR))


def _next_run(rows: Iterator[Fields]) -> list[str]:
    return sorted(as_line(row) for row in itertools.islice(rows, RUN))


@contextmanager
def sorting_place(directory: str | Path) -> Iterator[Path]:
    """A directory for `sort_rows` beside `directory`, on the same disk; removed at the end, or
    where a killed run has left it."""
    directory = Path(directory)
    aside = directory.with_name(f".{directory.name}.sorting")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)
