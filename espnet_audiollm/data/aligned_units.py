"""Units of one rate at the frames of another: what a semantic unit says while a codec's frame
lasts."""

from __future__ import annotations

from collections.abc import Sequence

FEWEST, SHARE = 2, 0.1  # frames of the coarser rate, and share of the length, that may be missing


def number_of_frames(number: int, rate: float, other_rate: float) -> int:
    """Frames at `other_rate` that last as long as `number` frames at `rate`, at least one."""
    return max(1, round(number * other_rate / rate))


def aligned(frames: Sequence[int], rate: float, number: int, other_rate: float) -> list[int]:
    """For each of `number` frames at `other_rate` the unit that lasts at its middle; past the end
    the last one.

    frames: a unit for each frame at `rate` (a second).

    Errors (ValueError): none at all."""
    if not frames:
        raise ValueError("no units to align: leave the recording out")
    last = len(frames) - 1
    return [frames[min(int((n + 0.5) * rate / other_rate), last)] for n in range(number)]


def check_same_length(number: int, rate: float, other_number: int, other_rate: float) -> None:
    """Refuse (ValueError) units that cannot be of one recording: of lengths that differ by more
    than two frames of the coarser rate and a tenth."""
    seconds, other = number / rate, other_number / other_rate
    if abs(seconds - other) > FEWEST / min(rate, other_rate) + SHARE * max(seconds, other):
        raise ValueError(
            f"{seconds:.2f} s of semantic units and {other:.2f} s of levels: extract both from "
            "the same data (bin/extract_units)"
        )
