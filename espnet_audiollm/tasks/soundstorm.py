"""ESPnet task of bin/soundstorm_train: semantic units to the levels of a codec."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from espnet2.utils.nested_dict_action import NestedDictAction

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
from ..model.soundstorm import PADDING, SoundStorm, SoundStormESPnetModel
from . import directories
from .base import SpeechTask
from .choices import build_part

KINDS = ("data", "units", "levels")
MOST_LEVELS = 64
LEVELS = tuple(f"level_{number}" for number in range(1, MOST_LEVELS + 1))


class AlignedLevels:
    """Prepares a sample: semantic units without repeats with their durations, the same at the
    codec's frames, and all levels in one array. Picklable."""

    def __init__(self, unit_set: UnitSet, level_set: UnitSet):
        self.unit_set, self.level_set = unit_set, level_set

    def __call__(self, uid: str, data: dict) -> dict:
        """units, durations (N,), semantic (T,) and levels (T, L), int64.

        Errors (ValueError): levels that are not as long as one another, or as the units."""
        rate, level_rate = self.unit_set.frames_per_second, self.level_set.frames_per_second
        if "durations" in data:
            units, durations = data["units"].tolist(), data["durations"].tolist()
        else:
            units, durations = merge_repeats(data["units"].tolist())
        levels = [data[name] for name in LEVELS[: self.level_set.levels]]
        lengths = sorted({len(level) for level in levels})
        try:
            if len(lengths) > 1:
                raise ValueError(
                    f"levels of {lengths[0]} and of {lengths[-1]} frames: extract them again "
                    "(bin/extract_units)"
                )
            frames = list(expand(units, durations))
            check_same_length(len(frames), rate, lengths[0], level_rate)
        except ValueError as error:
            raise ValueError(f"utterance {uid}: {error}") from error
        return {
            "units": np.array(units),
            "durations": np.array(durations),
            "semantic": np.array(aligned(frames, rate, lengths[0], level_rate)),
            "levels": np.stack(levels, 1),
        }


class SoundStormTask(SpeechTask):
    """Options, model and data of SoundStorm."""

    target = "units"
    target_padding = PADDING
    tag = "--output_dir"

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """ESPnet's hook."""
        directories.add_arguments(parser, KINDS)
        group = parser.add_argument_group("SoundStorm")
        group.add_argument(
            "--unprompted", type=float, default=0.1, help="share of utterances without a prompt"
        )
        group.add_argument(
            "--soundstorm_conf", action=NestedDictAction, default={}, help="Options of SoundStorm"
        )
        for name, what in (
            ("unit_set", "what the semantic units are"),
            ("level_set", "what the levels are"),
            ("model_conf", "nothing"),
        ):
            group.add_argument(
                f"--{name}", action=NestedDictAction, default={}, help=f"Set by the task: {what}"
            )

    @classmethod
    def main(cls, args: argparse.Namespace | None = None, cmd: Sequence[str] | None = None) -> None:
        """Train with `args`, or with the options of the command line `cmd`."""
        args = args or cls.get_parser().parse_args(cmd)
        if not directories.given(args, KINDS):
            raise ValueError(
                "give --train_data, --train_units and --train_levels, and the same of valid"
            )
        set_up(args)
        super().main(args=args)

    @classmethod
    def build_preprocess_fn(cls, args: argparse.Namespace, train: bool) -> Callable | None:
        """Units at the codec's frames."""
        return AlignedLevels(UnitSet(**args.unit_set), UnitSet(**args.level_set))

    @classmethod
    def required_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        """Names of what a sample must have."""
        return ("units", LEVELS[0])

    @classmethod
    def optional_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        """What a sample may have besides."""
        return ("durations", *LEVELS[1:])

    @classmethod
    def build_model(cls, args: argparse.Namespace) -> SoundStormESPnetModel:
        """The model of `args`. ValueError: an option of --soundstorm_conf that is not known."""
        units, levels = UnitSet(**args.unit_set), UnitSet(**args.level_set)
        soundstorm = build_part(
            "soundstorm",
            SoundStorm,
            args.soundstorm_conf,
            size=units.size,
            levels=levels.levels,
            level_size=levels.size,
        )
        return SoundStormESPnetModel(soundstorm, args.unprompted)


def set_up(args: argparse.Namespace) -> None:
    """The data, and what its units and levels are, from the directories that are given.

    Errors (ValueError): tables that are missing; units of two quantisers; levels whose repeats are
    merged, or more than there may be."""
    for kind, name in (("units", "unit_set"), ("levels", "level_set")):
        train, valid = (getattr(args, f"{split}_{kind}") for split in directories.SPLITS)
        found = read_set(train)
        read_set(valid).check_quantiser(found.quantiser, valid, train)
        setattr(args, name, asdict(found))
    levels = UnitSet(**args.level_set)
    if levels.merged or levels.levels > MOST_LEVELS:
        raise ValueError(
            f"{args.train_levels} has {levels.levels} levels, repeats merged: {levels.merged}; "
            f"give 1 to {MOST_LEVELS}, a unit for each frame (--merge_repeats false)"
        )
    for split in directories.SPLITS:
        directories.set_tables(args, split, _tables(args, split, levels.levels))


def _tables(args: argparse.Namespace, split: str, levels: int) -> dict[str, tuple[Path, str]]:
    units, codes = (Path(getattr(args, f"{split}_{kind}")) for kind in KINDS[1:])
    tables = {"units": (units / UNITS, "text_int")}
    if read_set(units).merged:
        tables["durations"] = (units / DURATIONS, "text_int")
    for number in range(1, levels + 1):
        tables[LEVELS[number - 1]] = (codes / table_of_level(number), "text_int")
    return tables
