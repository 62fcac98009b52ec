"""Tables of "id number number ...": a series of numbers for each utterance."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from .tables import read_table


class Series(Mapping[str, np.ndarray]):
    """{id: its numbers}, all of them views of one array: an array each would take more memory
    than the numbers."""

    def __init__(self, ids: Iterable[str], numbers_X: np.ndarray, lengths: Sequence[int]):
        self._rows = _index(tuple(ids))
        self._bounds = np.cumsum([0, *lengths])
        self._numbers_X = numbers_X

    def __getitem__(self, id: str) -> np.ndarray:
        row = self._rows[id]
        return self._numbers_X[self._bounds[row] : self._bounds[row + 1]]

    def __contains__(self, id: object) -> bool:
        return id in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


@lru_cache(maxsize=2)
def _index(ids: tuple[str, ...]) -> dict[str, int]:
    """{id: row}; the systems of a test set share it."""
    return {id: row for row, id in enumerate(ids)}


def read_series(path: str | Path, dtype: type[np.number], next_step: str) -> Series:
    """The table, in the file's order.

    Raises ValueError for what is no finite number, with the id's name."""
    table = read_table(path)
    lengths = [len(line.split()) for line in table.values()]
    try:
        numbers_X = np.fromstring(" ".join(table.values()), dtype=dtype, sep=" ")
        complete = len(numbers_X) == sum(lengths) and np.isfinite(numbers_X).all()
    except ValueError:
        complete = False
    if not complete:
        rows = [*table.items()]
        id, line = next((row for row in rows if not _is_complete(row[1], dtype)), rows[0])
        shown = line if len(line) <= 60 else f"{line[:60]}..."
        raise ValueError(f"{path}: {id}: '{shown}' is not a row of numbers; {next_step}")
    return Series(table, numbers_X, lengths)


def first_difference(found: Sequence[int], expected: Sequence[int]) -> str:
    """Where two series of numbers begin to differ, in words: "token 3 is 17, expected 42"."""
    pairs = itertools.zip_longest(found, expected)
    place = next(i for i, (ours, theirs) in enumerate(pairs) if ours != theirs)
    ours, theirs = (str(x[place]) if place < len(x) else "none" for x in (found, expected))
    return f"token {place + 1} is {ours}, expected {theirs}"


def _is_complete(line: str, dtype: type[np.number]) -> bool:
    try:
        return bool(np.isfinite([dtype(word) for word in line.split()]).all())
    except (ValueError, OverflowError):
        return False
