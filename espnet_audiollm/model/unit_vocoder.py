"""Discrete units to log mel energies, with durations: how SpeechGPT's answers become sound.

A unit that comes several times in a row is one unit with a duration, which is predicted where it is
not known. The form is that of the unit vocoders of direct speech-to-speech translation, with a
conformer to mel in place of a network to samples: small enough to learn on a processor.
"""

# B batch, N samples, L units without repeats, T unit frames, R mel frames of a unit frame,
# F mel frames of 10 ms, M mel bands, D width

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from espnet2.torch_utils.device_funcs import force_gatherable
from espnet2.train.abs_espnet_model import AbsESPnetModel
from torch import nn

from ..types import SAMPLE_RATE
from .conformer import ConformerLayer, RotaryPositions
from .durations import PredictsDurations, Residual, duration_loss
from .frontend import Filterbank
from .masking import mask_padding, on_host, valid_mask
from .voices import PooledVoice, prompt_of

PADDING = -1  # of units and durations
MEAN, SCALE = -8.0, 4.0  # of log mel energies, about: the network's numbers are near 1
QUIETEST = -16.0  # log mel energy below which nothing is audible, nor learned


def frames_per_unit(units_per_second: float) -> int:
    """Mel frames R of a unit frame. ValueError: units that last no integer number of 10 ms."""
    ratio = SAMPLE_RATE / Filterbank().hop_length / units_per_second
    if ratio < 1 or abs(ratio - round(ratio)) > 1e-6:
        raise ValueError(
            f"{units_per_second:g} units a second do not last an integer number of 10 ms frames: "
            "give units of 100, 50, 25 or 12.5 a second"
        )
    return round(ratio)


