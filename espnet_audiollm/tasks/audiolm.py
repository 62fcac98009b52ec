"""ESPnet task of bin/audiolm_train: AudioLM's coarse or fine stage."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from espnet2.utils.nested_dict_action import NestedDictAction

from ..data.unit_levels import flatten
from ..data.unit_tables import UnitSet
from ..model.acoustic_lm import AcousticLM, AcousticLMESPnetModel
from ..model.durations import DurationPredictor
from . import directories
from .acoustic_levels import KINDS, LEVELS, OPTIONS, AlignedLevels, levels_of, read_sets, set_tables
from .base import SpeechTask
from .choices import build_part

COARSE, FINE = "coarse", "fine"
KINDS_OF = {COARSE: KINDS, FINE: ("data", "levels")}
LONGEST = {COARSE: 10.0, FINE: 6.0}  # seconds; a fine stage reads 3 s of prompt and 3 s of speech


class CoarseSequences:
    """Prepares a sample of the coarse stage: semantic units at the codec's frames, its first levels
    frame by frame, and the units without repeats with their durations. Picklable."""

    def __init__(self, unit_set: UnitSet, level_set: UnitSet, coarse: int):
        self.size = level_set.size
        self.aligned = AlignedLevels(unit_set, level_set, coarse)

    def __call__(self, uid: str, data: dict) -> dict:
        """units, durations (L,), prefix (T,), sequence (T x Q,), int64.

        Errors (ValueError): those of `AlignedLevels`, units that a level does not have."""
        sample = self.aligned(uid, data)
        levels_TL = sample.pop("levels")
        prefix = sample.pop("semantic")
        return {**sample, "prefix": prefix, "sequence": _flat(uid, levels_TL, self.size)}


class FineSequences:
    """Prepares a sample of the fine stage: the first levels and the others, both frame by frame.
    Picklable."""

    def __init__(self, level_set: UnitSet, coarse: int):
        self.level_set, self.coarse = level_set, coarse

    def __call__(self, uid: str, data: dict) -> dict:
        """prefix (T x C,), sequence (T x Q,), int64.

        Errors (ValueError): levels of different lengths, units that a level does not have."""
        levels_TL, size = levels_of(uid, data, self.level_set.levels), self.level_set.size
        parts = levels_TL[:, : self.coarse], levels_TL[:, self.coarse :]
        prefix, sequence = (_flat(uid, part_TL, size) for part_TL in parts)
        return {"prefix": prefix, "sequence": sequence}


class AudioLMTask(SpeechTask):
    """Options, model and data of a stage of AudioLM."""

    target = "sequence"
    target_padding = -1
    tag = "--output_dir"
    matrices = "lm.decoder.model.layers"

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """ESPnet's hook."""
        directories.add_arguments(parser, KINDS)
        add = parser.add_argument_group("AudioLM").add_argument
        add("--stage", choices=(COARSE, FINE), help="which levels are learned")
        add("--coarse_levels", type=int, default=1, help="levels of the coarse stage")
        add(
            "--longest",
            type=float,
            help="seconds of an utterance that are looked at, anywhere in it (default: 10 in the "
            "coarse stage, 6 in the fine one, which has 3 of a prompt)",
        )
        add("--lm_conf", action=NestedDictAction, default={}, help="Options of AcousticLM")
        directories.add_set_by_task(parser, OPTIONS)

    @classmethod
    def set_up(cls, args: argparse.Namespace) -> None:
        """The data, and what its units are, from the directories that are given.

        Errors (ValueError): a stage or a number of levels that cannot be; directories or tables
        that are missing; units of two quantisers."""
        if args.stage not in KINDS_OF:  # a configuration may say anything
            raise ValueError(f"--stage {args.stage}: give {COARSE} or {FINE}")
        kinds = KINDS_OF[args.stage]
        if args.stage == FINE and (args.train_units or args.valid_units):
            raise ValueError(
                "--stage fine reads no semantic units: leave --train_units and --valid_units out"
            )
        directories.check_given(args, kinds)
        levels, coarse = read_sets(args, kinds).levels, args.coarse_levels
        if not 1 <= coarse < levels:
            raise ValueError(
                f"--coarse_levels {coarse}: {args.train_levels} has {levels} levels, of which each "
                "stage needs one at least"
            )
        set_tables(args, coarse if args.stage == COARSE else levels, kinds)

    @classmethod
    def build_preprocess_fn(cls, args: argparse.Namespace, train: bool) -> Callable | None:
        """Units to sequences."""
        level_set = UnitSet(**args.level_set)
        if args.stage == FINE:
            return FineSequences(level_set, args.coarse_levels)
        return CoarseSequences(UnitSet(**args.unit_set), level_set, args.coarse_levels)

    @classmethod
    def required_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        """Names of what a sample must have."""
        return (LEVELS[0],)

    @classmethod
    def optional_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        """What a sample may have besides."""
        return ("units", "durations", *LEVELS[1:])

    @classmethod
    def build_model(cls, args: argparse.Namespace) -> AcousticLMESPnetModel:
        """The model of `args`. ValueError: an option of --lm_conf that is not known."""
        levels, coarse = UnitSet(**args.level_set), args.coarse_levels
        longest = LONGEST[args.stage] if args.longest is None else args.longest
        frames = int(longest * levels.frames_per_second)
        if args.stage == FINE:
            sizes = dict(prefix_levels=coarse, prefix_size=levels.size)
            lm = _build(args, levels, levels.levels - coarse, **sizes)
            return AcousticLMESPnetModel(lm, frames)
        units = UnitSet(**args.unit_set)
        lm = _build(args, levels, coarse, prefix_levels=1, prefix_size=units.size)
        predictor = DurationPredictor(units.size, lm.decoder.config.hidden_size, lm.dropout)
        return AcousticLMESPnetModel(lm, frames, predictor)


def _build(args: argparse.Namespace, level_set: UnitSet, levels: int, **sizes: int) -> AcousticLM:
    sizes.update(levels=levels, level_size=level_set.size)
    return build_part("lm", AcousticLM, args.lm_conf, **sizes)


def _flat(uid: str, levels_TL: np.ndarray, size: int) -> np.ndarray:
    try:
        return np.array(flatten(levels_TL.T.tolist(), size))
    except ValueError as error:
        raise ValueError(f"utterance {uid}: {error}") from error
