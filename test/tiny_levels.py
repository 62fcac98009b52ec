"""Directories of units and levels for SoundStorm and AudioLM, made up, and their options; no audio
is read."""

import random
from pathlib import Path

import yaml
from tiny_tasks import QUICK

from espnet_audiollm.data.kaldi_dir import write_table
from espnet_audiollm.data.unit_tables import UnitSet, table_of_level, write_set

SIZES = dict(width=16, heads=2, hidden=16, layers=1, dropout=0.1)
OPTIONS = QUICK | {"batch_type": "numel", "batch_bins": 70_000, "max_epoch": 2}
UNITS = UnitSet("a" * 64, 6, 12.5, False)
LEVELS = UnitSet("b" * 64, 5, 25.0, False, 3)


def write_levels(directory: Path, unit_set: UnitSet, frames: dict[str, int]) -> Path:
    """Random units of each level; `frames` of each utterance."""
    directory.mkdir(parents=True)
    for level in range(1, unit_set.levels + 1):
        rng = random.Random(level)
        rows = (
            (id_, " ".join(str(rng.randrange(unit_set.size)) for _ in range(number)))
            for id_, number in frames.items()
        )
        write_table(directory / table_of_level(level), rows)
    write_set(directory, unit_set)
    return directory


def make(place: Path, number: int = 8) -> Path:
    """data/, units/, levels/ of utterances of 0.8 s and more."""
    lengths = {f"u{n}": 10 + 2 * n for n in range(number)}  # units of 80 ms
    (place / "data").mkdir(parents=True)
    samples = ((id_, str(1_280 * n)) for id_, n in lengths.items())
    write_table(place / "data/utt2num_samples", samples)
    write_levels(place / "units", UNITS, lengths)
    write_levels(place / "levels", LEVELS, {id_: 2 * n for id_, n in lengths.items()})
    return place


def options(place: Path, output: Path, levels: str = "levels", **more) -> list[str]:
    """The command line of bin/soundstorm_train."""
    more = {"soundstorm_conf": {**SIZES, "kernel": 3}, **more}
    kinds = {"data": "data", "units": "units", "levels": levels}
    return _words(place, output, kinds, more)


def stage_options(place: Path, output: Path, stage: str, **more) -> list[str]:
    """The command line of bin/audiolm_train; half a second of an utterance is looked at."""
    more = {"lm_conf": SIZES, "stage": stage, "longest": 0.5, **more}
    kinds = ("data", "units", "levels") if stage == "coarse" else ("data", "levels")
    return _words(place, output, {kind: kind for kind in kinds}, more)


def _words(place: Path, output: Path, kinds: dict[str, str], more: dict) -> list[str]:
    output.mkdir(parents=True, exist_ok=True)
    config = output / "given.yaml"
    config.write_text(yaml.safe_dump({**OPTIONS, **more}))
    words = ["--config", str(config), "--output_dir", str(output)]
    for split in ("train", "valid"):
        for kind, name in kinds.items():
            words += [f"--{split}_{kind}", f"{place}/{name}"]
    return words
