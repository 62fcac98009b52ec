"""Dropout with cheaper random numbers on a processor.

torch draws a number for each element there, one after the other, which in a small encoder is a good
part of a training step (docs/LOG.md). Here four elements share a number of 64 bits.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

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
        if not 0 <= probability <= 1:
            raise ValueError(f"dropout_rate is {probability}; it can be from 0 to 1")
        self.probability = probability

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of the same shape."""
        return dropout(x, self.probability, self.training)
