"""BEST-RQ's quantiser: a random projection and random codes, which never learn.

Chiu et al., 2022 (arXiv 2202.01855): what a masked frame is to be predicted as. Features have mean
0 and variance 1 before, which keeps the frames from all falling to a few codes.
"""

# B batch, F mel frames, M mel bands, T encoder frames, I inputs of a frame (S x M), Q codebooks,
# K codes of each, E width of a code

from __future__ import annotations

import torch
import torch.nn.functional as nnf
from torch import nn

from .masking import mask_padding
from .normalize import UtteranceMVN

SEED = 0


class RandomQuantiser(nn.Module):
    """Log mel features to a code of each encoder frame, by each codebook.

    Projections and codes are drawn once, saved in checkpoints, and have no gradient.

    Args:
        bands: mel bands M.
        subsampling: mel frames S of an encoder frame.
        codebooks: Q, each with a projection of its own.
        codes: K of each.
        width: E of a code.
        seed: of what is drawn.
    """

    projection_QIE: torch.Tensor
    codes_QKE: torch.Tensor

    def __init__(
        self,
        bands: int,
        subsampling: int,
        codebooks: int = 1,
        codes: int = 8192,
        width: int = 16,
        seed: int = SEED,
    ):
        super().__init__()
        if min(codebooks, width) < 1 or codes < 2:
            raise ValueError(f"{codebooks} codebooks of {codes} codes of width {width}")
        self.subsampling, self.size = subsampling, codes
        self.normalize = UtteranceMVN(norm_vars=True)
        generator = torch.Generator().manual_seed(seed)
        with torch.device("cpu"):  # the same on every device
            projection_QIE = torch.empty(codebooks, subsampling * bands, width)
            for each_IE in projection_QIE:
                nn.init.xavier_uniform_(each_IE, generator=generator)
            codes_QKE = torch.randn(codebooks, codes, width, generator=generator)
        self.register_buffer("projection_QIE", projection_QIE)
        self.register_buffer("codes_QKE", nnf.normalize(codes_QKE, dim=-1))

    @torch.no_grad()
    def forward(self, x_BFM: torch.Tensor, frames_B: torch.Tensor) -> torch.Tensor:
        """(B, T, Q) numbers of codes: those nearest to the projected frames, both of length 1.

        x_BFM: log mel features, not normalised yet; frames_B: (B,) of them."""
        with torch.autocast(x_BFM.device.type, enabled=False):
            x_BFM, _ = self.normalize(x_BFM.to(self.codes_QKE.dtype), frames_B)
            x_BTI = stack(x_BFM, frames_B, self.subsampling)
            places = [
                (nnf.normalize(x_BTI @ projection_IE, dim=-1) @ codes_KE.T).argmax(-1)
                for projection_IE, codes_KE in zip(self.projection_QIE, self.codes_QKE, strict=True)
            ]
        return torch.stack(places, dim=-1)


def stack(x_BFM: torch.Tensor, frames_B: torch.Tensor, number: int) -> torch.Tensor:
    """(B, T, number x M): so many frames as one, zeros after an utterance's last one."""
    x_BFM = mask_padding(x_BFM, frames_B)
    x_BFM = nnf.pad(x_BFM, (0, 0, 0, -x_BFM.shape[1] % number))
    return x_BFM.unflatten(1, (-1, number)).flatten(2)


def count(codes_N: torch.Tensor, size: int) -> torch.Tensor:
    """(K,) how often each code comes (bincount would wait for a GPU)."""
    ones_N = torch.ones(len(codes_N), device=codes_N.device)
    return torch.zeros(size, device=codes_N.device).scatter_add_(0, codes_N, ones_N)


def perplexity(counts_K: torch.Tensor) -> torch.Tensor:
    """exp of the entropy of what was counted: how many codes are in use. 1: a collapse."""
    return torch.special.entr(counts_K / counts_K.sum()).sum().exp()
