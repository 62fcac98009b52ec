"""The vocoder that needs no training: the mean mel patch of each unit in a voice's recordings, or
(--levels true) of each unit of every level, which add up to any voice."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.kaldi_dir import count_lines, existing, read_dict
from ..data.unit_tables import UNITS, UnitSet, iter_levels, iter_units, merge_repeats, read_set
from ..progress import progress
from ..store.tables import check_same_ids
from ..types import SAMPLE_RATE, Seconds
from .cli import add_flag, user_errors

if TYPE_CHECKING:
    from torch import nn


def get_parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--data", required=True, help="directory of stage 2 in the voice that is wanted")
    add("--units", required=True, help="its units, of bin/extract_units")
    add("--output", required=True, help="directory of the vocoder, e.g. exp/patches_ctc200")
    add_flag(parser, "--levels", "patches of all levels of the units, not only of the first")
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Learn the patches."""
    args = get_parser().parse_args(argv)
    unit_set = read_set(args.units)
    wavs = read_dict(existing(Path(args.data) / "wav.scp"))
    ids = {row.id: 0 for row in iter_units(args.units)}
    check_same_ids(ids, {id_: 0 for id_ in wavs if id_ in ids}, args.data, "extract units of it")
    import yaml

    from ..infer.speak import CHECKPOINT
    from ..store.atomic import atomic_write, new_directories
    from ..train.checkpoints import save

    make = level_patches if args.levels == "true" else patches_of_units
    kind, patches = make(args.units, unit_set, wavs)
    with new_directories(args.output) as (aside,):
        save(patches.state_dict(), aside / CHECKPOINT)
        with atomic_write(aside / "config.yaml") as out:
            yaml.safe_dump({"vocoder": kind, "unit_set": asdict(unit_set)}, out)
    print(f"{args.output}: mean patches of {unit_set.size} units from {len(ids)} recordings")
    return 0


def patches_of_units(units: str, unit_set: UnitSet, wavs: dict[str, str]) -> tuple[str, nn.Module]:
    """The name of the kind, and patches of the first level."""
    from ..infer.speak import PATCHES
    from ..model.mean_patches import MeanPatches
    from ..model.unit_vocoder import frames_per_unit

    patches = MeanPatches(unit_set.size, frames_per_unit(unit_set.frames_per_second))
    return PATCHES, patches.learn(recordings(units, wavs))


def level_patches(units: str, unit_set: UnitSet, wavs: dict[str, str]) -> tuple[str, nn.Module]:
    """The name of the kind, and patches of all levels."""
    from ..infer.unit_levels import LEVEL_PATCHES
    from ..model.mean_patches import LevelPatches
    from ..model.unit_vocoder import frames_per_unit

    frames = frames_per_unit(unit_set.frames_per_second)
    patches = LevelPatches(unit_set.size, unit_set.levels, frames)
    return LEVEL_PATCHES, patches.learn(lambda: recordings_of_levels(units, wavs))


def recordings_of_levels(units: str, wavs: dict[str, str]) -> Iterator[tuple]:
    """(samples, units of all levels) of each recording."""
    import torch

    from ..data.audio import read_mono_16k

    number, rate = count_lines(Path(units) / UNITS), read_set(units).frames_per_second
    for row in progress(iter_levels(units), number, "mean_patches"):
        samples = read_mono_16k(wavs[row.id])
        check_of_one_recording(row.id, len(row.levels[0]) / rate, len(samples) / SAMPLE_RATE)
        yield torch.from_numpy(samples), torch.tensor(row.levels)


def recordings(units: str, wavs: dict[str, str]) -> Iterator[tuple]:
    """(samples, units without repeats, their durations) of each recording."""
    import torch

    from ..data.audio import read_mono_16k

    number, rate = count_lines(Path(units) / UNITS), read_set(units).frames_per_second
    for row in progress(iter_units(units), number, "mean_patches"):
        samples = read_mono_16k(wavs[row.id])
        check_of_one_recording(row.id, len(row.frames) / rate, len(samples) / SAMPLE_RATE)
        merged = map(torch.tensor, merge_repeats(row.frames))
        yield torch.from_numpy(samples), *merged


def check_of_one_recording(id_: str, units: Seconds, audio: Seconds) -> None:
    """Refuse (ValueError) units that cannot be of this recording: longer or shorter by more than
    0.2 s and a tenth."""
    if abs(units - audio) > 0.2 + 0.1 * audio:
        raise ValueError(
            f"{id_} has {units:.2f} s of units and {audio:.2f} s of audio: give the units that "
            "were extracted from this data (bin/extract_units)"
        )


if __name__ == "__main__":
    sys.exit(main())
