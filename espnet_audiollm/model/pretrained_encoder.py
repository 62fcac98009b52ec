"""Pretrained speech encoders, from a directory in Hugging Face form.

Whisper's encoder, HuBERT, wav2vec 2.0 and w2v-BERT 2.0, in place of the encoder of stage 5: the
next step that AudioChatLlama names (section 5). Only safetensors are read, nothing is fetched, and
no code of the directory is run.
"""

# B batch, N samples, T encoder frames, D encoder width

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from espnet2.asr.encoder.abs_encoder import AbsEncoder
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    AutoConfig,
    HubertModel,
    PretrainedConfig,
    PreTrainedModel,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertModel,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WhisperFeatureExtractor,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from ..types import SAMPLE_RATE
from .llm import fingerprint
from .masking import mask_padding, valid_mask
from .pretrained_directory import check_weights, load_model, load_part, model_type
from .pretrained_features import KaldiMel, NormalizedWave, WhisperMel


class Network(nn.Module, ABC):
    """One architecture: its feature extraction, and the encoder proper without what is on top.

    Attributes:
        features: (B, N) samples and (B,) to what the encoder reads.
        samples_per_frame: samples (16 kHz) from one output frame to the next.
    """

    features: nn.Module
    samples_per_frame: int

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        self.model = model

    @abstractmethod
    def forward(
        self, wave_BN: torch.Tensor, lengths_B: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, N) samples and (B,) lengths to (B, T, D), of any value where padded, and (B,)."""

    def extract(self, wave_BN: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        """The features, untouched by autocast."""
        with torch.autocast(wave_BN.device.type, enabled=False):
            return self.features(wave_BN.to(self.model.dtype), lengths_B)


class Whisper(Network):
    """Whisper's encoder: it reads 30 s always, and the frames of the utterance are kept."""

    def __init__(self, model: PreTrainedModel, extractor: WhisperFeatureExtractor):
        super().__init__(model)
        if extractor.nb_max_frames != 2 * model.config.max_source_positions:
            raise ValueError(
                f"its preprocessor_config.json makes {extractor.nb_max_frames} frames, and its "
                f"config.json reads {2 * model.config.max_source_positions}"
            )
        self.features = WhisperMel(extractor)
        self.samples_per_frame = 2 * extractor.hop_length

    def forward(self, wave_BN, lengths_B):
        """(B, N) samples and (B,) to (B, T, D) and (B,) frames."""
        frames_B = (lengths_B + self.samples_per_frame - 1) // self.samples_per_frame
        x_BTD = self.model(self.extract(wave_BN, lengths_B)).last_hidden_state
        return x_BTD[:, : int(frames_B.max())], frames_B


