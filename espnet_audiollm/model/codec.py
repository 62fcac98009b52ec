"""Residual codecs from a directory in Hugging Face form: DAC, Mimi and EnCodec.

A recording becomes units of the first codebooks, and units become a waveform again. Each recording
goes through by itself: DAC has no mask, those of Mimi and EnCodec silence padding but do not keep
its convolutions from seeing the layers' biases there.
"""

# N samples at the codec's rate, L codebooks, T frames

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import torch
from transformers import (
    AutoConfig,
    DacModel,
    EncodecModel,
    MimiModel,
    PretrainedConfig,
    PreTrainedModel,
)

from ..data.audio import resample
from ..types import SAMPLE_RATE
from .llm import fingerprint
from .pretrained_directory import check_weights, load_model, load_part, model_type


class Codec(ABC):
    """One architecture. Made by `load_codec`.

    Attributes:
        rate: of the waveforms (Hz).
        size: units of a codebook.
        most: codebooks there are.
        hop: samples of a frame.
    """

    model_class: type[PreTrainedModel]
    hop: int
    most: int

    def __init__(self, model: PreTrainedModel):
        self.model, self.config = model.eval().requires_grad_(False), model.config
        self.rate, self.size = int(self.config.sampling_rate), int(self.config.codebook_size)
        self.fingerprint = fingerprint(model, buffers=True)

    @property
    def frames_per_second(self) -> float:
        """Units of each codebook."""
        return self.rate / self.hop

    @torch.inference_mode()
    def units(self, samples: np.ndarray, levels: int) -> list[list[int]]:
        """L lists of T units of a recording: (N,) float32 samples at 16 kHz."""
        wave_N = torch.from_numpy(resample(samples, SAMPLE_RATE, self.rate))
        short = self.hop - len(wave_N)  # a frame at least
        wave_N = torch.nn.functional.pad(wave_N, (0, max(short, 0)))
        return self._encode(wave_N[None, None].to(self.model.device), levels)[0].tolist()

    @torch.inference_mode()
    def wave(self, levels: list[list[int]]) -> np.ndarray:
        """(N,) float32 samples at 16 kHz of L lists of T units."""
        codes_1LT = torch.tensor([levels], device=self.model.device)
        wave = self._decode(codes_1LT).flatten().float().cpu().numpy()
        return resample(wave, self.rate, SAMPLE_RATE)

    @abstractmethod
    def _encode(self, wave_11N: torch.Tensor, levels: int) -> torch.Tensor:
        """(1, L, T) units."""

    @abstractmethod
    def _decode(self, codes_1LT: torch.Tensor) -> torch.Tensor:
        """Samples, of any shape."""


class Dac(Codec):
    """Descript's codec. Its networks are not causal."""

    model_class = DacModel

    def __init__(self, model: PreTrainedModel):
        super().__init__(model)
        self.hop, self.most = int(np.prod(self.config.downsampling_ratios)), self.config.n_codebooks

    def _encode(self, wave_11N, levels):
        return self.model.encode(wave_11N, n_quantizers=levels).audio_codes

    def _decode(self, codes_1LT):
        return self.model.decode(audio_codes=codes_1LT).audio_values


class Mimi(Codec):
    """Kyutai's codec: the first codebooks (`num_semantic_quantizers`) are semantic units."""

    model_class = MimiModel

    def __init__(self, model: PreTrainedModel):
        super().__init__(model)
        self.hop, self.most = int(self.config.frame_size), self.config.num_quantizers

    def _encode(self, wave_11N, levels):
        least = max(levels, self.config.num_semantic_quantizers)
        return self.model.encode(wave_11N, num_quantizers=least).audio_codes[:, :levels]

    def _decode(self, codes_1LT):
        return self.model.decode(codes_1LT).audio_values


class Encodec(Codec):
    """Meta's codec, the one of 24 kHz.

    Errors (ValueError): chunks, a scale for each chunk, or stereo (48 kHz): units are not all."""

    model_class = EncodecModel

    def __init__(self, model: PreTrainedModel):
        super().__init__(model)
        config = self.config
        if config.chunk_length_s or config.normalize or config.audio_channels != 1:
            raise ValueError(
                "it codes in chunks with a scale for each, or stereo (as EnCodec of 48 kHz): units "
                "are not all that it needs, take one like EnCodec of 24 kHz"
            )
        self.hop, self.most = config.hop_length, config.num_quantizers

    def _encode(self, wave_11N, levels):
        widest = self.config.target_bandwidths[-1]
        return self.model.encode(wave_11N, bandwidth=widest).audio_codes[0, :, :levels]

    def _decode(self, codes_1LT):
        return self.model.decode(codes_1LT[None], [None]).audio_values


CODECS: dict[str, type[Codec]] = {"dac": Dac, "mimi": Mimi, "encodec": Encodec}


def load_codec(directory: str | Path, device: str = "cpu") -> Codec:
    """The codec in a directory, in float32.

    Errors (ValueError): no such directory, no codec, no or other weights, a codec whose units are
    not all that it needs."""
    place = Path(directory)
    if not place.is_dir():
        raise ValueError(f"the codec's directory {place} does not exist: give codec:DIR")
    kind = CODECS[model_type(place, tuple(CODECS), "codec")]
    check_weights(place)
    config: PretrainedConfig = load_part(
        place, "configuration of the codec", AutoConfig.from_pretrained
    )
    model = load_model(place, config, kind.model_class, "codec")
    try:
        return kind(model.to(device))
    except ValueError as error:
        raise ValueError(f"the codec {place} cannot be used: {error}") from error


def check_levels(codec: Codec, levels: int, directory: str | Path) -> None:
    """Errors (ValueError): more codebooks than there are, or none."""
    if not 1 <= levels <= codec.most:
        raise ValueError(
            f"--levels {levels}: the codec {directory} has 1 to {codec.most} codebooks"
        )
