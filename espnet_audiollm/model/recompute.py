"""Decoder layers whose activations are computed again in the backward pass, not kept.

The LLM's weights get no gradient, but gradients pass through it to the audio: what its layers
computed is kept for that, and is most of the memory of a long batch. transformers' own switch does
nothing here, since it wants the model in training mode, with its dropout. Ours also remembers which
attention the forward pass used: the backward pass comes when that choice is undone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedConfig, PreTrainedModel

from .layers import decoder_layers
from .packing import attention


def recompute_layers(model: PreTrainedModel) -> None:
    """From now on keep only what enters each layer, whenever gradients are wanted.

    Hooks of a layer (those of FSDP) stay outside: they run once."""
    for layer in decoder_layers(model):
        layer.forward = partial(_recomputed, model.config, layer.forward)


def _recomputed(config: PreTrainedConfig, forward: Callable, *args, **kwargs):
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    chosen = config._attn_implementation

    def run(*args, **kwargs):
        with attention(config, chosen):
            return forward(*args, **kwargs)

    return checkpoint(run, *args, use_reentrant=False, **kwargs)
