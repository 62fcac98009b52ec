"""What pretrained encoders read: samples to features, as their feature extractors compute them.

Parameters are those of transformers' extractors (preprocessor_config.json); the arithmetic is done
here, on the model's device, and so that no utterance's features depend on its batch. Autocast is
switched off by the caller: features are computed in the precision of the buffers.
"""

# B batch, N samples, F frames, M mel bands, W samples of a window, K frequencies of the FFT

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from transformers import (
    SeamlessM4TFeatureExtractor,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)

from .masking import mask_padding

WAVE_EPS = 1e-7  # added to variances, as transformers does


class NormalizedWave(nn.Module):
    """wav2vec 2.0, HuBERT: samples, of mean 0 and variance 1 where the extractor says so."""

    def __init__(self, extractor: Wav2Vec2FeatureExtractor):
        super().__init__()
        self.do_normalize = extractor.do_normalize

    def forward(self, wave_BN: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        """(B, N) and (B,) to (B, N), zero where padded."""
        wave_BN = mask_padding(wave_BN, lengths_B)
        if not self.do_normalize:
            return wave_BN
        lengths_B1 = lengths_B[:, None].to(wave_BN.device)
        centred_BN = mask_padding(wave_BN - wave_BN.sum(1, keepdim=True) / lengths_B1, lengths_B)
        variance_B1 = centred_BN.square().sum(1, keepdim=True) / lengths_B1
        return centred_BN / (variance_B1 + WAVE_EPS).sqrt()


class WhisperMel(nn.Module):
    """Whisper: log mel energies of the utterance and the silence up to 30 s, which it always reads.

    Levels more than 8 powers of ten below the utterance's loudest are raised to that."""

    def __init__(self, extractor: WhisperFeatureExtractor):
        super().__init__()
        self.n_fft, self.hop = extractor.n_fft, extractor.hop_length
        self.num_samples = extractor.n_samples
        mel_KM = torch.as_tensor(extractor.mel_filters, dtype=torch.float32)
        self.register_buffer("mel_MK", mel_KM.T.contiguous(), persistent=False)
        self.register_buffer("window_W", torch.hann_window(self.n_fft), persistent=False)

    def forward(self, wave_BN: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        """(B, N) and (B,) to (B, M, F), F the frames of 30 s. ValueError: utterances are longer."""
        too_long = int((lengths_B > self.num_samples).sum())
        if too_long:
            raise ValueError(
                f"{too_long} of {len(lengths_B)} utterances of a batch have more than "
                f"{self.num_samples} samples, which is all that this Whisper reads: lower "
                "--max_audio and run stage 2 again"
            )
        wave_BN = mask_padding(wave_BN, lengths_B).to(self.window_W)
        wave_BN = F.pad(wave_BN, (0, self.num_samples - wave_BN.shape[1]))
        spectrum_BKF = torch.stft(
            wave_BN, self.n_fft, self.hop, window=self.window_W, return_complex=True
        )
        power_BKF = spectrum_BKF[..., :-1].abs().square()
        log_BMF = (self.mel_MK @ power_BKF).clamp(min=1e-10).log10()
        loudest_B11 = log_BMF.amax((1, 2), keepdim=True)
        return (torch.maximum(log_BMF, loudest_B11 - 8.0) + 4.0) / 4.0


class KaldiMel(nn.Module):
    """w2v-BERT 2.0: Kaldi's log mel energies, of mean 0 and variance 1 in every band.

    `stride` frames are joined to one; a rest at the end that is shorter is left out."""

    WINDOW, HOP, N_FFT = 400, 160, 512  # samples; fixed in transformers' extractor
    PREEMPHASIS, FLOOR = 0.97, 1.192092955078125e-07

    def __init__(self, extractor: SeamlessM4TFeatureExtractor):
        super().__init__()
        self.stride = extractor.stride
        mel_KM = torch.as_tensor(extractor.mel_filters, dtype=torch.float32)
        self.register_buffer("mel_KM", mel_KM, persistent=False)
        window_W = torch.as_tensor(extractor.window, dtype=torch.float32)
        self.register_buffer("window_W", window_W, persistent=False)

    def num_frames(self, lengths_B: torch.Tensor) -> torch.Tensor:
        """(B,) joined frames in so many samples, at least one."""
        frames_B = (lengths_B - self.WINDOW) // self.HOP + 1
        return (frames_B // self.stride).clamp(min=1)

    def forward(self, wave_BN: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        """(B, N) and (B,) to (B, F, stride x M), zero where padded."""
        wave_BN = mask_padding(wave_BN, lengths_B).to(self.window_W) * 2**15
        shortest = self.WINDOW + (self.stride - 1) * self.HOP
        wave_BN = F.pad(wave_BN, (0, max(0, shortest - wave_BN.shape[1])))
        lengths_B = lengths_B.clamp(min=shortest)
        mel_BFM = self._log_mel(wave_BN)
        frames_B = (lengths_B - self.WINDOW) // self.HOP + 1
        mel_BFM = _normalize_bands(mel_BFM[:, : int(frames_B.max())], frames_B)
        kept = mel_BFM.shape[1] // self.stride * self.stride
        joined_BFM = mel_BFM[:, :kept].unflatten(1, (-1, self.stride)).flatten(2)
        return mask_padding(joined_BFM, self.num_frames(lengths_B))

    def _log_mel(self, wave_BN: torch.Tensor) -> torch.Tensor:
        x_BFW = wave_BN.unfold(1, self.WINDOW, self.HOP)
        x_BFW = x_BFW - x_BFW.mean(-1, keepdim=True)
        before_BFW = torch.cat((x_BFW[..., :1], x_BFW[..., :-1]), dim=-1)
        x_BFW = (x_BFW - self.PREEMPHASIS * before_BFW) * self.window_W
        power_BFK = torch.fft.rfft(x_BFW, n=self.N_FFT).abs().square()
        return (power_BFK @ self.mel_KM).clamp(min=self.FLOOR).log()


def _normalize_bands(x_BFM: torch.Tensor, frames_B: torch.Tensor) -> torch.Tensor:
    """Each band of each utterance to mean 0 and (unbiased) variance 1, zero where padded."""
    frames_B11 = frames_B.to(x_BFM.device, non_blocking=True)[:, None, None]
    x_BFM = mask_padding(x_BFM, frames_B)
    centred_BFM = mask_padding(x_BFM - x_BFM.sum(1, keepdim=True) / frames_B11, frames_B)
    variance_B1M = centred_BFM.square().sum(1, keepdim=True) / (frames_B11 - 1)
    return centred_BFM / (variance_B1M + WAVE_EPS).sqrt()
