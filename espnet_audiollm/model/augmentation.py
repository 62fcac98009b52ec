"""Noise in the training's audio: of any colour, and of the batch's other voices.

What is drawn comes from torch's generators, whose states a resumed training restores. How many rows
and which voices is drawn on the host, so a GPU is not waited for.
"""

# R rows of the batch that get noise, N samples

from __future__ import annotations

import torch
from torch import nn

from ..types import SAMPLE_RATE
from .masking import valid_mask

KINDS = ("coloured", "babble")
LOWEST = 50.0  # Hz: below it coloured noise is as strong as there


class NoiseAugment(nn.Module):
    """Adds noise to some utterances of a batch, each at a signal-to-noise ratio of its own.

    SNR = 10 log10(S / N) dB, S and N the mean powers of the utterance and of its noise.

    Args:
        probability: that an utterance gets noise.
        snr_range: lowest and highest SNR (dB), drawn uniformly.
        kinds: `coloured`: Gaussian, its power falling as 1 / f^c; `babble`: other utterances of the
            batch, begun anywhere and repeated to the end (coloured noise where there are none).
        colours: lowest and highest c, drawn uniformly (0: white, 1: pink, 2: brown).
        voices: of a babble, at most; how many is drawn.
    """

    def __init__(
        self,
        probability: float = 0.5,
        snr_range: tuple[float, float] = (5.0, 30.0),
        kinds: tuple[str, ...] = KINDS,
        colours: tuple[float, float] = (0.0, 2.0),
        voices: int = 4,
    ):
        super().__init__()
        if not 0.0 <= probability <= 1.0:
            raise ValueError(f"probability is {probability}; it is between 0 and 1")
        unknown = [kind for kind in kinds if kind not in KINDS]
        if unknown or not kinds:
            raise ValueError(f"kinds is {list(kinds)}; choose of {', '.join(KINDS)}")
        for name, value in (("snr_range", snr_range), ("colours", colours)):
            if len(value) != 2 or value[0] > value[1]:
                raise ValueError(f"{name} is {list(value)}; give the lowest and the highest value")
        if voices < 1:
            raise ValueError(f"voices is {voices}; a babble has at least one")
        self.probability, self.voices = probability, voices
        self.kinds, self.snr_range, self.colours = tuple(kinds), snr_range, colours

    def forward(self, speech_BN: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        """(B, N) with noise in some rows; padding is zero. Silent rows stay silent."""
        rows = torch.nonzero(torch.rand(len(speech_BN)) < self.probability).flatten()
        if not len(rows):
            return speech_BN
        kinds = torch.randint(len(self.kinds), (len(rows),))
        noisy_BN = speech_BN.clone()
        for number, kind in enumerate(self.kinds):
            chosen = rows[kinds == number].to(speech_BN.device, non_blocking=True)
            if not len(chosen):
                continue
            if kind == "babble" and len(speech_BN) > 1:
                noise_RN = self._babble(speech_BN, lengths_B, chosen)
            else:
                noise_RN = self._coloured(len(chosen), speech_BN)
            noisy_BN[chosen] = self._mixed(speech_BN[chosen], noise_RN, lengths_B, chosen)
        return noisy_BN

    def _coloured(self, rows: int, like_BN: torch.Tensor) -> torch.Tensor:
        """(R, N), drawn as a spectrum of a power of two, since such transforms are fast."""
        samples = like_BN.shape[1]
        size = 1 << (samples - 1).bit_length()
        options = {"device": like_BN.device, "dtype": like_BN.dtype}
        frequencies = torch.fft.rfftfreq(size, 1 / SAMPLE_RATE, **options).clamp(min=LOWEST)
        slopes_R1 = self._drawn(rows, self.colours, like_BN)[:, None]
        spectrum = torch.view_as_complex(torch.randn(rows, size // 2 + 1, 2, **options))
        return torch.fft.irfft(spectrum * frequencies ** (-slopes_R1 / 2), size)[:, :samples]

    def _babble(
        self, speech_BN: torch.Tensor, lengths_B: torch.Tensor, rows: torch.Tensor
    ) -> torch.Tensor:
        """(R, N) of 1 to `voices` other rows, equally loud."""
        batch, samples = speech_BN.shape
        lengths_B = lengths_B.to(speech_BN.device, non_blocking=True)
        voices_R = torch.randint(1, self.voices + 1, (len(rows),)).to(rows.device)
        babble_RN = speech_BN.new_zeros(len(rows), samples)
        for voice in range(self.voices):
            others = (rows + torch.randint(1, batch, (len(rows),)).to(rows.device)) % batch
            lengths_R1 = lengths_B[others, None]
            begun = (torch.rand(len(rows), 1, device=rows.device) * lengths_R1).long()
            at_RN = (begun + torch.arange(samples, device=rows.device)) % lengths_R1
            voice_RN = speech_BN[others].gather(1, at_RN)
            loudness = voice_RN.square().mean(1, keepdim=True).clamp(min=1e-10).rsqrt()
            babble_RN += (voice < voices_R)[:, None] * loudness * voice_RN
        return babble_RN

    def _mixed(
        self,
        speech_RN: torch.Tensor,
        noise_RN: torch.Tensor,
        lengths_B: torch.Tensor,
        rows: torch.Tensor,
    ) -> torch.Tensor:
        """(R, N): speech with noise at the SNR that is drawn for it."""
        lengths_R = lengths_B.to(speech_RN.device, non_blocking=True)[rows]
        noise_RN = noise_RN * valid_mask(lengths_R, speech_RN.shape[1])
        snr_R = self._drawn(len(rows), self.snr_range, speech_RN)
        powers = [x_RN.square().sum(1) / lengths_R for x_RN in (speech_RN, noise_RN)]
        scale_R = (powers[0] / powers[1].clamp(min=1e-12) * 10 ** (-snr_R / 10)).sqrt()
        return speech_RN + scale_R[:, None] * noise_RN

    @staticmethod
    def _drawn(rows: int, bounds: tuple[float, float], like: torch.Tensor) -> torch.Tensor:
        """(R,) drawn uniformly between the bounds, on the host."""
        low, high = bounds
        return (low + (high - low) * torch.rand(rows)).to(like.device, like.dtype)
