"""How long each unit lasts, where units come without repeats: learned from those of the data."""

# B batch, L units without repeats, T frames, D width

from __future__ import annotations

import torch
from torch import nn

from .dropout import Dropout
from .masking import mask_padding

LONGEST = 50  # frames of a predicted duration


class Residual(nn.Module):
    """Layer norm, convolution over time, ReLU, dropout, added to what came in; padding is zero
    before the convolution."""

    def __init__(self, width: int, kernel: int, dropout: float):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv1d(width, width, kernel, padding=kernel // 2)
        self.dropout = Dropout(dropout)

    def forward(self, x_BTD: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        """(B, T, D) to (B, T, D)."""
        inner_BTD = mask_padding(self.norm(x_BTD), lengths_B).transpose(1, 2)
        return x_BTD + self.dropout(torch.relu(self.conv(inner_BTD)).transpose(1, 2))


class PredictsDurations(nn.Module):
    """What a module can do that has these three parts; `embedding` is of units."""

    embedding: nn.Embedding
    rhythm: nn.ModuleList
    log_duration: nn.Linear

    def predict(
        self, units_BL: torch.Tensor, lengths_B: torch.Tensor, voice_BD: torch.Tensor
    ) -> torch.Tensor:
        """(B, L) natural logarithms of durations in unit frames.

        voice_BD: added to each unit's vector; zeros where durations are nobody's own."""
        x_BLD = self.embedding(units_BL.clamp(min=0)) + voice_BD[:, None]
        for block in self.rhythm:
            x_BLD = block(x_BLD, lengths_B)
        return self.log_duration(x_BLD).squeeze(2).float()

    def durations(
        self, units_BL: torch.Tensor, lengths_B: torch.Tensor, voice_BD: torch.Tensor
    ) -> torch.Tensor:
        """(B, L) predicted durations in unit frames, at least 1; 0 where padded."""
        log_BL = self.predict(units_BL, lengths_B, voice_BD)
        return mask_padding(log_BL.exp().round().clamp(1, LONGEST).long(), lengths_B)


class DurationPredictor(PredictsDurations):
    """Durations of units in nobody's voice.

    Args:
        size: number of units.
        width: D.
        dropout: of its convolutions.
    """

    def __init__(self, size: int, width: int, dropout: float):
        super().__init__()
        self.embedding = nn.Embedding(size, width)
        self.rhythm = nn.ModuleList(Residual(width, 3, dropout) for _ in range(2))
        self.log_duration = nn.Linear(width, 1)

    def no_voice(self, rows: int) -> torch.Tensor:
        """(rows, D) zeros."""
        return self.embedding.weight.new_zeros(rows, self.embedding.embedding_dim)


def duration_loss(
    log_BL: torch.Tensor, known_BL: torch.Tensor, lengths_B: torch.Tensor
) -> torch.Tensor:
    """Mean squared deviation of the logarithms; known_BL: below 1 where padded."""
    apart_BL = (log_BL - known_BL.clamp(min=1).log()).square()
    return mask_padding(apart_BL, lengths_B).sum() / lengths_B.sum()
