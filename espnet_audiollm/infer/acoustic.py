"""Semantic units to speech by way of a codec's levels, in the voice of a prompt: what makes
the levels (SoundStorm or AudioLM), then what speaks them.

The interface is that of `Vocoder`, so bin/speak has one way for all."""

# B batch, P codec frames of a prompt, T codec frames, L levels, N samples

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch

from ..data.aligned_units import aligned, check_same_length, number_of_frames
from ..data.spoken_units import SpokenLevels, SpokenUnits
from ..data.unit_tables import UnitSet, expand
from ..model.codec import Codec
from ..types import SAMPLE_RATE, Seconds
from ..units.codec_units import load_quantiser
from .level_generators import NO_PROMPT, PROMPT, LevelGenerator, seed_of
from .speak import CHECKPOINT, padded
from .unit_levels import (
    CodecVocoder,
    LevelsVocoder,
    WaveExtractor,
    load_levels_vocoder,
    wave_extractor,
)

MARGIN: Seconds = 0.2  # more of it is read, so that its last frames are complete


@dataclass(frozen=True)
class VoicePrompt:
    """What a model is shown of a voice, at the codec's frames."""

    semantic_P: torch.Tensor
    levels_PL: torch.Tensor


@dataclass(frozen=True)
class PromptReader:
    """Turns recordings into prompts. Made by `load_prompt_reader`."""

    units: WaveExtractor
    levels: WaveExtractor
    unit_rate: float  # a second
    level_rate: float

    def __call__(self, waves: Sequence[np.ndarray]) -> list[VoicePrompt]:
        """Of the first 3 s of (N,) samples at 16 kHz, or of all where there is less."""
        cut = [wave[: int((PROMPT + MARGIN) * SAMPLE_RATE)] for wave in waves]
        rows = zip(waves, self.units(cut), self.levels(cut), strict=True)
        return [self._prompt(len(wave), units[0], levels) for wave, units, levels in rows]

    def _prompt(self, samples: int, units: list[int], levels: list[list[int]]) -> VoicePrompt:
        check_same_length(len(units), self.unit_rate, len(levels[0]), self.level_rate)
        most = int(min(PROMPT, samples / SAMPLE_RATE) * self.level_rate)
        levels_LP = torch.tensor(levels)[:, : max(1, most)]
        semantic = aligned(units, self.unit_rate, levels_LP.shape[1], self.level_rate)
        return VoicePrompt(torch.tensor(semantic), levels_LP.T)


@dataclass(frozen=True)
class AcousticVocoder:
    """What makes levels and what speaks them. Made by `load_acoustic_vocoder`.

    seed: of what is drawn by chance, of each utterance with its id."""

    generator: LevelGenerator
    spoken_by: LevelsVocoder
    seed: int = 0
    reader: PromptReader | None = None  # None: voices are not taken from recordings
    device: str = "cpu"
    speakers: tuple[str, ...] = ("drawn",)

    @property
    def by_prompt(self) -> bool:
        """Whether voices come from recordings; if not, chance decides them."""
        return self.reader is not None

    @property
    def unit_set(self) -> UnitSet:
        """The semantic units."""
        return self.generator.unit_set

    @property
    def level_set(self) -> UnitSet:
        """What is spoken."""
        return self.generator.level_set

    @cached_property
    def fingerprint(self) -> str:
        """Of all models' weights."""
        return f"{self.generator.fingerprint} {self.spoken_by.fingerprint}"

    def speaker(self, name: str | None) -> int:
        """There is none to choose. Errors (ValueError): a voice is asked for by name."""
        if name is not None:
            raise ValueError(
                f"--voice {name}: with --acoustic a voice is that of a recording (--voice_prompt), "
                "or drawn by chance"
            )
        return 0

    def voices(self, chosen: Sequence[int | np.ndarray]) -> list[VoicePrompt | None]:
        """The prompts of recordings, each read once; None: no prompt."""
        if self.reader is None:
            return [None] * len(chosen)
        waves = {id(wave): wave for wave in chosen if isinstance(wave, np.ndarray)}
        prompts = dict(zip(waves, self.reader(list(waves.values())), strict=True))
        return [prompts[id(wave)] for wave in chosen]

    def speak(
        self, rows: Sequence[SpokenUnits], voices: Sequence[VoicePrompt | None]
    ) -> list[np.ndarray]:
        """(N,) float32 samples of each utterance, at 16 kHz, without its prompt."""
        levels = self.levels(rows, voices)
        return self.spoken_by.speak(levels, self.spoken_by.voices([0] * len(levels)))

    def levels(
        self, rows: Sequence[SpokenUnits], voices: Sequence[VoicePrompt | None]
    ) -> list[SpokenLevels]:
        """The units of all levels of each utterance, without its prompt."""
        rate, level_rate = self.unit_set.frames_per_second, self.level_set.frames_per_second
        nothing = NO_PROMPT.reshape(0, self.level_set.levels)
        heads = [voice.semantic_P if voice else NO_PROMPT for voice in voices]
        shown = [voice.levels_PL if voice else nothing for voice in voices]
        semantic = []
        for head_P, row, durations in zip(heads, rows, self._durations(rows), strict=True):
            frames = list(expand(row.units, durations))
            number = number_of_frames(len(frames), rate, level_rate)
            own = aligned(frames, rate, number, level_rate)
            semantic.append(torch.cat([head_P, torch.tensor(own)]))
        seeds = [seed_of(self.seed, row.id) for row in rows]
        made = self.generator(semantic, shown, seeds)
        found = []
        for row, head_P, codes_TL in zip(rows, heads, made, strict=True):
            levels = codes_TL[len(head_P) :].T.tolist()
            found.append(SpokenLevels(row.id, tuple(map(tuple, levels))))
        return found

    @torch.inference_mode()
    def _durations(self, rows: Sequence[SpokenUnits]) -> list[Sequence[int]]:
        """Those that are known, else predicted ones."""
        lengths = [len(row.units) for row in rows]
        units_BN = padded([row.units for row in rows]).to(self.device)
        predictor = self.generator.duration_predictor
        lengths_B = torch.tensor(lengths, device=self.device)
        made_BN = predictor.durations(units_BN, lengths_B, predictor.no_voice(len(rows))).tolist()
        pairs = zip(rows, made_BN, lengths, strict=True)
        return [row.durations or made[:length] for row, made, length in pairs]