class Wav2Vec2(Network):
    """wav2vec 2.0 and HuBERT: convolutions over samples, then a transformer.

    The convolutions of "base" models (`feat_extract_norm: group`) normalise over time, padding
    included, and were trained without a mask. So each utterance goes through them by itself; the
    transformer has them all in one batch, under a mask.
    """

    def __init__(self, model: PreTrainedModel, extractor: Wav2Vec2FeatureExtractor):
        super().__init__(model)
        config = model.config
        if getattr(config, "conv_pos_batch_norm", False):
            raise ValueError("its positions are normalised over the batch (conv_pos_batch_norm)")
        self.features = NormalizedWave(extractor)
        self.convolutions = list(zip(config.conv_kernel, config.conv_stride, strict=True))
        self.samples_per_frame = prod(config.conv_stride)
        self.one_by_one = config.feat_extract_norm != "layer"

    def num_frames(self, lengths_B: torch.Tensor) -> torch.Tensor:
        """(B,) frames of so many samples, at least one."""
        for kernel, stride in self.convolutions:
            lengths_B = (lengths_B - kernel) // stride + 1
        return lengths_B.clamp(min=1)

    @property
    def shortest(self) -> int:
        """Samples that one frame needs."""
        samples = 1
        for kernel, stride in reversed(self.convolutions):
            samples = (samples - 1) * stride + kernel
        return samples

    def forward(self, wave_BN, lengths_B):
        """(B, N) samples and (B,) to (B, T, D) and (B,) frames."""
        wave_BN = self.extract(wave_BN, lengths_B)
        wave_BN = F.pad(wave_BN, (0, max(0, self.shortest - wave_BN.shape[1])))
        projected = self.model.feature_projection(self._convolve(wave_BN, lengths_B))
        x_BTD = projected[0] if isinstance(projected, tuple) else projected
        frames_B = self.num_frames(lengths_B)
        mask_BT = valid_mask(frames_B, x_BTD.shape[1], x_BTD.device)
        return self.model.encoder(x_BTD, attention_mask=mask_BT).last_hidden_state, frames_B

    def _convolve(self, wave_BN: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        convolve = self.model.feature_extractor
        if not self.one_by_one:
            return convolve(wave_BN).transpose(1, 2)
        lengths = lengths_B.clamp(min=self.shortest).tolist()
        rows = [convolve(wave_BN[i : i + 1, :n])[0].T for i, n in enumerate(lengths)]
        return pad_sequence(rows, batch_first=True)


class Wav2Vec2Bert(Network):
    """w2v-BERT 2.0: Kaldi's filterbanks, then a conformer with causal convolutions."""

    def __init__(self, model: PreTrainedModel, extractor: SeamlessM4TFeatureExtractor):
        super().__init__(model)
        self.features = KaldiMel(extractor)
        self.samples_per_frame = KaldiMel.HOP * extractor.stride

    def forward(self, wave_BN, lengths_B):
        """(B, N) samples and (B,) to (B, T, D) and (B,) frames."""
        frames_B = self.features.num_frames(lengths_B)
        x_BTD, _ = self.model.feature_projection(self.extract(wave_BN, lengths_B))
        mask_BT = valid_mask(frames_B, x_BTD.shape[1], x_BTD.device)
        return self.model.encoder(x_BTD, attention_mask=mask_BT).last_hidden_state, frames_B


# model_type in config.json: our class, transformers' extractor, its model, names of its weights
ARCHITECTURES: dict[str, tuple[Callable[..., Network], Any, Any, dict[str, str]]] = {
    "whisper": (Whisper, WhisperFeatureExtractor, WhisperEncoder, {r"^(model\.)?encoder\.": ""}),
    "hubert": (Wav2Vec2, Wav2Vec2FeatureExtractor, HubertModel, {}),
    "wav2vec2": (Wav2Vec2, Wav2Vec2FeatureExtractor, Wav2Vec2Model, {}),
    "wav2vec2-bert": (Wav2Vec2Bert, SeamlessM4TFeatureExtractor, Wav2Vec2BertModel, {}),
}


class PretrainedEncoder(AbsEncoder):
    """Samples to (B, T, D), by the encoder in a directory.

    A trained one is saved in checkpoints. A frozen one is deliberately no submodule, like the LLM:
    it is not trained, saved or synchronised. A checkpoint has its fingerprint; loading compares.

    Its own SpecAugment and layer dropout are off. What an utterance becomes does not depend on its
    batch (`batch_independent`).

    Args:
        directory: config.json, preprocessor_config.json, *.safetensors.
        layer: the encoder ends after so many layers, its final norm follows (None: all layers).
        train: False: the encoder stays as it is.

    Errors (ValueError): see `load_network`.
    """

    batch_independent = True

    def __init__(self, directory: str = "", layer: int | None = None, train: bool = True):
        super().__init__()
        network = load_network(directory, layer)
        self.directory, self.fingerprint = str(directory), None
        self.subsampling = network.samples_per_frame
        if train:
            self.network = network
        else:  # not through nn.Module, which would make it a submodule
            self.__dict__["network"] = network.eval().requires_grad_(False)
            self.fingerprint = fingerprint(network.model)

    def output_size(self) -> int:
        """The width D."""
        return self.network.model.config.hidden_size

    def forward(
        self,
        xs_pad: torch.Tensor,
        ilens: torch.Tensor,
        prev_states: None = None,
        ctc: None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, None]:
        """(B, N) and (B,) to (B, T, D), (B,) and None (ESPnet's encoder interface)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.fingerprint is None):
            x_BTD, frames_B = self.network(xs_pad, ilens)
        return mask_padding(x_BTD, frames_B), frames_B, None

    def get_extra_state(self) -> dict[str, str | None]:
        """What a checkpoint says of the directory; the fingerprint only where it is frozen."""
        return {"directory": self.directory, "fingerprint": self.fingerprint}

    def set_extra_state(self, state: dict[str, str | None]) -> None:
        """Compares. ValueError: the frozen encoder is not the one of the checkpoint."""
        if state["fingerprint"] != self.fingerprint:
            ours, theirs = (str(each)[:12] for each in (self.fingerprint, state["fingerprint"]))
            raise ValueError(
                f"this checkpoint was trained with the encoder in {state['directory']} "
                f"(fingerprint {theirs}; None: a trained one), and {self.directory} has another "
                f"({ours}): give --encoder_conf directory=DIR of the same encoder, or train again"
            )

    def _apply(self, fn, recurse=True):
        """Devices and types of a frozen encoder follow too."""
        if self.fingerprint is not None:
            self.network._apply(fn, recurse)
        return super()._apply(fn, recurse)


def load_network(directory: str, layer: int | None = None) -> Network:
    """The encoder in `directory`, in float32, in evaluation mode.

    Errors (ValueError): no such directory, an architecture that is not known, no or other weights,
    another sampling rate, not so many layers."""
    place = Path(directory)
    if not directory or not place.is_dir():
        raise ValueError(
            f"the encoder's directory '{directory}' does not exist: give one in Hugging Face form "
            "with --encoder_conf directory=DIR"
        )
    kind, extractor_class, model_class, key_mapping = ARCHITECTURES[
        model_type(place, tuple(ARCHITECTURES), "encoder")
    ]
    check_weights(place)
    extractor = load_part(
        place, "feature extractor of the encoder", extractor_class.from_pretrained
    )
    if extractor.sampling_rate != SAMPLE_RATE:
        raise ValueError(
            f"{directory} reads audio of {extractor.sampling_rate} Hz, and stage 2 makes "
            f"{SAMPLE_RATE} Hz: take an encoder of that rate"
        )
    config = load_part(place, "configuration of the encoder", AutoConfig.from_pretrained)
    _prepare(config, layer, directory)
    model = load_model(place, config, model_class, "encoder", key_mapping)
    try:
        return kind(model, extractor).eval()
    except ValueError as error:
        raise ValueError(f"{directory} cannot be used: {error}") from error


def _prepare(config: PretrainedConfig, layer: int | None, directory: str) -> None:
    """Layers up to `layer`; no masks and no missing layers in training."""
    if layer is not None:
        if not 1 <= layer <= config.num_hidden_layers:
            raise ValueError(
                f"--encoder_conf layer={layer}: {directory} has layers 1 to "
                f"{config.num_hidden_layers}"
            )
        config.num_hidden_layers = layer
    for name in ("mask_time_prob", "mask_feature_prob", "layerdrop", "encoder_layerdrop"):
        if hasattr(config, name):
            setattr(config, name, 0.0)
