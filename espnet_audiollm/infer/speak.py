"""Units to waveforms: a vocoder that was trained here (or mean patches), then Griffin-Lim."""

# B batch, L units, F mel frames, M mel bands, N samples

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from ..data import audio
from ..data.spoken_units import SpokenUnits
from ..data.unit_tables import UnitSet
from ..model.frontend import Filterbank
from ..model.griffin_lim import waveform
from ..model.llm import fingerprint
from ..model.mean_patches import MeanPatches
from ..model.unit_vocoder import UnitVocoder, frames_per_unit, scaled, unscaled
from ..model.voices import PROMPT_SECONDS, prompt_of
from ..store.model_directory import files_of
from ..types import SAMPLE_RATE, Seconds
from .unit_levels import LEVEL_PATCHES

CHECKPOINT = "valid.loss.ave.pth"
# what every file says of itself
GENERATED = "Generated speech: not a recording of a person (ESPnet-AudioLLM)"
CLONED = "; its voice imitates a prompt"
PATCHES = "patches"  # `vocoder` in the configuration of mean patches
SHORTEST_PROMPT: Seconds = 0.5
SILENT = 1e-3  # of full scale: a prompt that nowhere is louder is silence


@dataclass(frozen=True)
class Vocoder:
    """A vocoder with what it was made for. Made by `load_vocoder`."""

    network: UnitVocoder | MeanPatches
    unit_set: UnitSet  # the units that it speaks
    speakers: tuple[str, ...]  # () where voices come from prompts, and for mean patches
    by_prompt: bool
    device: str = "cpu"

    @cached_property
    def fingerprint(self) -> str:
        """Of its weights."""
        return fingerprint(self.network, buffers=isinstance(self.network, MeanPatches))

    def speaker(self, name: str | None) -> int:
        """The number of a voice of the table; None: the only one.

        Errors (ValueError): there is no such voice, or more than one to choose from."""
        names = self.speakers or ("",)
        if name is None and len(names) == 1:
            return 0
        if name not in names:
            what = "no --voice is given" if name is None else f"--voice {name}: unknown"
            raise ValueError(
                f"{what}; the vocoder has {len(self.speakers)} voices (first: {names[0] or 'none'})"
            )
        return names.index(name)

    @torch.inference_mode()
    def voices(self, chosen: Sequence[int | np.ndarray]) -> torch.Tensor:
        """(B, D) of speakers' numbers, or of prompts of `read_prompt`."""
        if not self.by_prompt:
            return self.network.voice_of(torch.tensor(chosen, device=self.device))
        prompts = [scaled(prompt_mel(torch.from_numpy(samples))) for samples in chosen]
        return self.network.voice_of(torch.stack(prompts).to(self.device))

    @torch.inference_mode()
    def durations(
        self, rows: Sequence[SpokenUnits], voice_BD: torch.Tensor
    ) -> list[tuple[int, ...]]:
        """Predicted durations of each utterance's units, in unit frames."""
        lengths = [len(row.units) for row in rows]
        units_BL = padded([row.units for row in rows]).to(self.device)
        lengths_B = torch.tensor(lengths, device=self.device)
        found_BL = self.network.durations(units_BL, lengths_B, voice_BD).tolist()
        return [tuple(row[:length]) for row, length in zip(found_BL, lengths, strict=True)]

    @torch.inference_mode()
    def mel(self, rows: Sequence[SpokenUnits], voice_BD: torch.Tensor) -> list[torch.Tensor]:
        """(F, M) log mel energies of each utterance; durations that are not known are predicted."""
        units_BL = padded([row.units for row in rows]).to(self.device)
        guessed_BL = padded(self.durations(rows, voice_BD)).to(self.device)
        known = [row.durations or (0,) * len(row.units) for row in rows]
        known_BL = padded(known).to(self.device)
        durations_BL = torch.where(known_BL > 0, known_BL, guessed_BL)
        mel_BFM, frames_B = self.network.decode(units_BL, durations_BL, voice_BD)
        mels = zip(unscaled(mel_BFM), frames_B.tolist(), strict=True)
        return [mel_FM[:frames].cpu() for mel_FM, frames in mels]

    def speak(self, rows: Sequence[SpokenUnits], voice_BD: torch.Tensor) -> list[np.ndarray]:
        """(N,) float32 samples of each utterance, at 16 kHz."""
        filterbank = Filterbank()
        return [waveform(mel_FM, filterbank).numpy() for mel_FM in self.mel(rows, voice_BD)]


def load_vocoder(exp: str | Path, checkpoint: str = CHECKPOINT, device: str = "cpu") -> Vocoder:
    """A vocoder of bin/vocoder_train or bin/mean_patches, or a packed one.

    Errors (ValueError): there is none, or its weights do not fit its configuration."""
    from ..tasks.vocoder import VocoderTask
    from ..train.loading import load_weights, read_config

    config = read_config(exp)
    if "unit_set" not in config:
        raise ValueError(f"{exp} is no vocoder: train one with bin/vocoder_train")
    if getattr(config, "vocoder", "") == LEVEL_PATCHES:
        raise ValueError(
            f"{exp} speaks units of several levels, which only bin/speak does: give a vocoder of "
            "bin/vocoder_train, or mean patches of one level"
        )
    unit_set, weights = UnitSet(**config.unit_set), files_of(exp, checkpoint)[1]
    if getattr(config, "vocoder", "") == PATCHES:
        network = MeanPatches(unit_set.size, frames_per_unit(unit_set.frames_per_second))
        load_weights(network, weights)
        return Vocoder(network.eval().to(device), unit_set, (), False, device)
    model = VocoderTask.build_model(config)
    load_weights(model, weights)
    vocoder = model.vocoder.eval().to(device)
    return Vocoder(vocoder, unit_set, tuple(config.speakers), model.by_prompt, device)


def padded(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """(B, L) int64, 0 where a row is shorter."""
    return pad_sequence([torch.tensor(row, dtype=torch.long) for row in rows], batch_first=True)


def read_prompt(path: str | Path, shortest: Seconds = SHORTEST_PROMPT) -> np.ndarray:
    """(N,) samples of a voice prompt.

    Errors (ValueError): shorter than `shortest`, silent where it is used; those of reading it."""
    samples = audio.read_mono_16k(path)
    if len(samples) < shortest * SAMPLE_RATE:
        raise ValueError(
            f"the voice prompt {path} has {len(samples) / SAMPLE_RATE:.2f} s: give at least "
            f"{shortest:g} s of speech (3 s are used), or a lower --min_prompt"
        )
    used = samples[: round(PROMPT_SECONDS * SAMPLE_RATE)]
    if np.abs(used).max() < SILENT:
        raise ValueError(
            f"the voice prompt {path} is silent in its first {len(used) / SAMPLE_RATE:.1f} s, "
            "which are used: give a recording that begins with speech"
        )
    return samples


def prompt_mel(samples_N: torch.Tensor) -> torch.Tensor:
    """(P, M) log mel energies of a prompt's first 3 s; a shorter one is repeated."""
    mel_BFM, frames_B = Filterbank()(samples_N[None], torch.tensor([len(samples_N)]))
    return prompt_of(mel_BFM, frames_B)[0]
