"""Dropout with cheaper random numbers on a processor.

torch draws a number for each element there, one after the other, which in a small encoder is a good
part of a training step (docs/LOG.md). Here four elements share a number of 64 bits.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LEVELS = 2**16  # a probability is rounded to a multiple of 1 / LEVELS


def dropout(x: torch.Tensor, probability: float, training: bool) -> torch.Tensor:
    """`x`, of any shape, in training with elements set to 0 by `probability` and the others scaled
    so that the mean stays. On a GPU it is torch's."""
    if not training or probability == 0:
        return x
    level = round(probability * LEVELS)
    if x.device.type != "cpu" or level == LEVELS:
        return F.dropout(x, probability, training)
    words_W = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    chance = words_W.view(torch.int16)[: x.numel()].view(x.shape)
    kept = (chance >= level - LEVELS // 2).to(x.dtype)
    return x * kept.mul_(LEVELS / (LEVELS - level))


class Dropout(nn.Module):
    """`dropout` as a module.

    Args:
        probability: of an element to become 0, in [0, 1].
    """

    def __init__(self, probability: float):
        super().__init__()
        _check("dropout_rate", probability)
        self.probability = probability

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of the same shape."""
        return dropout(x, self.probability, self.training)


def drop_in_layers(model: PreTrainedModel, probability: float) -> None:
    """From now on drop, in training mode, elements of what each attention and each feed-forward
    network of an LLM adds to its layer's hidden states.

    Errors (ValueError): no probability, an architecture without such layers."""
    from .layers import decoder_layers

    _check("--llm_dropout", probability)
    for layer in decoder_layers(model):
        for part in (layer.self_attn, layer.mlp):
            part.register_forward_hook(partial(_dropped, probability))


def _dropped(probability: float, module: nn.Module, inputs, output):
    if isinstance(output, tuple):
        return (dropout(output[0], probability, module.training), *output[1:])
    return dropout(output, probability, module.training)


def _check(option: str, probability: float) -> None:
    if not 0 <= probability <= 1:
        raise ValueError(f"{option} is {probability}; it can be from 0 to 1")
