"""Mean and variance normalisation of one utterance by its own frames.

ESPnet's class counts padding into the variance, so that the result depends on the batch."""

# B batch, F frames, M bands

from __future__ import annotations

import torch
from espnet2.layers.abs_normalize import AbsNormalize

from .masking import mask_padding


class UtteranceMVN(AbsNormalize):
    """Args: norm_means, norm_vars: what is normalised; eps: smallest standard deviation."""

    def __init__(self, norm_means: bool = True, norm_vars: bool = False, eps: float = 1e-3):
        super().__init__()
        self.norm_means, self.norm_vars, self.eps = norm_means, norm_vars, eps

    def forward(
        self, x_BFM: torch.Tensor, ilens: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, F, M) and (B,) to the same shapes, zero where padded."""
        x_BFM = mask_padding(x_BFM, ilens)
        frames_B11 = ilens.to(x_BFM.device, non_blocking=True)[:, None, None]
        mean_B1M = x_BFM.sum(1, keepdim=True) / frames_B11
        centred_BFM = mask_padding(x_BFM - mean_B1M, ilens)
        if self.norm_means:
            x_BFM = centred_BFM
        if self.norm_vars:
            variance_B1M = centred_BFM.square().sum(1, keepdim=True) / frames_B11
            x_BFM = x_BFM / variance_B1M.sqrt().clamp(min=self.eps)
        return x_BFM, ilens
