"""Speech to a vector that tells who speaks, whatever is said: ECAPA-TDNN (Desplanques et al., 2020,
arXiv 2005.07143), in sizes that learn on a processor, trained to name the speakers of its data with
an additive angular margin (Deng et al., 2019, arXiv 1801.07698).

Every forward pass has recordings of one length: crops in training, one recording at a time later.
So there is no padding that an embedding could depend on.
"""

# B batch, N samples, F mel frames, M mel bands, T frames inside, C channels, D width of embeddings,
# S speakers

from __future__ import annotations

import math

import torch
import torch.nn.functional as nnf
from espnet2.torch_utils.device_funcs import force_gatherable
from espnet2.train.abs_espnet_model import AbsESPnetModel
from torch import nn

from ..types import SAMPLE_RATE, Seconds
from .frontend import Filterbank
from .masking import on_host

SQUEEZE = 4  # channels for one of the bottleneck that weighs them
SMALLEST = 1e-5  # variance over time


class Convolution(nn.Sequential):
    """Convolution over time, ReLU, batch normalisation: (B, C, T) to the same number of frames, or
    a `stride`-th of them."""

    def __init__(
        self, size_in: int, size: int, kernel: int = 1, dilation: int = 1, stride: int = 1
    ):
        padding = dilation * (kernel // 2)
        super().__init__(
            nn.Conv1d(size_in, size, kernel, stride=stride, dilation=dilation, padding=padding),
            nn.ReLU(),
            nn.BatchNorm1d(size),
        )


class Res2Convolution(nn.Module):
    """Groups of channels, each convolved together with what the group before it became: one layer
    that sees several spans of time."""

    def __init__(self, channels: int, groups: int, dilation: int):
        super().__init__()
        width = channels // groups
        self.groups = groups
        self.convs = nn.ModuleList(
            Convolution(width, width, 3, dilation) for _ in range(groups - 1)
        )

    def forward(self, x_BCT: torch.Tensor) -> torch.Tensor:
        """(B, C, T) to (B, C, T); the first group is left as it is."""
        first, *others = x_BCT.chunk(self.groups, 1)
        done, before = [first], torch.zeros_like(first)
        for conv, x_BcT in zip(self.convs, others, strict=True):
            before = conv(x_BcT + before)
            done.append(before)
        return torch.cat(done, 1)


class Block(nn.Module):
    """A Res2 convolution between two of one frame, channels weighed by what they are over all of
    the time, added to what came in."""

    def __init__(self, channels: int, groups: int, dilation: int):
        super().__init__()
        self.convs = nn.Sequential(
            Convolution(channels, channels),
            Res2Convolution(channels, groups, dilation),
            Convolution(channels, channels),
        )
        self.weigh = nn.Sequential(
            nn.Linear(channels, channels // SQUEEZE),
            nn.ReLU(),
            nn.Linear(channels // SQUEEZE, channels),
            nn.Sigmoid(),
        )

    def forward(self, x_BCT: torch.Tensor) -> torch.Tensor:
        """(B, C, T) to (B, C, T)."""
        inner_BCT = self.convs(x_BCT)
        return x_BCT + inner_BCT * self.weigh(inner_BCT.mean(2))[..., None]


class AttentivePooling(nn.Module):
    """Mean and deviation over time, each channel with weights of its own for the frames."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.attention = nn.Sequential(
            nn.Conv1d(3 * channels, hidden, 1), nn.Tanh(), nn.Conv1d(hidden, channels, 1)
        )

    def forward(self, x_BCT: torch.Tensor) -> torch.Tensor:
        """(B, C, T) to (B, 2 C)."""
        mean_BC1 = x_BCT.mean(2, keepdim=True)
        deviation_BC1 = _deviation(x_BCT.float().var(2, correction=0, keepdim=True))
        context = [each.expand_as(x_BCT) for each in (mean_BC1, deviation_BC1.to(x_BCT.dtype))]
        weight_BCT = self.attention(torch.cat([x_BCT, *context], 1)).float().softmax(2)
        x_BCT = x_BCT.float()
        mean_BC = (weight_BCT * x_BCT).sum(2)
        variance_BC = (weight_BCT * (x_BCT - mean_BC[..., None]).square()).sum(2)
        return torch.cat([mean_BC, _deviation(variance_BC)], 1)


def _deviation(variance: torch.Tensor) -> torch.Tensor:
    return variance.clamp(min=SMALLEST).sqrt()


class SpeakerEncoder(nn.Module):
    """Samples to a vector of length 1.

    Args:
        channels: C of the blocks.
        groups: of each Res2 convolution.
        blocks: how many; their dilations are 2, 3, ...
        pooled: channels whose statistics are taken.
        width: of an embedding, D.
        stride: mel frames from one inner frame to the next (ECAPA-TDNN has 1; 2 halves the work).

    Errors (ValueError): channels that do not fill groups, or too few."""

    def __init__(
        self,
        channels: int = 512,
        groups: int = 8,
        blocks: int = 3,
        pooled: int = 1536,
        width: int = 192,
        stride: int = 1,
    ):
        super().__init__()
        if min(channels, groups - 1, blocks, pooled, width, stride) < 1:
            raise ValueError("--speaker_encoder_conf: a size is below 1, or groups below 2")
        if channels % groups or channels < SQUEEZE:
            raise ValueError(
                f"--speaker_encoder_conf: {channels} channels are not {groups} equal groups: give "
                "channels that groups divides"
            )
        self.filterbank = Filterbank()
        self.first = Convolution(self.filterbank.n_mels, channels, 5, stride=stride)
        self.blocks = nn.ModuleList(Block(channels, groups, 2 + i) for i in range(blocks))
        self.merge = nn.Sequential(nn.Conv1d(blocks * channels, pooled, 1), nn.ReLU())
        self.pooling = AttentivePooling(pooled, 128)
        self.out = nn.Sequential(nn.LayerNorm(2 * pooled), nn.Linear(2 * pooled, width))

    def forward(self, speech_BN: torch.Tensor) -> torch.Tensor:
        """(B, N) samples without padding to (B, D)."""
        x_BCT = self.first(self.features(speech_BN).transpose(1, 2))
        outputs = []
        for block in self.blocks:
            x_BCT = block(x_BCT)
            outputs.append(x_BCT)
        pooled = self.pooling(self.merge(torch.cat(outputs, 1)))
        return nnf.normalize(self.out(pooled).float(), dim=1)

    def features(self, speech_BN: torch.Tensor) -> torch.Tensor:
        """(B, F, M) log mel energies less each band's mean: a microphone is not a voice."""
        with torch.autocast(speech_BN.device.type, enabled=False):
            lengths_B = torch.full((len(speech_BN),), speech_BN.shape[1])
            mel_BFM, _ = self.filterbank(speech_BN.float(), lengths_B)
            return mel_BFM - mel_BFM.mean(1, keepdim=True)


class AngularMargin(nn.Module):
    """Cosines to a direction for each speaker; in training the angle to the right one counts as
    larger by `margin` radians, so that it has to be smaller.

    Errors (ValueError): a margin or a scale that cannot be."""

    def __init__(self, width: int, speakers: int, margin: float = 0.2, scale: float = 30.0):
        super().__init__()
        if not 0 <= margin < math.pi / 2 or scale <= 0:
            raise ValueError(
                f"--margin_conf: margin {margin:g} and scale {scale:g}: give an angle from 0 to "
                "1.5 and a scale above 0"
            )
        self.margin, self.scale = margin, scale
        self.directions_SD = nn.Parameter(nn.init.xavier_normal_(torch.empty(speakers, width)))

    def forward(self, x_BD: torch.Tensor, speaker_B: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The mean cross-entropy (nats), and the share of recordings whose speaker is found,
        without margin."""
        with torch.autocast(x_BD.device.type, enabled=False):
            cos_BS = x_BD.float() @ nnf.normalize(self.directions_SD.float(), dim=1).T
        accuracy = (cos_BS.argmax(1) == speaker_B).float().mean()
        if self.training:
            right_B1 = speaker_B[:, None]
            pushed_B1 = self._pushed(cos_BS.gather(1, right_B1))
            cos_BS = cos_BS.scatter(1, right_B1, pushed_B1)
        return nnf.cross_entropy(self.scale * cos_BS, speaker_B), accuracy

    def _pushed(self, cos: torch.Tensor) -> torch.Tensor:
        """cos(angle + margin); a line beyond pi - margin, where that would rise again."""
        sin = (1 - cos.square()).clamp(min=1e-7).sqrt()
        pushed = cos * math.cos(self.margin) - sin * math.sin(self.margin)
        line = cos - self.margin * math.sin(self.margin)
        return torch.where(cos > -math.cos(self.margin), pushed, line)


class SpeakerESPnetModel(AbsESPnetModel):
    """A speaker encoder and the speakers that it learns from.

    Training takes a crop from a random place of each recording, validation its beginning; a shorter
    recording is repeated.

    Errors (ValueError): a crop that is no half second."""

    can_be_split = False  # batch normalisation

    def __init__(self, encoder: SpeakerEncoder, head: AngularMargin, crop_seconds: Seconds = 2.0):
        super().__init__()
        if crop_seconds < 0.5:
            raise ValueError(f"--crop_seconds {crop_seconds:g}: give 0.5 or more (2 to 3)")
        self.encoder, self.head = encoder, head
        self.crop = round(crop_seconds * SAMPLE_RATE)

    def forward(
        self,
        speech: torch.Tensor,
        speech_lengths: torch.Tensor,
        speaker: torch.Tensor,
        **kwargs: object,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
        """Returns the loss, statistics and the weight B.

        Args:
            speech: (B, N) samples; speaker: (B, 1) numbers of speakers."""
        lengths_B = on_host(speech_lengths)
        start_B = torch.zeros(len(lengths_B))
        if self.training:
            start_B = torch.rand(len(lengths_B)) * (lengths_B - self.crop + 1).clamp(min=1)
        crops_BN = crops(speech, lengths_B, start_B.long(), self.crop)
        loss, accuracy = self.head(self.encoder(crops_BN), speaker[:, 0])
        stats = {"loss": loss.detach(), "accuracy": accuracy}
        return force_gatherable((loss, stats, loss.new_full((), len(speech))), loss.device)

    def collect_feats(self, **batch: torch.Tensor) -> dict[str, torch.Tensor]:
        """Nothing is collected before the training."""
        return {}


def crops(
    speech_BN: torch.Tensor, lengths_B: torch.Tensor, start_B: torch.Tensor, size: int
) -> torch.Tensor:
    """(B, size) samples of each recording from `start_B` on, which begins again at its end."""
    places_BN = (start_B[:, None] + torch.arange(size)) % lengths_B[:, None]
    return speech_BN.gather(1, places_BN.to(speech_BN.device))
