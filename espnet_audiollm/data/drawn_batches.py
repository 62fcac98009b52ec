"""Batches of a mixture of tasks: which examples an epoch has is drawn anew for each epoch.

All follows from the lengths, the rules, the sizes of the tasks, the seed and the epoch's number, so
a training that goes on in the middle of an epoch has the same batches. The lengths of all examples
are in memory (4 bytes each), and so are the batches of one epoch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from .batches import Rules, Shapes, arrange, check_rules, read_shapes
from .weighting import epoch_rows


@dataclass(frozen=True)
class Draw:
    """How the examples of an epoch are drawn from tasks that lie one after the other."""

    sizes: tuple[int, ...]  # examples of each task
    alpha: float = 1.0  # a task's weight is its size to this power
    seed: int = 0
    total: int | None = None  # examples of an epoch. None: as many as there are
    apart: bool = False  # every example once, each batch of a single task (validation)

    def groups(self, epoch: int) -> list[np.ndarray]:
        """The rows of an epoch (1, 2, ...); a batch is made of one group."""
        if not self.apart:
            return [epoch_rows(self.sizes, self.alpha, epoch - 1, self.seed, self.total)]
        bounds = np.cumsum([0, *self.sizes])
        return [np.arange(*pair) for pair in zip(bounds[:-1], bounds[1:], strict=True)]


@dataclass(frozen=True)
class DrawnEpoch:
    """The batches of one epoch: `batch(number)` is an array of rows."""

    rows: np.ndarray
    bounds: np.ndarray  # where each batch begins in `rows`, and their end

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def batch(self, number: int) -> np.ndarray:
        """(examples of the batch,) rows of the shape files."""
        return self.rows[self.bounds[number] : self.bounds[number + 1]]


class DrawnPlan:
    """The batches of all epochs, where a `Plan` has those of one.

    Errors (ValueError): shape files of other examples than the tasks have."""

    def __init__(self, shape_files: Sequence[str | Path], rules: Rules, draw: Draw):
        check_rules(shape_files, rules)
        self.shapes = [read_shapes(path) for path in shape_files]
        self.rules, self.draw = rules, draw
        self.num_utterances = len(self.shapes[0].lengths)
        if sum(draw.sizes) != self.num_utterances:
            raise ValueError(
                f"{shape_files[0]} has {self.num_utterances} examples, and the tasks have "
                f"{sum(draw.sizes)}: prepare the tasks again (bin/prepare_tasks)"
            )
        self.ids = self.shapes[0].ids.hex()
        self.of_epoch = lru_cache(maxsize=1)(self._of_epoch)
        first = np.diff(self.of_epoch(1).bounds)
        self.smallest, self.largest = int(first.min()), int(first.max())

    def __len__(self) -> int:
        """Batches of the first epoch."""
        return len(self.of_epoch(1))

    @property
    def digest(self) -> str:
        """A hash of all that the batches of all epochs follow from."""
        total = hashlib.blake2b(digest_size=32)
        total.update(repr((astuple(self.rules), astuple(self.draw))).encode())
        for shape in self.shapes:
            total.update(shape.lengths.data)
        return total.hexdigest()

    def _of_epoch(self, epoch: int) -> DrawnEpoch:
        found_rows, found_sizes = [], []
        for group in self.draw.groups(epoch):
            chosen = [Shapes(each.lengths[group], each.width, each.ids) for each in self.shapes]
            rows, sizes = arrange(chosen, self.rules)
            found_rows.append(group[rows])
            found_sizes.append(sizes)
        bounds = np.concatenate([[0], np.cumsum(np.concatenate(found_sizes))])
        return DrawnEpoch(np.concatenate(found_rows), bounds)
