"""Other vocal tracts: an utterance's frequencies scaled in training (Jaitly and Hinton, 2013).

What is drawn comes from torch's generators, whose states a resumed training restores, and on the
host, so a GPU is not waited for.
"""

# B batch, F frames, M mel bands

from __future__ import annotations

import torch

from ..types import SAMPLE_RATE

HIGHEST = 4800.0  # Hz: up to here frequencies are scaled; above, so that half the rate stays itself


def warped(mel_BFM: torch.Tensor, centers_M: torch.Tensor, limit: float) -> torch.Tensor:
    """(B, F, M) log mel energies with the frequencies of each utterance times a factor of its own.

    centers_M: of the bands, Hz, on the host. limit: factors are drawn from 1 / (1 + limit) to
    1 + limit, evenly in their logarithm."""
    bound = torch.log1p(torch.tensor(limit))
    factors_B = torch.exp((2 * torch.rand(len(mel_BFM)) - 1) * bound)
    shares_BMM = _shares(scaled(centers_M, factors_B), centers_M)
    return mel_BFM @ shares_BMM.to(mel_BFM.device, mel_BFM.dtype, non_blocking=True)


def scaled(frequencies_M: torch.Tensor, factors_B: torch.Tensor) -> torch.Tensor:
    """(B, M) frequencies (Hz) times each factor, up to a bound; straight from there to half the
    sampling rate, which stays where it is."""
    half = SAMPLE_RATE / 2
    bound_B1 = HIGHEST * factors_B.clamp(max=1)[:, None]  # scaled
    low_BM = frequencies_M * factors_B[:, None]
    slope_B1 = (half - bound_B1) / (half - bound_B1 / factors_B[:, None])
    high_BM = half - slope_B1 * (half - frequencies_M)
    return torch.where(low_BM <= bound_B1, low_BM, high_BM)


def _shares(sources_BM: torch.Tensor, centers_M: torch.Tensor) -> torch.Tensor:
    """(B, M, M): how much of each band (dimension 1) is in each new one (dimension 2), which takes
    what stands at its source frequency, between two bands or at the outermost."""
    bands = len(centers_M)
    upper_BM = torch.searchsorted(centers_M, sources_BM.contiguous()).clamp(1, bands - 1)
    below_BM, above_BM = centers_M[upper_BM - 1], centers_M[upper_BM]
    share_BM = ((sources_BM - below_BM) / (above_BM - below_BM)).clamp(0, 1)
    shares_BMM = sources_BM.new_zeros(len(sources_BM), bands, bands)
    shares_BMM.scatter_(1, upper_BM[:, None], share_BM[:, None])
    return shares_BMM.scatter_(1, upper_BM[:, None] - 1, 1 - share_BM[:, None])
