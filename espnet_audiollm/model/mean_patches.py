"""Vocoders that are not trained: each unit sounds like the mean of what it stood for.

They are the floor under a trained one: whatever that does better, it learned."""

# B batch, L units without repeats, T unit frames, R mel frames of a unit frame, F mel frames,
# M mel bands, K units, Q levels, X = R x M

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

from .frontend import Filterbank
from .masking import mask_padding
from .unit_vocoder import expand, scaled


class MeanPatches(nn.Module):
    """A patch of R mel frames and a mean duration for each unit; made by `learn`.

    Args:
        size: number of units K.
        frames: mel frames R of a unit frame."""

    def __init__(self, size: int, frames: int):
        super().__init__()
        self.frames, self.filterbank = frames, Filterbank()
        self.register_buffer("patches", torch.zeros(size, frames * self.filterbank.n_mels))
        self.register_buffer("mean_durations", torch.ones(size))

    @torch.no_grad()
    def learn(
        self, recordings: Iterable[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]
    ) -> MeanPatches:
        """From (samples (N,), units (L,), durations (L,)) of each recording; units that never come
        get the mean of all patches."""
        sums_KX, runs_K = torch.zeros_like(self.patches), torch.zeros(len(self.patches))
        frames_K = torch.zeros(len(self.patches))
        for samples_N, units_L, durations_L in recordings:
            mel_FM = self.filterbank(samples_N[None], torch.tensor([len(samples_N)]))[0][0]
            unit_T = units_L.repeat_interleave(durations_L)
            patch_TX = _patches(scaled(mel_FM), self.frames, len(unit_T))
            sums_KX.index_add_(0, unit_T[: len(patch_TX)], patch_TX)
            frames_K += torch.bincount(unit_T[: len(patch_TX)], minlength=len(frames_K))
            runs_K += torch.bincount(units_L, minlength=len(runs_K))
        never_K = frames_K == 0
        self.patches.copy_(sums_KX / frames_K.clamp(min=1)[:, None])
        self.patches[never_K] = sums_KX.sum(0) / frames_K.sum()
        self.mean_durations.copy_((frames_K / runs_K.clamp(min=1)).clamp(min=1))
        return self

    def voice_of(self, speakers_or_prompts: torch.Tensor) -> torch.Tensor:
        """(B, 0): there is one voice, that of the recordings."""
        return self.patches.new_zeros(len(speakers_or_prompts), 0)

    def durations(
        self, units_BL: torch.Tensor, lengths_B: torch.Tensor, voice_BD: torch.Tensor
    ) -> torch.Tensor:
        """(B, L) mean durations in unit frames; 0 where padded."""
        return mask_padding(self.mean_durations[units_BL.clamp(min=0)].round().long(), lengths_B)

    def decode(
        self, units_BL: torch.Tensor, durations_BL: torch.Tensor, voice_BD: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, F, M) scaled log mel energies, zero where padded, and (B,) frames, F = T x R."""
        patch_BTX, _, lengths_B = expand(self.patches[units_BL.clamp(min=0)], durations_BL)
        mel_BFM = patch_BTX.unflatten(2, (self.frames, -1)).flatten(1, 2)
        return mel_BFM, lengths_B * self.frames


class LevelPatches(nn.Module):
    """Mel patches for the units of several levels, whose sum is the speech: those of a level are
    the mean of what the levels before it leave. Made by `learn`.

    Args:
        size: units K of a level.
        levels: Q.
        frames: mel frames R of a unit frame."""

    def __init__(self, size: int, levels: int, frames: int):
        super().__init__()
        self.frames, self.filterbank = frames, Filterbank()
        self.register_buffer("patches", torch.zeros(levels, size, frames * self.filterbank.n_mels))

    @torch.no_grad()
    def learn(
        self, recordings: Callable[[], Iterable[tuple[torch.Tensor, torch.Tensor]]]
    ) -> LevelPatches:
        """recordings: gives (samples (N,), units (Q, T)) of each recording, anew for each level. A
        unit that never comes at its level gets the mean of all."""
        for level, patches_KX in enumerate(self.patches):
            sums_KX, frames_K = torch.zeros_like(patches_KX), torch.zeros(len(patches_KX))
            for samples_N, codes_QT in recordings():
                mel_FM = self.filterbank(samples_N[None], torch.tensor([len(samples_N)]))[0][0]
                patch_TX = _patches(scaled(mel_FM), self.frames, codes_QT.shape[1])
                codes_QT = codes_QT[:, : len(patch_TX)]
                left_TX = patch_TX - self._sum(codes_QT[:level])
                sums_KX.index_add_(0, codes_QT[level], left_TX)
                frames_K += torch.bincount(codes_QT[level], minlength=len(frames_K))
            patches_KX.copy_(sums_KX / frames_K.clamp(min=1)[:, None])
            patches_KX[frames_K == 0] = sums_KX.sum(0) / frames_K.sum()
        return self

    def decode(self, codes_QT: torch.Tensor) -> torch.Tensor:
        """(F, M) scaled log mel energies of one utterance, F = T x R."""
        return self._sum(codes_QT).unflatten(1, (self.frames, -1)).flatten(0, 1)

    def _sum(self, codes_QT: torch.Tensor) -> torch.Tensor:
        """(T, X) of the first levels, as many as are given."""
        sum_TX = self.patches.new_zeros(codes_QT.shape[1], self.patches.shape[2])
        for patches_KX, codes_T in zip(self.patches, codes_QT, strict=False):
            sum_TX = sum_TX + patches_KX[codes_T]
        return sum_TX


def _patches(mel_FM: torch.Tensor, frames: int, most: int) -> torch.Tensor:
    """(T, R x M): complete patches, at most so many."""
    number = min(len(mel_FM) // frames, most)
    return mel_FM[: number * frames].unflatten(0, (number, frames)).flatten(1)
