"""Semantic units at a codec's frames to the units of all its levels: by SoundStorm, or by AudioLM's
coarse and fine stages."""

# P codec frames of a prompt, T codec frames, L levels, C coarse levels

from __future__ import annotations

import argparse
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from ..data.unit_levels import flatten, unflatten
from ..data.unit_tables import UnitSet
from ..model.acoustic_lm import AcousticLM, Sampling
from ..model.durations import DurationPredictor
from ..model.llm import fingerprint
from ..model.soundstorm import SoundStorm
from ..store.model_directory import files_of
from ..types import Seconds

PROMPT: Seconds = 3.0  # of a recording are used, and needed where nothing else is said
CHUNK: Seconds = 3.0  # of speech, of which the fine stage writes all levels at once
NO_PROMPT = torch.zeros(0, dtype=torch.long)


@dataclass(frozen=True)
class Decoding:
    """How levels are generated.

    Errors (ValueError): no iteration, or a negative temperature."""

    iterations: tuple[int, ...] = (16, 1)  # of the first level, the second, ... and all after it
    temperature: float = 1.0  # of the first level's units

    def __post_init__(self) -> None:
        if not self.iterations or min(self.iterations) < 1 or self.temperature < 0:
            raise ValueError(
                f"--iterations {' '.join(map(str, self.iterations))} and --temperature "
                f"{self.temperature:g}: give at least 1 for each level, and no negative temperature"
            )


@dataclass(frozen=True)
class LevelGenerator(ABC):
    """What makes the levels. Made by `load_soundstorm` or `load_audiolm`."""

    unit_set: UnitSet  # the semantic units
    level_set: UnitSet
    duration_predictor: DurationPredictor  # of semantic units without repeats

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Of its weights."""

    @abstractmethod
    def __call__(
        self,
        semantic: Sequence[torch.Tensor],
        prompts: Sequence[torch.Tensor],
        seeds: Sequence[int],
    ) -> list[torch.Tensor]:
        """The (T, L) units of all levels of each utterance, the prompt's first and unchanged.

        semantic: (T,) at the codec's frames, the prompt's first; prompts: (P, L) units, (0, L): a
        voice that chance decides; seeds: of each utterance, which does not depend on the others."""


@dataclass(frozen=True)
class SoundStormGenerator(LevelGenerator):
    """SoundStorm."""

    network: SoundStorm
    decoding: Decoding

    @cached_property
    def fingerprint(self) -> str:
        """Of its weights."""
        return fingerprint(self.network)

    def __call__(
        self,
        semantic: Sequence[torch.Tensor],
        prompts: Sequence[torch.Tensor],
        seeds: Sequence[int],
    ) -> list[torch.Tensor]:
        """As `LevelGenerator`."""
        how = self.decoding.iterations, self.decoding.temperature
        return self.network.generate(semantic, prompts, seeds, *how)


@dataclass(frozen=True)
class AudioLMGenerator(LevelGenerator):
    """AudioLM's coarse stage for complete utterances, then its fine one for chunks of 3 s, each
    behind the prompt."""

    coarse: AcousticLM
    fine: AcousticLM
    sampling: Sampling
    fine_sampling: Sampling

    @cached_property
    def fingerprint(self) -> str:
        """Of both stages' weights."""
        return f"{fingerprint(self.coarse)} {fingerprint(self.fine)}"

    def __call__(
        self,
        semantic: Sequence[torch.Tensor],
        prompts: Sequence[torch.Tensor],
        seeds: Sequence[int],
    ) -> list[torch.Tensor]:
        """As `LevelGenerator`."""
        shown = [self._flat(prompt_PL[:, : self.coarse.levels]) for prompt_PL in prompts]
        sequences = self.coarse.generate(semantic, shown, seeds, self.sampling)
        coarse = [self._levels(sequence_S, self.coarse.levels) for sequence_S in sequences]
        return self._finer(coarse, prompts, seeds)

    def _finer(self, coarse, prompts, seeds) -> list[torch.Tensor]:
        size = max(1, int(CHUNK * self.level_set.frames_per_second))
        prefixes, shown, chunk_seeds, counts = [], [], [], []
        for coarse_TC, prompt_PL, seed in zip(coarse, prompts, seeds, strict=True):
            head_PC, prompt = coarse_TC[: len(prompt_PL)], prompt_PL[:, self.coarse.levels :]
            chunks = coarse_TC[len(prompt_PL) :].split(size)
            prefixes += [self._flat(torch.cat([head_PC, chunk])) for chunk in chunks]
            shown += [self._flat(prompt)] * len(chunks)
            chunk_seeds += [seed + 1 + number for number in range(len(chunks))]
            counts.append(len(chunks))
        made = iter(self.fine.generate(prefixes, shown, chunk_seeds, self.fine_sampling))
        found = []
        for coarse_TC, prompt_PL, count in zip(coarse, prompts, counts, strict=True):
            prompt = prompt_PL[:, self.coarse.levels :]
            chunks = [self._levels(next(made), self.fine.levels) for _ in range(count)]
            fine = torch.cat([prompt, *(chunk[len(prompt) :] for chunk in chunks)])
            found.append(torch.cat([coarse_TC, fine], 1))
        return found

    def _flat(self, levels_TL: torch.Tensor) -> torch.Tensor:
        units = flatten(levels_TL.T.tolist(), self.level_set.size)
        return torch.tensor(units, dtype=torch.long)

    def _levels(self, sequence_S: torch.Tensor, levels: int) -> torch.Tensor:
        return torch.tensor(unflatten(sequence_S.tolist(), self.level_set.size, levels)).T


