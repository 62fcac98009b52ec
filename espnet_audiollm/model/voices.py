"""Whose voice a vocoder speaks in: a table of speakers, or 3 s of anybody's speech."""

# B batch, F frames of 10 ms, M mel bands, D width, P frames of a voice prompt

from __future__ import annotations

import torch
from torch import nn

from .normalize import UtteranceMVN

PROMPT_FRAMES = 300  # 3 s, as AudioPaLM's and SoundStorm's; a shorter prompt is repeated
PROMPT_SECONDS = PROMPT_FRAMES / 100 + 0.015  # of a recording that has so many frames


def prompt_of(
    mel_BFM: torch.Tensor, frames_B: torch.Tensor, start_B: torch.Tensor | None = None
) -> torch.Tensor:
    """(B, P, M): 3 s of each recording from frame `start_B` on (None: its first), which begins
    again at its end: a shorter recording is repeated."""
    places_BP = torch.arange(PROMPT_FRAMES, device=mel_BFM.device)[None]
    if start_B is not None:
        places_BP = places_BP + start_B.to(mel_BFM.device)[:, None]
    places_BP = places_BP % frames_B.to(mel_BFM.device)[:, None]
    return mel_BFM.gather(1, places_BP[..., None].expand(-1, -1, mel_BFM.shape[2]))


class PooledVoice(nn.Module):
    """Log mel energies to one vector: convolutions, then mean and deviation over time.

    Args:
        width: of the vector, D.
        bands: mel bands M.
        channels: of the convolutions.
        keep_means: what does not change in a recording (a microphone, a voice's spectrum) is kept.
    """

    def __init__(
        self, width: int, bands: int = 80, channels: int = 128, *, keep_means: bool = True
    ):
        super().__init__()
        self.normalize = UtteranceMVN(norm_means=not keep_means)
        self.convs = nn.ModuleList(
            nn.Conv1d(bands if i == 0 else channels, channels, 5, dilation=i + 1, padding=2 * i + 2)
            for i in range(3)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(3))
        self.out = nn.Linear(2 * channels, width)

    def forward(self, mel_BPM: torch.Tensor) -> torch.Tensor:
        """(B, P, M) scaled mel energies without padding to (B, D)."""
        lengths_B = torch.full((len(mel_BPM),), mel_BPM.shape[1], device=mel_BPM.device)
        x_BPC, _ = self.normalize(mel_BPM, lengths_B)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x_BPC = torch.relu(norm(conv(x_BPC.transpose(1, 2)).transpose(1, 2)))
        deviation_BC = (x_BPC.var(1, correction=0) + 1e-5).sqrt()
        return self.out(torch.cat([x_BPC.mean(1), deviation_BC], 1))
