"""Checkpoints that are complete or absent, and hold nothing but tensors and plain values.

Every record of a checkpoint carries a CRC. torch writes it and does not look at it again; here it
is compared whenever a checkpoint is read, so that a disk's mistake is no silent change of weights.
"""

from __future__ import annotations

import datetime
import io
import logging
import os
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..store.atomic import aside_of, atomic_write

State = dict[str, Any]  # of tensors and plain values

RESUMABLE = re.compile(r"checkpoint_(\d{9,})\.pth")  # optimiser steps


def save(state: State, path: Path) -> None:
    """Write aside, flush to disk, rename. Encoded in memory first: torch's zip writer would hide
    the reason why a file cannot be written."""
    encoded = io.BytesIO()
    torch.save(state, encoded)
    with atomic_write(path, "wb") as out:
        out.write(encoded.getbuffer())


def load(path: Path, map_location: str = "cpu") -> State:
    """Read a checkpoint; no code in it is run.

    Raises ValueError when the file is missing or damaged."""
    if not Path(path).exists():
        raise ValueError(f"checkpoint {path} does not exist: run the training stage first")
    try:
        if zipfile.is_zipfile(path):
            check(path)
        with torch.serialization.safe_globals([datetime.timedelta]):
            return torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:
        raise ValueError(
            f"checkpoint {path} cannot be read ({type(error).__name__}: {error}); "
            "remove it and train on from an earlier one"
        ) from error


def check(path: Path) -> None:
    """Compare the CRC of every record; any error at all means that the file is damaged."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged:
        raise zipfile.BadZipFile(f"the CRC of its record {damaged} differs")


def resumable(directory: Path) -> list[Path]:
    """The checkpoints that a training can go on from, newest first."""
    found = ((p, RESUMABLE.fullmatch(p.name)) for p in directory.glob("checkpoint_*.pth"))
    steps = {p: int(match[1]) for p, match in found if match}
    return sorted(steps, key=steps.__getitem__, reverse=True)


def newest_undamaged(directory: Path) -> Path | None:
    """The newest checkpoint that is not damaged; None where there is none of any kind.

    Damaged ones before it get another name and a warning. ValueError when all are damaged."""
    paths, damaged = resumable(directory), {}
    for path in paths:
        try:
            check(path)
            break
        except Exception as error:
            damaged[path] = f"{type(error).__name__}: {error}"
    if paths and len(damaged) == len(paths):
        raise ValueError(
            f"all {len(paths)} checkpoints in {directory} are damaged (first: {paths[0].name}: "
            f"{damaged[paths[0]]}); look for a failing disk, then delete them to begin anew"
        )
    for path, reason in damaged.items():
        path.rename(path.with_name(f"{path.name}.damaged"))
        logging.warning(f"{path} is damaged ({reason}): kept as {path.name}.damaged, not used")
    return next((path for path in paths if path not in damaged), None)


def link(target: str, name: Path) -> None:
    """Point the symbolic link `name` at its sibling `target`, replacing an older one at once."""
    aside = aside_of(name)
    aside.unlink(missing_ok=True)
    aside.symlink_to(target)
    os.replace(aside, name)


def average(paths: Sequence[Path]) -> State:
    """The mean of the weights; what is not a floating-point tensor comes from the first file."""
    states = [load(path) for path in paths]
    mean = dict(states[0])
    for key, first in states[0].items():
        if isinstance(first, torch.Tensor) and first.is_floating_point():
            mean[key] = torch.stack([state[key].double() for state in states]).mean(0).to(first)
    return mean


def save_average(epochs: Sequence[int], directory: Path, criterion: str) -> None:
    """Leave `<criterion>.ave_<n>best.pth` and the link `<criterion>.ave.pth` to it."""
    name = f"{criterion}.ave_{len(epochs)}best.pth"
    save(average([directory / f"{e}epoch.pth" for e in epochs]), directory / name)
    link(name, directory / f"{criterion}.ave.pth")
    logging.info(f"{name}: mean of epochs {', '.join(map(str, epochs))}")
