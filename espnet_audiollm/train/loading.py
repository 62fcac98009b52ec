"""From an experiment directory to a model, strictly."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from ..store.yaml_files import read_options
from . import checkpoints


def read_config(directory: str | Path, *needed: str) -> argparse.Namespace:
    """The options that the model in `directory` was trained with (its config.yaml).

    Errors (ValueError): there is none, it is damaged, or lacks one of the options `needed`."""
    path = Path(directory) / "config.yaml"
    if not path.exists():
        raise ValueError(f"{path} does not exist: {directory} is not a trained experiment")
    options = read_options(path, "give an experiment that was trained here")
    if lacking := [name for name in needed if name not in options]:
        raise ValueError(f"{path} lacks {', '.join(lacking)}: give an experiment of stage 9")
    return argparse.Namespace(**options)


def load_weights(model: torch.nn.Module, path: str | Path, device: str = "cpu") -> None:
    """Load a checkpoint's weights; every key must be there and fit (ValueError otherwise)."""
    load_state(model, checkpoints.load(Path(path), map_location=device), path)


def load_state(model: torch.nn.Module, state: dict, path: str | Path) -> None:
    """Load weights that came from `path`.

    ValueError when one is missing, unknown or of another shape: how many, the first, what to do."""
    ours = {k: v for k, v in model.state_dict().items() if isinstance(v, torch.Tensor)}
    theirs = {k: v for k, v in state.items() if isinstance(v, torch.Tensor)}
    missing, unknown = sorted(ours.keys() - theirs.keys()), sorted(theirs.keys() - ours.keys())
    misfits = [
        f"{k} is {tuple(theirs[k].shape)}, not {tuple(ours[k].shape)}"
        for k in sorted(ours.keys() & theirs.keys())
        if theirs[k].shape != ours[k].shape
    ]
    if missing or unknown or misfits:
        first = (misfits + missing + unknown)[0]
        raise ValueError(
            f"{path} belongs to another configuration: {len(missing)} weights are missing, "
            f"{len(unknown)} unknown, {len(misfits)} of another shape (first: {first}); "
            "use the configuration it was trained with, or another directory"
        )
    model.load_state_dict(state)
