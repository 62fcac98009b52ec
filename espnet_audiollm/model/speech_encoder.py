"""Waveform to encoder frames: what CTC pretraining and the alignment have in common.

Both models hold it under the name `speech_encoder`, so that `--init_ctc` carries everything over.
"""

# B batch, N samples, F filterbank frames, M filterbank bands, T encoder frames, D encoder width

from __future__ import annotations

from collections.abc import Callable

import torch
from espnet2.asr.encoder.abs_encoder import AbsEncoder
from espnet2.asr.frontend.abs_frontend import AbsFrontend
from espnet2.asr.specaug.abs_specaug import AbsSpecAug
from espnet2.layers.abs_normalize import AbsNormalize
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from ..types import SAMPLE_RATE
from .augmentation import NoiseAugment
from .conformer import ConformerEncoder
from .masking import even_length, mask_padding

EVEN_FRAMES = 64  # 10 ms each
EVEN_SAMPLES = 10_240  # as many frames


class SpeechEncoder(nn.Module):
    """Noise (training only), front end, normalisation, SpecAugment (training only), encoder.

    SpecAugment comes after the normalisation, so that what it masks becomes the mean. Before it (as
    in ESPnet) a masked band is a logarithm of 0: louder than speech, and in the mean of the rest.

    The front end and the encoder may be any of ESPnet's. Ours mask their padding, and say so
    (`batch_independent`). The others are given one utterance at a time: so the output never
    depends on the batch.

    Args:
        frontend: samples to features (None: the encoder reads samples).
        specaug, normalize: may be None.
        encoder: features to frames.
        augment: samples with padding to noisy ones, in training (None: they stay as they are).
    """

    def __init__(
        self,
        frontend: AbsFrontend | None,
        specaug: AbsSpecAug | None,
        normalize: AbsNormalize | None,
        encoder: AbsEncoder,
        augment: NoiseAugment | None = None,
    ):
        super().__init__()
        self.augment = augment
        self.frontend, self.specaug = frontend, specaug
        self.normalize, self.encoder = normalize, encoder
        self.batched = _independent(frontend) and _independent(encoder)

    def output_size(self) -> int:
        """The width D."""
        return self.encoder.output_size()

    @property
    def uses_all_parameters(self) -> bool:
        """Whether every trained parameter has a gradient in each step; of parts that do not say
        so, nothing is known."""
        parts = (self.augment, self.frontend, self.specaug, self.normalize)
        others = [p for part in parts if part is not None for p in part.parameters()]
        known = getattr(self.encoder, "uses_all_parameters", False)
        return known and not any(p.requires_grad for p in others)

    @property
    def frames_per_second(self) -> float | None:
        """Encoder frames; None: parts of ESPnet's, which do not say."""
        if not self.batched:
            return None
        hop = 1 if self.frontend is None else self.frontend.hop_length
        return SAMPLE_RATE / (hop * self.encoder.subsampling)

    def features(
        self, speech_BN: torch.Tensor, lengths_B: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, F, M) features before augmentation and normalisation, and (B,) frames.

        In float32, whatever autocast says: powers of a spectrum leave float16's range."""
        speech_BN = speech_BN[:, : int(lengths_B.max())]
        if self.frontend is None:
            return even_length(speech_BN, EVEN_SAMPLES), lengths_B
        with torch.autocast(speech_BN.device.type, enabled=False):
            full_BN = speech_BN.to(torch.promote_types(speech_BN.dtype, torch.float32))
            if _independent(self.frontend):
                x_BFM, frames_B = self.frontend(even_length(full_BN, EVEN_SAMPLES), lengths_B)
            else:
                x_BFM, frames_B = _one_by_one(self.frontend, full_BN, lengths_B)
        return x_BFM.to(speech_BN.dtype), frames_B

    def forward(
        self, speech_BN: torch.Tensor, lengths_B: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns (B, T, D) frames, zero where padded, and (B,) numbers of frames."""
        if self.augment is not None and self.training:
            speech_BN = self.augment(speech_BN, lengths_B)
        if self.batched:
            return self._encode(speech_BN, lengths_B)
        return _one_by_one(self._encode, speech_BN, lengths_B)

    def _encode(
        self, speech_BN: torch.Tensor, lengths_B: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        x_BFM, frames_B = self.features(speech_BN, lengths_B)
        if self.normalize is not None:
            x_BFM, frames_B = self.normalize(x_BFM, frames_B)
        if self.specaug is not None and self.training:
            x_BFM, frames_B = self.specaug(x_BFM, frames_B)
        return self.encode(x_BFM, frames_B)

    def encode(
        self, x_BFM: torch.Tensor, frames_B: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, D) frames of normalised features, zero where padded, and (B,) numbers of them."""
        if isinstance(self.encoder, ConformerEncoder):  # it does not see padding
            x_BFM = even_length(x_BFM, EVEN_FRAMES)
        x_BTD, frames_B, _ = self.encoder(x_BFM, frames_B)
        return mask_padding(x_BTD[:, : int(frames_B.max())], frames_B), frames_B


def _independent(part: nn.Module | None) -> bool:
    """Whether what it makes of an utterance does not depend on the batch."""
    return part is None or getattr(part, "batch_independent", False)


def _one_by_one(
    part: Callable, x_BN: torch.Tensor, lengths_B: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """`part` of each row without its padding: (B, T, D), zero where padded, and (B,) lengths."""
    rows = [part(x_N[None, :n], n[None]) for x_N, n in zip(x_BN, lengths_B, strict=True)]
    lengths_B = torch.cat([n for _, n in rows])
    return pad_sequence([x_1TD[0] for x_1TD, _ in rows], batch_first=True), lengths_B
