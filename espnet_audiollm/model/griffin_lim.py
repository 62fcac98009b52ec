"""Log mel energies back to a waveform, without training: Griffin and Lim (1984).

Phases are sought that fit the magnitudes, from random ones that are always the same: a recording
becomes the same samples by itself and in any batch, in every run.
"""

# F frames, M mel bands, K frequencies, N samples

from __future__ import annotations

import torch
from torchaudio.functional import griffinlim

from .frontend import Filterbank

ROUNDS = 32  # of Griffin-Lim
MEL_ROUNDS = 30  # to find the power of each frequency
MOMENTUM = 0.99
SEED = 0  # of the first phases


def power_of(mel_FM: torch.Tensor, bands_KM: torch.Tensor) -> torch.Tensor:
    """(F, K) powers, none negative, whose mel energies come near exp(mel_FM).

    By multiplicative updates for the squared error, from the transposed bands on."""
    energy_FM = mel_FM.float().exp()
    upward_FK = energy_FM @ bands_KM.T
    power_FK = upward_FK / bands_KM.sum(1).clamp(min=1e-8)
    gram_KK = bands_KM @ bands_KM.T
    for _ in range(MEL_ROUNDS):
        power_FK = power_FK * upward_FK / (power_FK @ gram_KK).clamp(min=1e-20)
    return power_FK


@torch.no_grad()
def waveform(mel_FM: torch.Tensor, filterbank: Filterbank, rounds: int = ROUNDS) -> torch.Tensor:
    """(N,) samples in [-1, 1] whose log mel energies, by `filterbank`, come near `mel_FM`.

    N is that of the recording that had F frames, the last incomplete frame left out."""
    frames, hop, length = len(mel_FM), filterbank.hop_length, filterbank.win_length
    fewest = filterbank.n_fft // 2 // hop + 2  # of a waveform that torch can reflect at its ends
    if frames < fewest:
        mel_FM = torch.cat([mel_FM, mel_FM[-1:].expand(fewest - frames, -1)])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        wave_N = griffinlim(
            power_of(mel_FM, filterbank.mel).T,
            window=filterbank.window,
            n_fft=filterbank.n_fft,
            hop_length=hop,
            win_length=length,
            power=2.0,
            n_iter=rounds,
            momentum=MOMENTUM,
            length=hop * (len(mel_FM) - 1),
            rand_init=True,
        )
    # torch's frames lie around multiples of the hop, the filterbank's begin there
    wave_N = torch.nn.functional.pad(wave_N, (length // 2, length - length // 2))
    return wave_N[: (frames - 1) * hop + length].clamp(-1.0, 1.0)
