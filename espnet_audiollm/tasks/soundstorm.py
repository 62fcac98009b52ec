"""ESPnet task of bin/soundstorm_train: semantic units to the levels of a codec."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from espnet2.utils.nested_dict_action import NestedDictAction

from ..data.unit_tables import UnitSet
from ..model.soundstorm import PADDING, SoundStorm, SoundStormESPnetModel
from . import directories
from .acoustic_levels import KINDS, LEVELS, OPTIONS, AlignedLevels, read_sets, set_tables
from .base import SpeechTask
from .choices import build_part


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
        directories.add_set_by_task(parser, OPTIONS)

    @classmethod
    def main(cls, args: argparse.Namespace | None = None, cmd: Sequence[str] | None = None) -> None:
        """Train with `args`, or with the options of the command line `cmd`."""
        args = args or cls.get_parser().parse_args(cmd)
        directories.check_given(args, KINDS)
        set_tables(args, read_sets(args).levels)
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
