"""The voices that a speech LM answers in, and speech that begins before its units are complete.

An answer is spoken in parts whose borders follow only from its units, never from when they came:
whoever waits for the complete answer hears the very samples of whoever hears it grow.
"""

# D width of a voice, F mel frames, M mel bands, N samples

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..data.spoken_units import SpokenUnits
from ..model.wave_writer import WaveWriter
from .speak import CLONED, GENERATED, Vocoder, read_prompt

MEAN_VOICE = "mean"  # of mean patches, which have one
FIRST = 6  # units without repeats in the first part: the first sound comes early
STEP = 16  # in every further one
AHEAD = 8  # units that are known beyond a part when it is spoken


@dataclass(frozen=True)
class Voices:
    """A vocoder, and the speakers that it has. Made by `of`."""

    vocoder: Vocoder
    names: tuple[str, ...]
    default: str
    predicts: bool  # durations are not in the units
    prompt: np.ndarray | None = None  # the recording whose voice is imitated. None: a table's

    @classmethod
    def of(
        cls, vocoder: Vocoder, predicts: bool, default: str | None, prompt: str | Path | None
    ) -> Voices:
        """default: None: the only voice. prompt: of a vocoder whose voices come from recordings.

        Errors (ValueError): no such voice, or several and no default; a prompt that is missing or
        not wanted."""
        if vocoder.by_prompt != (prompt is not None):
            needs = "comes from a recording" if vocoder.by_prompt else "is a speaker of its data"
            raise ValueError(f"the vocoder's voice {needs}: give --voice_prompt or --voice for it")
        if prompt is not None:
            name = default or Path(prompt).stem
            return cls(vocoder, (name,), name, predicts, read_prompt(prompt))
        names = vocoder.speakers or (MEAN_VOICE,)
        if default != MEAN_VOICE or vocoder.speakers:
            default = names[vocoder.speaker(default)]
        return cls(vocoder, names, default, predicts)

    @property
    def comment(self) -> str:
        """What files of its speech say in their metadata."""
        return GENERATED + CLONED * (self.prompt is not None)

    def speaker(self, name: str | None = None) -> Speaker:
        """Somebody to speak one answer. Errors (ValueError): an unknown voice."""
        name = name or self.default
        if name not in self.names:
            raise ValueError(
                f"the voice {name[:80]!r} is unknown; there are {len(self.names)} "
                f"(first: {', '.join(self.names[:5])})"
            )
        chosen = self.names.index(name) if self.prompt is None else self.prompt
        return Speaker(self, self.vocoder.voices([chosen]))


class Speaker:
    """One answer, spoken part by part as its units come."""

    def __init__(self, voices: Voices, voice_1D: torch.Tensor):
        self._voices, self._voice_1D = voices, voice_1D
        self._writer = WaveWriter()
        self._units: list[int] = []  # without repeats
        self._runs: list[int] = []  # how often each came
        self._spoken: list[int] = []  # durations of those that are spoken

    def add(self, unit: int) -> None:
        """The answer's next unit."""
        if self._units and self._units[-1] == unit:
            self._runs[-1] += 1
            return
        self._units.append(unit)
        self._runs.append(1)

    @property
    def ready(self) -> bool:
        """Whether the next part can be spoken: its units and those ahead are known, and the last
        of them is not growing any more."""
        return len(self._units) > self._end + AHEAD

    def part(self) -> np.ndarray:
        """(N,) float32 samples of the next part, which is ready. In any thread, one at a time."""
        return self._say(self._end, self._end + AHEAD, last=False)

    def rest(self) -> np.ndarray:
        """(N,) float32 samples of all that was not spoken; no unit comes after it."""
        parts = []
        while self.ready:
            parts.append(self.part())
        if self._units:
            parts.append(self._say(len(self._units), len(self._units), last=True))
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    @property
    def _end(self) -> int:
        """Where the next part ends."""
        return FIRST if not self._spoken else len(self._spoken) + STEP

    def _say(self, end: int, known: int, last: bool) -> np.ndarray:
        """Speak the units up to `end` with those up to `known` in sight."""
        vocoder = self._voices.vocoder
        units = tuple(self._units[:known])
        durations = tuple(self._runs[:known])
        if self._voices.predicts:
            [durations] = vocoder.durations([SpokenUnits("", units)], self._voice_1D)
        durations = (*self._spoken, *durations[len(self._spoken) :])
        [mel_FM] = vocoder.mel([SpokenUnits("", units, durations)], self._voice_1D)
        frames = vocoder.network.frames
        begin = sum(self._spoken) * frames
        self._spoken = list(durations[:end])
        new_FM = mel_FM[begin : sum(self._spoken) * frames]
        return self._writer.add(new_FM, last).numpy()


def speak_all(speaker: Speaker, units: Iterable[int]) -> np.ndarray:
    """(N,) float32 samples of complete units."""
    for unit in units:
        speaker.add(unit)
    return speaker.rest()
