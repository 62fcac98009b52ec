"""ESPnet task of bin/vocoder_train: units to log mel energies, in the voices of the data."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from espnet2.utils.nested_dict_action import NestedDictAction

from ..data.unit_tables import DURATIONS, UNITS, UnitSet, merge_repeats, read_set
from ..model.unit_vocoder import PADDING, UnitVocoder, VocoderESPnetModel, frames_per_unit
from . import directories
from .base import SpeechTask
from .choices import build_part

KINDS = ("data", "units")
PROMPTS = "validate on the training's speakers, or let voices come from prompts (--voice prompt)"


class MergedUnits:
    """Prepares the units of a sample: repeats merged, their durations beside them. Picklable."""

    def __init__(self, speakers: list[str] | None):
        self.number = directories.SpeakerNumber(speakers or [])

    def __call__(self, uid: str, data: dict) -> dict:
        """The sample with units and durations (L,) int64, and the number of its speaker."""
        if "durations" not in data:
            units, durations = merge_repeats(data["units"].tolist())
            data = {**data, "units": np.array(units), "durations": np.array(durations)}
        return self.number(uid, data)


class VocoderTask(SpeechTask):
    """Options, model and data of the unit vocoder."""

    target = "units"
    target_padding = PADDING
    tag = "--output_dir"

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """ESPnet's hook."""
        directories.add_arguments(parser, KINDS)
        group = parser.add_argument_group("Vocoder")
        group.add_argument(
            "--voice",
            choices=("table", "prompt"),
            default="table",
            help="voices are the speakers of utt2spk, or 3 s of speech",
        )
        group.add_argument(
            "--vocoder_conf", action=NestedDictAction, default={}, help="Options of UnitVocoder"
        )
        directories.add_set_by_task(parser, {"unit_set": "what the units are"})
        group.add_argument("--speakers", nargs="*", default=[], help="Set by the task")

    @classmethod
    def main(cls, args: argparse.Namespace | None = None, cmd: Sequence[str] | None = None) -> None:
        """Train with `args`, or with the options of the command line `cmd`."""
        args = args or cls.get_parser().parse_args(cmd)
        directories.check_given(args, KINDS)
        set_up(args)
        super().main(args=args)

    @classmethod
    def build_preprocess_fn(cls, args: argparse.Namespace, train: bool) -> Callable | None:
        """Repeats of units merged, speakers as numbers."""
        return MergedUnits(args.speakers)

    @classmethod
    def optional_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        """What a sample may have besides."""
        return ("durations", "speaker")

    @classmethod
    def build_model(cls, args: argparse.Namespace) -> VocoderESPnetModel:
        """The model of `args`. ValueError: an option of --vocoder_conf that is not known."""
        units = UnitSet(**args.unit_set)
        by_prompt = args.voice == "prompt"
        vocoder = build_part(
            "vocoder",
            UnitVocoder,
            args.vocoder_conf,
            size=units.size,
            frames=frames_per_unit(units.frames_per_second),
            voices=None if by_prompt else len(args.speakers),
        )
        return VocoderESPnetModel(vocoder, by_prompt)


def set_up(args: argparse.Namespace) -> None:
    """The data, what its units are, and the speakers, from the directories that are given.

    Errors (ValueError): tables that are missing; units of two quantisers; a speaker of the
    validation that the training does not have."""
    unit_set = read_set(args.train_units)
    valid = read_set(args.valid_units)
    valid.check_quantiser(unit_set.quantiser, args.valid_units, str(args.train_units))
    args.unit_set = asdict(unit_set)
    args.speakers = []
    if args.voice == "table":
        args.speakers = directories.speakers_of(args.train_data)
        directories.check_speakers(args.valid_data, args.speakers, PROMPTS)
    for split in directories.SPLITS:
        directories.set_tables(args, split, _tables(args, split))


def _tables(args: argparse.Namespace, split: str) -> dict[str, tuple[Path, str]]:
    data, units = (Path(getattr(args, f"{split}_{kind}")) for kind in KINDS)
    tables = {"speech": (data / "wav.scp", "sound"), "units": (units / UNITS, "text_int")}
    if read_set(units).merged:
        tables["durations"] = (units / DURATIONS, "text_int")
    if args.voice == "table":
        tables["speaker"] = (data / "utt2spk", "text")
    return tables
