"""From an experiment directory to a model, strictly."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from ..store.model_directory import WEIGHTS, read_model_options, read_weights
from . import checkpoints


def read_config(directory: str | Path, *needed: str) -> argparse.Namespace:
    """The options that the model in `directory`, an experiment or a packed one, was trained with.

    Errors (ValueError): there is none, it is damaged, or lacks one of the options `needed`."""
    options = read_model_options(directory)
    if lacking := [name for name in needed if name not in options]:
        raise ValueError(
            f"the configuration in {directory} lacks {', '.join(lacking)}: "
            "give an experiment of stage 9"
        )
    return argparse.Namespace(**options)


def load_weights(model: torch.nn.Module, path: str | Path, device: str = "cpu") -> None:
    """Load the weights of a checkpoint or of a packed model; every key must be there and fit
    (ValueError otherwise)."""
    packed = Path(path).name == WEIGHTS
    state = read_weights(path) if packed else checkpoints.load(Path(path), map_location=device)
    load_state(model, state, path)


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
