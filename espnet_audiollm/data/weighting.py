"""How often the tasks of a mixture come in an epoch, and which of their examples.

A task with n examples has the weight n ** alpha: 1 is AudioPaLM's (a pass over everything), 0 makes
all tasks alike. All follows from the sizes, alpha, the seed and the epoch's number: a training that
goes on in the middle of an epoch sees the same rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def shares(sizes: Sequence[int], alpha: float = 1.0) -> list[float]:
    """What share of an epoch each task has; they sum to 1."""
    weights = np.asarray(sizes, float) ** alpha
    return (weights / weights.sum()).tolist()


def numbers(sizes: Sequence[int], alpha: float, total: int) -> list[int]:
    """`total` examples dealt out by the tasks' shares, by largest remainders; the first of equals
    gets one more."""
    exact = np.asarray(shares(sizes, alpha)) * total
    dealt = np.floor(exact + 1e-9).astype(int)
    most = np.argsort(dealt - exact, kind="stable")[: total - dealt.sum()]
    dealt[most] += 1
    return dealt.tolist()


def epoch_rows(
    sizes: Sequence[int], alpha: float, epoch: int, seed: int = 0, total: int | None = None
) -> np.ndarray:
    """The rows of an epoch (from 0), sorted; tasks lie one after the other in the tables.

    Each task goes through all its examples in an order of its own before one comes again, across
    epochs. A row stands as often as its example comes.

    total: examples of an epoch. None: as many as there are."""
    dealt = numbers(sizes, alpha, sum(sizes) if total is None else total)
    starts = np.cumsum([0, *sizes])
    found = [
        starts[task] + _drawn(size, epoch * number, number, (seed, task))
        for task, (size, number) in enumerate(zip(sizes, dealt, strict=True))
    ]
    return np.sort(np.concatenate(found))


def _drawn(size: int, begin: int, number: int, seed: tuple[int, int]) -> np.ndarray:
    """`number` places from `begin` on in an endless row of permutations of range(size)."""
    found = []
    while number:
        turn, at = divmod(begin, size)
        some = np.random.default_rng((*seed, turn)).permutation(size)[at : at + number]
        found.append(some)
        begin, number = begin + len(some), number - len(some)
    return np.concatenate(found) if found else np.zeros(0, int)
