"""Recordings to units of every level, by a quantiser of any kind; and a codec's units to speech."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..data.unit_tables import LevelsRow, UnitSet
from ..model.codec import Codec, check_levels, load_codec
from ..types import Utterance
from ..units.codec_units import CodecUnits, load_quantiser
from ..units.sources import Source
from .batches import AHEAD
from .unit_frames import load_frames_of

Extractor = Callable[[Sequence[Utterance]], list[list[list[int]]]]


def load_extractor(quantiser_dir: str, directory: str | None, device: str = "cpu") -> Extractor:
    """What makes, of each recording of a batch, L lists of T units.

    directory: where the quantiser's encoder or codec lies now. None: where it lay then.

    Errors (ValueError): no quantiser there; its encoder or codec is missing or another."""
    quantiser = load_quantiser(quantiser_dir)
    if isinstance(quantiser, CodecUnits):
        codec = load_codec_of(quantiser, directory, device)
        levels = quantiser.levels
        return lambda batch: [codec.units(AHEAD.read(utt.audio), levels) for utt in batch]
    frames = load_frames_of(quantiser, directory, device)
    return lambda batch: [quantiser.codes(x_TC).tolist() for x_TC in frames(batch)]


def describe(codec: Codec, directory: str, levels: int) -> CodecUnits:
    """The quantiser that a codec is. Errors (ValueError): it has not so many codebooks."""
    check_levels(codec, levels, directory)
    rate, learned = codec.frames_per_second, f"codebooks 1 to {levels} of {codec.most}"
    return CodecUnits(
        Source("codec", directory), codec.fingerprint, rate, codec.size, levels, learned
    )


def load_codec_of(quantiser: CodecUnits, directory: str | None, device: str = "cpu") -> Codec:
    """The codec of a quantiser. Errors (ValueError): it is missing, or has other weights now."""
    place = directory or quantiser.source.directory
    codec = load_codec(place, device)
    if codec.fingerprint != quantiser.encoder:
        raise ValueError(
            f"the codec {place} has other weights ({codec.fingerprint[:12]}) than the one of the "
            f"units ({quantiser.encoder[:12]}): give --encoder with the codec of then, or make the "
            "units again (bin/learn_units)"
        )
    return codec


@dataclass(frozen=True)
class CodecVocoder:
    """A codec that speaks its own units, in the voices that they have. Made by
    `load_codec_vocoder`; the rest of the interface is that of `Vocoder`."""

    codec: Codec
    unit_set: UnitSet
    speakers: tuple[str, ...] = ("codec",)
    by_prompt: bool = False

    @property
    def fingerprint(self) -> str:
        """Of its weights."""
        return self.codec.fingerprint

    def speaker(self, name: str | None) -> int:
        """There is nothing to choose. Errors (ValueError): a voice is asked for."""
        if name is not None:
            raise ValueError(f"--voice {name}: a codec speaks in the voice of the recording")
        return 0

    def voices(self, chosen: Sequence[int | np.ndarray]) -> torch.Tensor:
        """(B, 0): none."""
        return torch.zeros(len(chosen), 0)

    def speak(self, rows: Sequence[LevelsRow], voice_BD: torch.Tensor) -> list[np.ndarray]:
        """(N,) float32 samples of each utterance, at 16 kHz."""
        return [self.codec.wave([list(level) for level in row.levels]) for row in rows]


def load_codec_vocoder(directory: str, unit_set: UnitSet, device: str = "cpu") -> CodecVocoder:
    """The codec in `directory`, for units of its first codebooks.

    Errors (ValueError): those of `load_codec`; units that are not its own."""
    codec = load_codec(directory, device)
    own = describe(codec, directory, min(unit_set.levels, codec.most))
    if own.fingerprint != unit_set.quantiser:
        raise ValueError(
            f"the units are not those of the codec {directory} ({unit_set.quantiser[:12]}, not "
            f"{own.fingerprint[:12]}): give the codec that made them"
        )
    return CodecVocoder(codec, unit_set)
