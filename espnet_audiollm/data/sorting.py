"""Sorting more rows than memory should hold."""

from __future__ import annotations

import heapq
import itertools
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from .kaldi_dir import Row

RUN = 200_000  # rows sorted in memory at once


def sort_rows(rows: Iterable[Row]) -> Iterator[Row]:
    """Rows in the order of ids (equal ones in that of their values), sorted in temporary files when
    they are many."""
    rows = iter(rows)
    run = sorted(itertools.islice(rows, RUN))
    if len(run) < RUN:
        yield from run
        return
    with tempfile.TemporaryDirectory() as directory:
        runs = []
        while run:
            runs.append(Path(directory) / str(len(runs)))
            with open(runs[-1], "w", encoding="utf-8", newline="\n") as out:
                out.writelines(f"{id_} {value}\n" for id_, value in run)
            run = sorted(itertools.islice(rows, RUN))
        yield from heapq.merge(*map(_read_run, runs))


def _read_run(path: Path) -> Iterator[Row]:
    with open(path, encoding="utf-8", newline="\n") as lines:
        for line in lines:
            id_, _, value = line.rstrip("\n").partition(" ")
            yield id_, value
