"""Masks, so that padding changes nothing."""

from __future__ import annotations

import torch


def valid_mask(lengths_B: torch.Tensor, longest: int) -> torch.Tensor:
    """(B, longest) bool: True where a position lies within its sequence."""
    return torch.arange(longest, device=lengths_B.device) < lengths_B[:, None]


def mask_padding(x_BTx: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
    """`x_BTx` with exact zeros at the padded positions (dimension 1 is time)."""
    mask = valid_mask(lengths_B, x_BTx.shape[1])
    return x_BTx.masked_fill(~mask.reshape(mask.shape + (1,) * (x_BTx.dim() - 2)), 0.0)