def expand(
    x_BLD: torch.Tensor, durations_BL: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Every unit's vector as often as its duration says.

    Returns (B, T, D), zero where padded; (B, T, 2), how far a frame is from its unit's beginning
    and from its end, as shares; and (B,) lengths."""
    ends_BL = durations_BL.cumsum(1)
    lengths_B = ends_BL[:, -1]
    places_BT = torch.arange(int(lengths_B.max()), device=x_BLD.device).expand(len(x_BLD), -1)
    unit_BT = torch.searchsorted(ends_BL, places_BT.contiguous(), right=True)
    unit_BT = unit_BT.clamp(max=x_BLD.shape[1] - 1)
    x_BTD = x_BLD.gather(1, unit_BT[..., None].expand(-1, -1, x_BLD.shape[2]))
    ends_BT, sizes_BT = ends_BL.gather(1, unit_BT), durations_BL.gather(1, unit_BT)
    after_BT = (ends_BT - places_BT - 0.5) / sizes_BT.clamp(min=1)
    shares_BT2 = torch.stack([1 - after_BT, after_BT], 2)
    return mask_padding(x_BTD, lengths_B), mask_padding(shares_BT2, lengths_B), lengths_B


class UnitVocoder(PredictsDurations):
    """Units, durations and a voice to log mel energies.

    Args:
        size: number of units.
        frames: mel frames R of a unit frame.
        voices: speakers of a table (None: voices come from prompts).
        width, heads, hidden, layers, kernel: of the conformer at the units' rate.
        mel_width: width at the mel frames' rate.
        dropout: everywhere.
    """

    def __init__(
        self,
        size: int,
        frames: int,
        voices: int | None = 1,
        width: int = 144,
        heads: int = 4,
        hidden: int = 288,
        layers: int = 2,
        kernel: int = 7,
        mel_width: int = 96,
        dropout: float = 0.1,
    ):
        super().__init__()
        self.frames, self.filterbank = frames, Filterbank()
        self.embedding = nn.Embedding(size, width)
        self.voice = nn.Embedding(voices, width) if voices else PooledVoice(width)
        self.rhythm = nn.ModuleList(Residual(width, 3, dropout) for _ in range(2))
        self.log_duration = nn.Linear(width, 1)
        self.place = nn.Linear(2, width)
        self.positions = RotaryPositions(width // heads)
        self.layers = nn.ModuleList(
            ConformerLayer(width, heads, hidden, kernel, dropout) for _ in range(layers)
        )
        self.upsample = nn.Linear(width, frames * mel_width)
        self.smooth = nn.ModuleList(Residual(mel_width, 5, dropout) for _ in range(2))
        self.mel = nn.Linear(mel_width, self.filterbank.n_mels)

    def features(
        self, speech_BN: torch.Tensor, lengths_B: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, N) samples to (B, F, M) scaled log mel energies, as the network makes them, and
        (B,) frames."""
        with torch.autocast(speech_BN.device.type, enabled=False):
            mel_BFM, frames_B = self.filterbank(speech_BN.float(), lengths_B)
        return mask_padding(scaled(mel_BFM), frames_B), frames_B

    def voice_of(self, speakers_or_prompts: torch.Tensor) -> torch.Tensor:
        """(B, D) of speakers' numbers (B,), or of 3 s of scaled log mel energies (B, P, M)."""
        return self.voice(speakers_or_prompts)

    def decode(
        self, units_BL: torch.Tensor, durations_BL: torch.Tensor, voice_BD: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, F, M) scaled log mel energies, zero where padded, and (B,) frames, F = T x R.

        durations_BL: 0 where padded."""
        x_BLD = self.embedding(units_BL.clamp(min=0))
        x_BTD, shares_BT2, lengths_B = expand(x_BLD, durations_BL)
        x_BTD = mask_padding(x_BTD + self.place(shares_BT2) + voice_BD[:, None], lengths_B)
        mask_B11T = valid_mask(lengths_B, x_BTD.shape[1])[:, None, None]
        angles = self.positions(x_BTD.shape[1])
        for layer in self.layers:
            x_BTD = layer(x_BTD, mask_B11T, angles)
        x_BFD, frames_B = self.upsample(x_BTD).unflatten(2, (self.frames, -1)), lengths_B
        x_BFD, frames_B = x_BFD.flatten(1, 2), frames_B * self.frames
        for block in self.smooth:
            x_BFD = block(x_BFD, frames_B)
        return mask_padding(self.mel(x_BFD), frames_B), frames_B


def scaled(mel: torch.Tensor) -> torch.Tensor:
    """Log mel energies as the network's numbers; what is inaudible is all the same."""
    return (mel.clamp(min=QUIETEST) - MEAN) / SCALE


def unscaled(x: torch.Tensor) -> torch.Tensor:
    """The network's numbers as log mel energies."""
    return x.float() * SCALE + MEAN


class VocoderESPnetModel(AbsESPnetModel):
    """A vocoder and its loss."""

    def __init__(self, vocoder: UnitVocoder, by_prompt: bool):
        super().__init__()
        self.vocoder, self.by_prompt = vocoder, by_prompt

    def forward(
        self,
        speech: torch.Tensor,
        speech_lengths: torch.Tensor,
        units: torch.Tensor,
        units_lengths: torch.Tensor,
        durations: torch.Tensor,
        durations_lengths: torch.Tensor,
        speaker: torch.Tensor | None = None,
        mel_share: float = 1.0,
        duration_share: float = 1.0,
        **kwargs: object,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
        """Returns the loss, statistics and the weight B. The loss is the mean deviation of log mel
        energies, in units of SCALE, and the mean squared one of logarithms of durations.

        Args:
            speech: (B, N) samples; units, durations: (B, L) without repeats, -1 where padded.
            speaker: (B, 1) numbers in the table of voices; where voices come from prompts, 3 s of
                the recording itself are its prompt.
            mel_share, duration_share: of the two terms (see `term_counts`).

        Errors (ValueError): units that are not as long as their recordings."""
        units_lengths = on_host(units_lengths)
        target_BFM, frames_B = self.vocoder.features(speech, on_host(speech_lengths))
        voice_BD = self.vocoder.voice_of(self._voices(target_BFM, frames_B, speaker))
        log_BL = self.vocoder.predict(units, units_lengths, voice_BD)
        known_BL = durations.clamp(min=0)
        mel_BFM, made_B = self.vocoder.decode(units, known_BL, voice_BD)
        check_lengths(frames_B, made_B.cpu(), self.vocoder.frames)
        both_B = torch.minimum(frames_B, made_B.to(frames_B.device))
        mel_loss = mel_share * mean_deviation(mel_BFM, target_BFM, both_B)
        rhythm_loss = duration_share * duration_loss(log_BL, known_BL, units_lengths)
        loss = mel_loss + rhythm_loss
        stats = {"loss": loss, "mel": mel_loss, "duration": rhythm_loss}
        stats = {name: value.detach() for name, value in stats.items()}
        return force_gatherable((loss, stats, loss.new_full((), len(speech))), loss.device)

    def term_counts(self, batch: Mapping[str, Any]) -> dict[str, int]:
        """Utterances, frames and units: what the loss's weight counts, and what its two means are
        over, by the name of the argument that scales each (see train/shares.py)."""
        frames_B = self.vocoder.filterbank.num_frames(on_host(batch["speech_lengths"]))
        made_B = batch["durations"].clamp(min=0).sum(1).cpu() * self.vocoder.frames
        return {
            "weight": len(frames_B),
            "mel_share": int(torch.minimum(frames_B, made_B).sum()),
            "duration_share": int(sum(batch["units_lengths"])),
        }

    def collect_feats(self, **batch: torch.Tensor) -> dict[str, torch.Tensor]:
        """Nothing is collected before the training."""
        return {}

    def _voices(
        self, mel_BFM: torch.Tensor, frames_B: torch.Tensor, speaker: torch.Tensor | None
    ) -> torch.Tensor:
        if not self.by_prompt:
            assert speaker is not None
            return speaker[:, 0]
        start_B = None
        if self.training:
            start_B = (torch.rand(len(mel_BFM)) * frames_B).long()
        return prompt_of(mel_BFM, frames_B, start_B)


def mean_deviation(
    made_BFM: torch.Tensor, target_BFM: torch.Tensor, frames_B: torch.Tensor
) -> torch.Tensor:
    """Mean absolute difference over the frames that both have."""
    longest = min(made_BFM.shape[1], target_BFM.shape[1])
    frames_B = frames_B.clamp(max=longest)
    apart_BFM = F.l1_loss(made_BFM[:, :longest].float(), target_BFM[:, :longest], reduction="none")
    return mask_padding(apart_BFM.mean(2), frames_B).sum() / frames_B.sum()


def check_lengths(frames_B: torch.Tensor, made_B: torch.Tensor, per_unit: int) -> None:
    """Refuse (ValueError) units that cannot be of these recordings: longer or shorter by more than
    two unit frames and a tenth."""
    apart_B = (frames_B - made_B).abs()
    wrong = torch.nonzero(apart_B > 2 * per_unit + frames_B // 10).flatten().tolist()
    if wrong:
        first = wrong[0]
        raise ValueError(
            f"{len(wrong)} of {len(frames_B)} recordings are not as long as their units (first: "
            f"{frames_B[first] / 100:.2f} s of audio, {made_B[first] / 100:.2f} s of units): give "
            "the units that were extracted from this data (bin/extract_units)"
        )
