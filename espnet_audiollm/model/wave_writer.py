"""Log mel energies to a waveform that grows: Griffin and Lim's rounds over the newest frames only,
with what has been played already held fast.

Samples that are out cannot be changed, so the new frames' phases are sought to fit them, as in the
real-time iterative spectrogram inversion of Beauregard, Zhu and Wyse (2005). Of the last 10 ms of
each part two estimates are faded into one another, so that no joint can be heard as a click.
"""

# F frames, M mel bands, K frequencies, N samples, W samples of a window

from __future__ import annotations

import math

import torch

from .frontend import Filterbank
from .griffin_lim import MOMENTUM, ROUNDS, SEED, power_of

AHEAD = 4  # frames beyond what comes out, which its phases are sought to fit
COVERED = 0.1  # of the windows' sum: below it, at both ends, the waveform fades


class WaveWriter:
    """One recording, written frame after frame.

    rounds: of Griffin-Lim, for each part."""

    def __init__(self, filterbank: Filterbank | None = None, rounds: int = ROUNDS):
        self._bank, self._rounds = filterbank or Filterbank(), rounds
        self._past = math.ceil(self._bank.win_length / self._bank.hop_length)  # frames of a sample
        self._size_FK = torch.zeros(0, self._bank.n_fft // 2 + 1)  # magnitudes that still count
        self._fixed_N = torch.zeros(0)  # samples that are out, from the first of these frames on
        self._tail_N = torch.zeros(0)  # what comes after them, as the last part had it
        self._parts = 0

    @torch.no_grad()
    def add(self, mel_FM: torch.Tensor, last: bool = False) -> torch.Tensor:
        """(N,) samples that are certain now, in [-1, 1]; all that are left if these frames are the
        last ones."""
        size_FK = power_of(mel_FM.cpu(), self._bank.mel).sqrt()
        self._size_FK = torch.cat([self._size_FK, size_FK])
        hop, out = self._bank.hop_length, len(self._fixed_N)
        frames = len(self._size_FK)
        end = (frames - 1) * hop + self._bank.win_length if last else (frames - AHEAD - 1) * hop
        if end <= out:
            return torch.zeros(0)
        wave_N = self._search()
        new_N = wave_N[out:end].clamp(-1.0, 1.0)
        self._keep(wave_N, end)
        return new_N

    def _keep(self, wave_N: torch.Tensor, end: int) -> None:
        """Forget the frames that no later sample depends on."""
        hop = self._bank.hop_length
        gone = max(0, end // hop - self._past)
        self._size_FK = self._size_FK[gone:]
        self._fixed_N = wave_N[gone * hop : end]
        self._tail_N = wave_N[end : end + hop]
        self._parts += 1

    def _search(self) -> torch.Tensor:
        """Samples that fit the magnitudes, those that are out unchanged."""
        generator = torch.Generator().manual_seed(SEED + self._parts)
        angle_FK = 2 * math.pi * torch.rand(self._size_FK.shape, generator=generator)
        phase_FK = torch.polar(torch.ones_like(angle_FK), angle_FK)
        momentum = MOMENTUM / (1 + MOMENTUM)
        before_FK: torch.Tensor | float = 0.0
        for _ in range(self._rounds):
            rebuilt_FK = self._analyse(self._hold(self._synthesise(phase_FK)))
            phase_FK = rebuilt_FK - momentum * before_FK
            phase_FK = phase_FK / phase_FK.abs().clamp(min=1e-16)
            before_FK = rebuilt_FK
        return self._hold(self._synthesise(phase_FK))

    def _hold(self, wave_N: torch.Tensor) -> torch.Tensor:
        """With the samples that are out, and from the ones after them faded into the new ones."""
        out, tail = len(self._fixed_N), len(self._tail_N)
        wave_N[:out] = self._fixed_N
        rise_N = (torch.arange(tail) + 0.5) / max(tail, 1)
        after_N = wave_N[out : out + tail]
        after_N += (1 - rise_N) * (self._tail_N - after_N)
        return wave_N

    def _synthesise(self, phase_FK: torch.Tensor) -> torch.Tensor:
        """Overlapped and added, each sample divided by the windows that cover it."""
        bank = self._bank
        frames_FW = torch.fft.irfft(self._size_FK * phase_FK, n=bank.n_fft)[:, : bank.win_length]
        shares_FW = bank.window.square().expand(len(frames_FW), -1)
        wave_N, cover_N = self._overlap(frames_FW * bank.window), self._overlap(shares_FW)
        return wave_N / cover_N.clamp(min=COVERED * float(cover_N.max()))

    def _overlap(self, frames_FW: torch.Tensor) -> torch.Tensor:
        hop, length = self._bank.hop_length, self._bank.win_length
        width = hop * (len(frames_FW) - 1) + length
        folded = torch.nn.functional.fold(frames_FW.T[None], (1, width), (1, length), stride=hop)
        return folded[0, 0, 0]

    def _analyse(self, wave_N: torch.Tensor) -> torch.Tensor:
        """(F, K) spectra, as the filterbank takes them."""
        bank = self._bank
        frames_FW = wave_N.unfold(0, bank.win_length, bank.hop_length) * bank.window
        return torch.fft.rfft(frames_FW, n=bank.n_fft)
