"""Log mel filterbanks: 80 bands every 10 ms (AudioChatLlama, section 3.2).

ESPnet's own front end pads the *batch* and reflects at its end, so the last frames of an utterance
depend on what it is batched with. Here every frame lies inside its own utterance.
"""

# B batch, N samples, F frames, W samples of a frame, K frequencies, M mel bands

from __future__ import annotations

import torch
from espnet2.asr.frontend.abs_frontend import AbsFrontend
from torch import nn
from torchaudio.functional import melscale_fbanks

from ..types import SAMPLE_RATE
from .masking import mask_padding

FLOOR = 1e-5  # of the mel power, before the logarithm: near the level of 16-bit rounding noise


class Filterbank(AbsFrontend):
    """Waveforms in [-1, 1] to log mel energies.

    Args:
        n_mels: mel bands.
        win_length: samples of one frame (400: 25 ms at 16 kHz).
        hop_length: samples from frame to frame (160: 10 ms).
        n_fft: FFT size, at least win_length.
        fs: sampling rate (Hz).
    """

    batch_independent = True

    def __init__(
        self,
        n_mels: int = 80,
        win_length: int = 400,
        hop_length: int = 160,
        n_fft: int = 512,
        fs: int = SAMPLE_RATE,
    ):
        super().__init__()
        self.n_mels, self.win_length, self.hop_length, self.n_fft = (
            n_mels,
            win_length,
            hop_length,
            n_fft,
        )
        # librosa's bands by torchaudio: librosa.filters brings numba, 100 MB for one matrix
        with torch.device("cpu"):  # its own constants would not follow another one
            mel_KM = melscale_fbanks(
                n_fft // 2 + 1, 20.0, fs / 2, n_mels, fs, norm="slaney", mel_scale="slaney"
            )
        self.register_buffer("mel", mel_KM, persistent=False)
        self.register_buffer("window", torch.hann_window(win_length), persistent=False)

    def output_size(self) -> int:
        """The number of mel bands M."""
        return self.n_mels

    def num_frames(self, lengths: torch.Tensor) -> torch.Tensor:
        """(B,) complete frames in so many samples, at least one."""
        return ((lengths - self.win_length) // self.hop_length + 1).clamp(min=1)

    @torch.no_grad()
    def forward(
        self, input: torch.Tensor, input_lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, N) samples and (B,) lengths to (B, F, M) log mel energies and (B,) frames."""
        wave_BN = mask_padding(input, input_lengths)
        short = self.win_length - wave_BN.shape[1]
        if short > 0:
            wave_BN = nn.functional.pad(wave_BN, (0, short))
        frames_BFW = wave_BN.unfold(1, self.win_length, self.hop_length) * self.window
        # padded here: on a processor rfft(frames, n=...) pads several times as slowly
        frames_BFW = nn.functional.pad(frames_BFW, (0, self.n_fft - self.win_length))
        spectrum_BFK = torch.fft.rfft(frames_BFW)
        power_BFK = (spectrum_BFK * spectrum_BFK.conj()).real
        mel_BFM = (power_BFK @ self.mel.to(power_BFK.dtype)).clamp(min=FLOOR**2).log()
        lengths_B = self.num_frames(input_lengths)
        longest = int(lengths_B.max())
        return mask_padding(mel_BFM[:, :longest], lengths_B), lengths_B
