"""What a training's largest batch needs of a GPU by prediction, beside what was used."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from ..model.audiollm import AudioLLMESPnetModel
from ..model.ctc import CTCESPnetModel
from ..model.step_memory import StepMemory, step_memory
from ..model.usage import peak_gpu_memory
from .session import Session


def log_memory(session: Session, largest: Mapping[str, Any]) -> int:
    """Say both, on a GPU; the prediction (bytes), 0 where there is none.

    largest: the shapes of a batch, as the model is given it. Whatever cannot be predicted does not
    end a training: the log says why."""
    used = peak_gpu_memory("cuda" if session.options.ngpu > 0 else "cpu")
    if used is None or not isinstance(session.model, AudioLLMESPnetModel | CTCESPnetModel):
        return 0
    try:
        found = predict(session, largest)
    except Exception as error:  # of torch's internals, of parts that are not ours
        logging.warning(f"The memory of a step was not predicted: {type(error).__name__}: {error}")
        return 0
    logging.info(comparison(found, used))
    return found.bytes


def predict(session: Session, largest: Mapping[str, Any]) -> StepMemory:
    """Of a step of this process. ValueError: the LLM's layers are shared out."""
    model, options = session.model, session.options
    if isinstance(model, AudioLLMESPnetModel):
        if any(isinstance(p, DTensor) for p in model.llm.model.parameters()):
            raise ValueError("with --llm_sharding it is not; bin/estimate does it")
    (optimizer,) = session.optimizers
    return step_memory(
        model,
        largest,
        lambda copy: alike(optimizer, model, copy),
        amp=options.use_amp,
        accumulated=options.accum_grad > 1,
        distributed=session.ranks.number > 1,
    )


def alike(
    optimizer: torch.optim.Optimizer, model: nn.Module, copy: nn.Module
) -> torch.optim.Optimizer:
    """The optimizer of a copy of the model, as on a GPU: of all weights together."""
    pairs = zip(model.parameters(), copy.parameters(), strict=True)
    copies = {id(weight): of_copy for weight, of_copy in pairs}
    groups = []
    for group in optimizer.param_groups:
        weights = [copies[id(weight)] for weight in group["params"]]
        together = {"foreach": True} if group.get("foreach", True) is None else {}
        groups.append({**group, **together, "params": weights})
    return type(optimizer)(groups)


def comparison(found: StepMemory, used: int) -> str:
    """A line of the log."""
    gb = {name: f"{name} {size / 1e9:.2f}" for name, size in found.parts.items()}
    return (
        f"Memory of the GPU: {used / 1e9:.2f} GB used at most, {found.bytes / 1e9:.2f} GB "
        f"predicted for the largest batch, in its {found.where}: {', '.join(gb.values())}"
    )
