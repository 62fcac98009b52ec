"""Semantic units to speech by way of a codec's levels, in the voice of a prompt: SoundStorm, then
what speaks the levels.

The interface is that of `Vocoder`, so bin/speak has one way for all."""

# B batch, P codec frames of a prompt, T codec frames, L levels, N samples

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch

from ..data.aligned_units import aligned, check_same_length, number_of_frames
from ..data.spoken_units import SpokenLevels, SpokenUnits
from ..data.unit_tables import UnitSet, expand
from ..model.codec import Codec
from ..model.llm import fingerprint
from ..model.soundstorm import SoundStorm
from ..store.model_directory import files_of
from ..types import SAMPLE_RATE, Seconds
from ..units.codec_units import load_quantiser
from .speak import CHECKPOINT, padded
from .unit_levels import CodecVocoder, LevelsVocoder, WaveExtractor, wave_extractor

PROMPT: Seconds = 3.0  # of a recording are used, and needed where nothing else is said
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
class Decoding:
    """How levels are generated.

    Errors (ValueError): no iteration, or a negative temperature."""

    iterations: tuple[int, ...] = (16, 1)  # of the first level, the second, ... and all after it
    temperature: float = 1.0  # of the first level's units
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.iterations or min(self.iterations) < 1 or self.temperature < 0:
            raise ValueError(
                f"--iterations {' '.join(map(str, self.iterations))} and --temperature "
                f"{self.temperature:g}: give at least 1 for each level, and no negative temperature"
            )

    def seed_of(self, id_: str) -> int:
        """Of an utterance: its voice and sound do not depend on others."""
        return int.from_bytes(hashlib.sha256(f"{self.seed} {id_}".encode()).digest()[:7], "big")


@dataclass(frozen=True)
class AcousticVocoder:
    """SoundStorm and what speaks its levels. Made by `load_acoustic_vocoder`."""

    network: SoundStorm
    unit_set: UnitSet  # the semantic units
    level_set: UnitSet
    spoken_by: LevelsVocoder
    decoding: Decoding
    reader: PromptReader | None  # None: voices are not taken from recordings
    device: str = "cpu"
    speakers: tuple[str, ...] = ("drawn",)

    @property
    def by_prompt(self) -> bool:
        """Whether voices come from recordings; if not, chance decides them."""
        return self.reader is not None

    @cached_property
    def fingerprint(self) -> str:
        """Of both models' weights."""
        return f"{fingerprint(self.network)} {self.spoken_by.fingerprint}"

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
        none = torch.zeros(0, dtype=torch.long)
        heads = [voice.semantic_P if voice else none for voice in voices]
        shown = [v.levels_PL if v else none.reshape(0, self.level_set.levels) for v in voices]
        semantic = []
        for head_P, row, durations in zip(heads, rows, self._durations(rows), strict=True):
            frames = list(expand(row.units, durations))
            number = number_of_frames(len(frames), rate, level_rate)
            own = aligned(frames, rate, number, level_rate)
            semantic.append(torch.cat([head_P, torch.tensor(own)]))
        made = self.network.generate(
            semantic,
            shown,
            [self.decoding.seed_of(row.id) for row in rows],
            self.decoding.iterations,
            self.decoding.temperature,
        )
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
        predictor = self.network.duration_predictor
        lengths_B = torch.tensor(lengths, device=self.device)
        made_BN = predictor.durations(units_BN, lengths_B, predictor.no_voice(len(rows))).tolist()
        pairs = zip(rows, made_BN, lengths, strict=True)
        return [row.durations or made[:length] for row, made, length in pairs]


def load_acoustic_vocoder(
    exp: str | Path,
    vocoder: str,
    decoding: Decoding,
    checkpoint: str = CHECKPOINT,
    device: str = "cpu",
) -> AcousticVocoder:
    """A model of bin/soundstorm_train with what speaks its levels: codec:DIR, or a directory of
    mean patches. It has no reader of prompts yet.

    Errors (ValueError): there is no such model; levels that are not those of the vocoder."""
    from ..tasks.soundstorm import SoundStormTask
    from ..train.loading import load_weights, read_config
    from .unit_levels import load_levels_vocoder

    config = read_config(exp)
    if "level_set" not in config:
        raise ValueError(f"{exp} is no model of levels: train one with bin/soundstorm_train")
    unit_set, level_set = UnitSet(**config.unit_set), UnitSet(**config.level_set)
    spoken_by = load_levels_vocoder(vocoder, level_set, str(exp), checkpoint, device)
    model = SoundStormTask.build_model(config)
    load_weights(model, files_of(exp, checkpoint)[1])
    network = model.soundstorm.eval().to(device)
    return AcousticVocoder(network, unit_set, level_set, spoken_by, decoding, None, device)


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
