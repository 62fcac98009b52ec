"""Tables of "id number number ...": a series of numbers for each utterance."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np

from .tables import read_table


def read_series(path: str | Path, dtype, next_step: str) -> dict[str, np.ndarray]:
    """{id: its numbers} in the file's order, all of them views of one array.

    Raises ValueError for what is no finite number, with the id's name."""
    table = read_table(path)
    lengths = [len(line.split()) for line in table.values()]
    try:
        numbers_X = np.fromstring(" ".join(table.values()), dtype=dtype, sep=" ")
        whole = len(numbers_X) == sum(lengths) and np.isfinite(numbers_X).all()
    except ValueError:
        whole = False
    if not whole:
        rows = [*table.items()]
        id, line = next((row for row in rows if not _is_whole(row[1], dtype)), rows[0])
        shown = line if len(line) <= 60 else f"{line[:60]}..."
        raise ValueError(f"{path}: {id}: '{shown}' is not a row of numbers; {next_step}")
    bounds = np.cumsum([0, *lengths])
    return {
        id: numbers_X[start:end] for id, (start, end) in zip(table, pairwise(bounds), strict=True)
    }


def _is_whole(line: str, dtype) -> bool:
    try:
        return bool(np.isfinite([np.dtype(dtype).type(word) for word in line.split()]).all())
    except (ValueError, OverflowError):
        return False
