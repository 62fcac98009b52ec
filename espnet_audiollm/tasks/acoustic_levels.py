"""Trainings that make a codec's levels of semantic units, or of its first levels: their
directories, and what a sample becomes."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ..data.aligned_units import aligned, check_same_length
from ..data.unit_tables import (
    DURATIONS,
    UNITS,
    UnitSet,
    expand,
    merge_repeats,
    read_set,
    table_of_level,
)
from . import directories

KINDS = ("data", "units", "levels")
SETS = {"units": "unit_set", "levels": "level_set"}  # the option that says what they are
MOST_LEVELS = 64
LEVELS = tuple(f"level_{number}" for number in range(1, MOST_LEVELS + 1))
OPTIONS = {"unit_set": "what the semantic units are", "level_set": "what the levels are"}


def levels_of(uid: str, data: dict, number: int) -> np.ndarray:
    """(T, L) int64: the first `number` levels of a sample.

    Errors (ValueError): levels that are not as long as one another."""
    levels = [data[name] for name in LEVELS[:number]]
    lengths = sorted({len(level) for level in levels})
    if len(lengths) > 1:
        raise ValueError(
            f"utterance {uid}: levels of {lengths[0]} and of {lengths[-1]} frames: extract them "
            "again (bin/extract_units)"
        )
    return np.stack(levels, 1)


class AlignedLevels:
    """Prepares a sample: semantic units without repeats with their durations, the same at the
    codec's frames, and the levels in one array. Picklable.

    number: of levels. None: all."""

    def __init__(self, unit_set: UnitSet, level_set: UnitSet, number: int | None = None):
        self.unit_set, self.level_set = unit_set, level_set
        self.number = number or level_set.levels

    def __call__(self, uid: str, data: dict) -> dict:
        """units, durations (N,), semantic (T,) and levels (T, L), int64.

        Errors (ValueError): levels that are not as long as one another, or as the units."""
        rate, level_rate = self.unit_set.frames_per_second, self.level_set.frames_per_second
        if "durations" in data:
            units, durations = data["units"].tolist(), data["durations"].tolist()
        else:
            units, durations = merge_repeats(data["units"].tolist())
        levels_TL = levels_of(uid, data, self.number)
        try:
            frames = list(expand(units, durations))
            check_same_length(len(frames), rate, len(levels_TL), level_rate)
        except ValueError as error:
            raise ValueError(f"utterance {uid}: {error}") from error
        return {
            "units": np.array(units),
            "durations": np.array(durations),
            "semantic": np.array(aligned(frames, rate, len(levels_TL), level_rate)),
            "levels": levels_TL,
        }


def read_sets(args: argparse.Namespace, kinds: tuple[str, ...] = KINDS) -> UnitSet:
    """What the units and levels of the directories are, into `args`; returns that of the levels.

    kinds: those that are read.

    Errors (ValueError): no units there; units of two quantisers; levels whose repeats are merged,
    or more than there may be."""
    for kind in kinds[1:]:
        train, valid = (getattr(args, f"{split}_{kind}") for split in directories.SPLITS)
        found = read_set(train)
        read_set(valid).check_quantiser(found.quantiser, valid, train)
        setattr(args, SETS[kind], asdict(found))
    levels = UnitSet(**args.level_set)
    if levels.merged or levels.levels > MOST_LEVELS:
        raise ValueError(
            f"{args.train_levels} has {levels.levels} levels, repeats merged: {levels.merged}; "
            f"give 1 to {MOST_LEVELS}, a unit for each frame (--merge_repeats false)"
        )
    return levels


def set_tables(args: argparse.Namespace, number: int, kinds: tuple[str, ...] = KINDS) -> None:
    """The data of both splits. number: of levels that are read.

    Errors (ValueError): tables that are missing."""
    for split in directories.SPLITS:
        places = {kind: Path(getattr(args, f"{split}_{kind}")) for kind in kinds}
        directories.set_tables(args, split, _tables(places, number))


def _tables(places: dict[str, Path], levels: int) -> dict[str, tuple[Path, str]]:
    tables = {}
    if units := places.get("units"):
        tables["units"] = (units / UNITS, "text_int")
        if read_set(units).merged:
            tables["durations"] = (units / DURATIONS, "text_int")
    for number in range(1, levels + 1):
        tables[LEVELS[number - 1]] = (places["levels"] / table_of_level(number), "text_int")
    return tables
