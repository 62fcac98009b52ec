"""The LLM's decoder layers, and what each of them gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer


def decoder_layers(model: PreTrainedModel) -> list[torch.nn.Module]:
    """The LLM's layers, first to last. ValueError: an architecture without such layers."""
    layers = [m for m in model.base_model.modules() if isinstance(m, GradientCheckpointingLayer)]
    if not layers:
        raise ValueError(
            f"no decoder layers are known in {type(model).__name__}: take a Llama-family LLM, or "
            "leave --llm_sharding, --llm_activation_checkpointing and --hidden_layers out"
        )
    return layers


@contextmanager
def recorded(model: PreTrainedModel, numbers: Sequence[int]) -> Iterator[list[torch.Tensor]]:
    """A list that holds, after the block, what the layers of these numbers (1 is the first) gave in
    the forward pass made in it."""
    found: dict[int, torch.Tensor] = {}
    states: list[torch.Tensor] = []

    def record(number: int, module, inputs, output) -> None:
        found[number] = output[0] if isinstance(output, tuple) else output

    layers = decoder_layers(model) if numbers else []
    hooks = [layers[n - 1].register_forward_hook(partial(record, n)) for n in numbers]
    try:
        yield states
    finally:
        for hook in hooks:
            hook.remove()
    states += [found[number] for number in numbers]


@contextmanager
def given(model: PreTrainedModel, extra: Sequence[dict[str, Any]]) -> Iterator[None]:
    """In the block each layer gets further arguments of its own, which reach its attention (empty:
    no layer does). By hooks: compiled layers share their code, which must not depend on a layer's
    number."""

    def add(more: dict[str, Any], module, args, kwargs):
        return args, kwargs | more

    layers = decoder_layers(model) if extra else []
    with ExitStack() as hooks:
        for layer, more in zip(layers, extra, strict=True):
            hook = layer.register_forward_pre_hook(partial(add, more), with_kwargs=True)
            hooks.callback(hook.remove)
        yield
