"""Trainings whose data are named by directories, not table by table: `--train_data dump/train`."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from espnet2.utils.nested_dict_action import NestedDictAction

from ..data.kaldi_dir import existing, read_table

SPLITS = ("train", "valid")


def add_arguments(parser: argparse.ArgumentParser, kinds: tuple[str, ...]) -> None:
    """Add --train_KIND and --valid_KIND for each of `kinds` ("data", "units")."""
    group = parser.add_argument_group("Directories")
    for split in SPLITS:
        for kind in kinds:
            group.add_argument(f"--{split}_{kind}", help=f"directory: the {kind} of {split}")


def add_set_by_task(parser: argparse.ArgumentParser, options: dict[str, str]) -> None:
    """Add what a task finds out for itself and a checkpoint has to know: `options` with what each
    says, and ESPnet's own, which is empty."""
    group = parser.add_argument_group("Set by the task")
    for name, what in {**options, "model_conf": "nothing"}.items():
        group.add_argument(f"--{name}", action=NestedDictAction, default={}, help=what)


def check_given(args: argparse.Namespace, kinds: tuple[str, ...]) -> None:
    """Refuse (ValueError) a command line without the directories, or with some of them."""
    if given(args, kinds):
        return
    *names, last = [f"--{split}_{kind}" for split in SPLITS for kind in kinds]
    raise ValueError(f"give {', '.join(names)} and {last}: directories")


def given(args: argparse.Namespace, kinds: tuple[str, ...]) -> bool:
    """Whether directories are given. Errors (ValueError): some of them are."""
    names = [f"{split}_{kind}" for split in SPLITS for kind in kinds]
    missing = [f"--{name}" for name in names if not getattr(args, name)]
    if missing and len(missing) < len(names):
        raise ValueError(f"{len(missing)} of {len(names)} directories are not given: {missing[0]}")
    return not missing


def set_tables(args: argparse.Namespace, split: str, tables: dict[str, tuple[Path, str]]) -> None:
    """Name the data of a split as ESPnet does: `tables` by name, each with its type; lengths of
    batches are those that stage 2 counted.

    Errors (ValueError): a table that is not there."""
    data = Path(getattr(args, f"{split}_data"))
    rows = [(str(existing(path)), name, kind) for name, (path, kind) in tables.items()]
    setattr(args, f"{split}_data_path_and_name_and_type", rows)
    setattr(args, f"{split}_shape_file", [str(existing(data / "utt2num_samples"))])


def speakers_of(data: str | Path) -> list[str]:
    """The speakers of a data directory, sorted."""
    return sorted({speaker for _, speaker in read_table(existing(Path(data) / "utt2spk"))})


def check_speakers(data: str | Path, known: list[str], instead: str) -> None:
    """Refuse (ValueError) a directory with speakers that are not `known`; instead: what to do."""
    others = sorted(set(speakers_of(data)) - set(known))
    if others:
        raise ValueError(
            f"{data}: {len(others)} speakers (first: {others[0]}) are not in the training data: "
            f"{instead}"
        )


class SpeakerNumber:
    """Turns the speaker of a sample into a number in a list. Picklable."""

    def __init__(self, speakers: list[str]):
        self.number_of = {speaker: number for number, speaker in enumerate(speakers)}

    def __call__(self, uid: str, data: dict) -> dict:
        """The sample with its speaker as (1,) int64, where it has one."""
        if "speaker" not in data:
            return data
        return {**data, "speaker": np.array([self.number_of[data["speaker"]]], dtype=np.int64)}