def seed_of(seed: int, id_: str) -> int:
    """Of an utterance: its voice and sound do not depend on others."""
    return int.from_bytes(hashlib.sha256(f"{seed} {id_}".encode()).digest()[:7], "big")


def load_soundstorm(
    exp: str | Path, decoding: Decoding, checkpoint: str, device: str = "cpu"
) -> SoundStormGenerator:
    """A model of bin/soundstorm_train.

    Errors (ValueError): there is no such model, or it is a stage of AudioLM."""
    from ..tasks.soundstorm import SoundStormTask

    config = _read(exp, "bin/soundstorm_train")
    if "stage" in config:
        raise ValueError(
            f"{exp} is AudioLM's {config.stage} stage: give the coarse one as --acoustic and the "
            "fine one as --fine"
        )
    network = _loaded(SoundStormTask, config, exp, checkpoint, device).soundstorm
    sets = UnitSet(**config.unit_set), UnitSet(**config.level_set)
    return SoundStormGenerator(*sets, network.duration_predictor, network, decoding)


def load_audiolm(
    coarse: str | Path,
    fine: str | Path,
    samplings: tuple[Sampling, Sampling],
    checkpoint: str,
    device: str = "cpu",
) -> AudioLMGenerator:
    """Two models of bin/audiolm_train. samplings: of both.

    Errors (ValueError): one of them is missing or another stage; they have other levels."""
    from ..tasks.audiolm import COARSE, FINE, AudioLMTask

    configs = _read_stage(coarse, COARSE, "--acoustic"), _read_stage(fine, FINE, "--fine")
    _check_same_levels((coarse, fine), configs)
    models = [
        _loaded(AudioLMTask, config, exp, checkpoint, device)
        for exp, config in zip((coarse, fine), configs, strict=True)
    ]
    sets = UnitSet(**configs[0].unit_set), UnitSet(**configs[1].level_set)
    predictor, first, second = models[0].duration_predictor, models[0].lm, models[1].lm
    return AudioLMGenerator(*sets, predictor, first, second, *samplings)


def _check_same_levels(exps: tuple, configs: tuple[argparse.Namespace, argparse.Namespace]) -> None:
    level_sets = [UnitSet(**config.level_set) for config in configs]
    if level_sets[0].quantiser != level_sets[1].quantiser:
        raise ValueError(
            f"the stages {exps[0]} and {exps[1]} were trained on levels of two quantisers "
            f"({level_sets[0].quantiser[:12]} and {level_sets[1].quantiser[:12]}): train both on "
            "the same levels"
        )
    numbers = [config.coarse_levels for config in configs]
    if numbers[0] != numbers[1]:
        raise ValueError(
            f"{exps[0]} writes {numbers[0]} coarse levels and {exps[1]} reads {numbers[1]}: train "
            "both with the same --coarse_levels"
        )


def _read_stage(exp: str | Path, stage: str, option: str) -> argparse.Namespace:
    config = _read(exp, "bin/audiolm_train")
    found = getattr(config, "stage", None)
    if found != stage:
        what = f"AudioLM's {found} stage" if found else "no stage of AudioLM"
        raise ValueError(
            f"{option} {exp} is {what}: of bin/audiolm_train, --acoustic is a coarse stage and "
            "--fine a fine one"
        )
    return config


def _read(exp: str | Path, tool: str) -> argparse.Namespace:
    from ..train.loading import read_config

    config = read_config(exp)
    if "level_set" not in config:
        raise ValueError(f"{exp} is no model of levels: train one with {tool}")
    return config


def _loaded(task, config: argparse.Namespace, exp: str | Path, checkpoint: str, device: str):
    from ..train.loading import load_weights

    model = task.build_model(config)
    load_weights(model, files_of(exp, checkpoint)[1])
    return model.eval().to(device)
