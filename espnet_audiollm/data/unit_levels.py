"""Several units a frame in one sequence, frame by frame: L times as long (AudioLM's coarse tokens).

SoundStorm's order, a level after the other, is the tables' own (data/unit_tables.py).
"""

from __future__ import annotations

from collections.abc import Sequence

Levels = Sequence[Sequence[int]]  # L levels of T frames, the coarsest first


def flatten(levels: Levels, size: int) -> list[int]:
    """L x T units, level l's beginning at l x size: a vocabulary of L x size.

    Errors (ValueError): levels of different lengths, units that a level does not have."""
    _check(levels, size)
    frames = zip(*levels, strict=True)
    return [level * size + unit for frame in frames for level, unit in enumerate(frame)]


def unflatten(units: Sequence[int], size: int, levels: int) -> list[list[int]]:
    """Back to levels.

    Errors (ValueError): a unit of another level than its place's, a frame that is not complete."""
    wrong = [n for n, unit in enumerate(units) if unit // size != n % levels]
    if wrong:
        raise ValueError(
            f"{len(wrong)} of {len(units)} units are of another level than their place's (first: "
            f"{units[wrong[0]]} at place {wrong[0]}, of {levels} levels of {size}): take units "
            "that `flatten` put in order"
        )
    if len(units) % levels:
        raise ValueError(
            f"{len(units)} units do not fill frames of {levels} levels: leave out the last "
            f"{len(units) % levels}"
        )
    return [[unit - n * size for unit in units[n::levels]] for n in range(levels)]


def _check(levels: Levels, size: int) -> None:
    """Of units from 0 to size - 1."""
    lengths = sorted({len(level) for level in levels})
    if len(lengths) != 1:
        raise ValueError(f"{len(levels)} levels of {lengths} frames: all must have the same number")
    wrong = [(n, unit) for n, level in enumerate(levels) for unit in level if not 0 <= unit < size]
    if wrong:
        raise ValueError(
            f"{len(wrong)} units (first: {wrong[0][1]} of level {wrong[0][0] + 1}) are none of 0 "
            f"to {size - 1}: take the units of one quantiser"
        )