def load_acoustic_vocoder(
    generator: LevelGenerator,
    vocoder: str,
    whose: str,
    seed: int = 0,
    checkpoint: str = CHECKPOINT,
    device: str = "cpu",
) -> AcousticVocoder:
    """What makes levels, with what speaks them: codec:DIR, or a directory of mean patches. It has
    no reader of prompts yet.

    whose: the levels are, for messages.

    Errors (ValueError): levels that are not those of the vocoder."""
    level_set = generator.level_set
    spoken_by = load_levels_vocoder(vocoder, level_set, whose, checkpoint, device)
    return AcousticVocoder(generator, spoken_by, seed, None, device)


def load_prompt_reader(
    vocoder: AcousticVocoder,
    quantiser: str | None,
    encoder: str | None,
    level_quantiser: str | None,
) -> PromptReader:
    """What reads prompts for a model.

    quantiser: directory of that of the semantic units; encoder: where its encoder lies now (None:
    where it lay then); level_quantiser: of the levels (None: the codec that speaks them).

    Errors (ValueError): one is missing, or made other units than the model's."""
    spoken_by, device = vocoder.spoken_by, vocoder.device
    units = _extractor(quantiser, "--quantiser", vocoder.unit_set, encoder, device)
    levels: WaveExtractor
    if isinstance(spoken_by, CodecVocoder) and level_quantiser is None:
        levels = partial(_units_of, spoken_by.codec, vocoder.level_set.levels)
    else:
        option = "--level_quantiser"
        levels = _extractor(level_quantiser, option, vocoder.level_set, None, device)
    rates = vocoder.unit_set.frames_per_second, vocoder.level_set.frames_per_second
    return PromptReader(units, levels, *rates)


def _extractor(
    directory: str | None, option: str, unit_set: UnitSet, encoder: str | None, device: str
) -> WaveExtractor:
    if directory is None:
        raise ValueError(
            f"a voice prompt becomes units, too: give {option} with the directory of "
            "bin/learn_units that made those of the training"
        )
    quantiser = load_quantiser(directory)
    if quantiser.fingerprint != unit_set.quantiser:
        raise ValueError(
            f"{option} {directory} ({quantiser.fingerprint[:12]}) is another quantiser than that "
            f"of the model's training ({unit_set.quantiser[:12]}): give the one of then"
        )
    return wave_extractor(quantiser, encoder, device)


def _units_of(codec: Codec, levels: int, waves: Sequence[np.ndarray]) -> list[list[list[int]]]:
    return [codec.units(wave, levels) for wave in waves]
