"""Patches of log mel energies as frames for units: the control to encoders that were trained."""

# B batch, N samples, F frames of 10 ms, M mel bands, T patches, W frames of a patch

from __future__ import annotations

import torch
from torch import nn

from ..types import SAMPLE_RATE
from .frontend import Filterbank
from .masking import mask_padding


class LogMelPatches(nn.Module):
    """`frames` log mel vectors in a row as one; the last patch is filled with its last frame.

    Each patch has its own mean subtracted: else loudness decides most of the units."""

    def __init__(self, frames: int = 4):
        super().__init__()
        self.frames, self.filterbank = frames, Filterbank()

    @property
    def frames_per_second(self) -> float:
        """Patches."""
        return SAMPLE_RATE / (self.filterbank.hop_length * self.frames)

    def forward(
        self, speech_BN: torch.Tensor, lengths_B: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, N) samples and (B,) to (B, T, W x M), zero where padded, and (B,) patches."""
        mel_BFM, frames_B = self.filterbank(speech_BN, lengths_B)
        patches_B = (frames_B + self.frames - 1) // self.frames
        places_F = torch.arange(int(patches_B.max()) * self.frames, device=mel_BFM.device)
        places_BF = torch.minimum(places_F[None], frames_B[:, None] - 1)
        filled_BFM = mel_BFM.gather(1, places_BF[..., None].expand(-1, -1, mel_BFM.shape[2]))
        x_BTD = filled_BFM.unflatten(1, (-1, self.frames)).flatten(2)
        return mask_padding(x_BTD - x_BTD.mean(-1, keepdim=True), patches_B), patches_B
