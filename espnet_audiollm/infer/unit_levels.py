"""Recordings to units of every level, by a quantiser of any kind; and such units to speech."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from ..data.unit_tables import LevelsRow, UnitSet
from ..model.codec import Codec, check_levels, load_codec
from ..model.frontend import Filterbank
from ..model.griffin_lim import waveform
from ..model.llm import fingerprint
from ..model.mean_patches import LevelPatches
from ..model.unit_vocoder import frames_per_unit, unscaled
from ..store.yaml_files import read_options
from ..types import Utterance
from ..units.codec_units import CodecUnits, load_quantiser
from ..units.quantiser import Quantiser
from ..units.sources import Source
from .batches import AHEAD
from .unit_frames import load_frames_of

CODEC = "codec:"  # before a codec's directory
LEVEL_PATCHES = "level_patches"  # `vocoder` in the configuration of mean patches of all levels
NEXT = "make the patches again (bin/mean_patches)"

Extractor = Callable[[Sequence[Utterance]], list[list[list[int]]]]
WaveExtractor = Callable[[Sequence[np.ndarray]], list[list[list[int]]]]


def load_extractor(quantiser_dir: str, directory: str | None, device: str = "cpu") -> Extractor:
    """What makes, of each recording of a batch, L lists of T units.

    directory: where the quantiser's encoder or codec lies now. None: where it lay then.

    Errors (ValueError): no quantiser there; its encoder or codec is missing or another."""
    extract = wave_extractor(load_quantiser(quantiser_dir), directory, device)
    return lambda batch: extract([AHEAD.read(utt.audio) for utt in batch])


def wave_extractor(
    quantiser: Quantiser | CodecUnits, directory: str | None, device: str = "cpu"
) -> WaveExtractor:
    """The same of (N,) float32 samples at 16 kHz."""
    if isinstance(quantiser, CodecUnits):
        codec = load_codec_of(quantiser, directory, device)
        levels = quantiser.levels
        return lambda waves: [codec.units(samples, levels) for samples in waves]
    frames = load_frames_of(quantiser, directory, device)
    return lambda waves: [quantiser.codes(x_TC).tolist() for x_TC in frames.of_waves(waves)]


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
class LevelsVocoder(ABC):
    """What speaks units of all levels, in the voices that they have; the interface is that of
    `Vocoder`."""

    unit_set: UnitSet
    by_prompt: bool = field(default=False, init=False)
    speakers: tuple[str, ...] = field(default=("codec",), init=False)

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Of its weights."""

    @abstractmethod
    def speak(self, rows: Sequence[LevelsRow], voices: object) -> list[np.ndarray]:
        """(N,) float32 samples of each utterance, at 16 kHz."""

    def speaker(self, name: str | None) -> int:
        """There is nothing to choose. Errors (ValueError): a voice is asked for."""
        if name is not None:
            raise ValueError(f"--voice {name}: a codec speaks in the voice of the recording")
        return 0

    def voices(self, chosen: Sequence[int | np.ndarray]) -> torch.Tensor:
        """(B, 0): none."""
        return torch.zeros(len(chosen), 0)


@dataclass(frozen=True)
class CodecVocoder(LevelsVocoder):
    """A codec that speaks its own units. Made by `load_codec_vocoder`."""

    codec: Codec

    @property
    def fingerprint(self) -> str:
        """Of its weights."""
        return self.codec.fingerprint

    def speak(self, rows: Sequence[LevelsRow], voices: object) -> list[np.ndarray]:
        """(N,) float32 samples of each utterance, at 16 kHz."""
        return [self.codec.wave([list(level) for level in row.levels]) for row in rows]


@dataclass(frozen=True)
class PatchesVocoder(LevelsVocoder):
    """Mean patches of several levels. Made by `load_level_patches`."""

    network: LevelPatches

    @property
    def fingerprint(self) -> str:
        """Of its weights."""
        return fingerprint(self.network, buffers=True)

    @torch.inference_mode()
    def speak(self, rows: Sequence[LevelsRow], voices: object) -> list[np.ndarray]:
        """(N,) float32 samples of each utterance, at 16 kHz."""
        device = self.network.patches.device
        codes = [torch.tensor(row.levels, device=device) for row in rows]
        mels = [unscaled(self.network.decode(codes_QT)).cpu() for codes_QT in codes]
        filterbank = Filterbank()
        return [waveform(mel_FM, filterbank).numpy() for mel_FM in mels]


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
    return CodecVocoder(unit_set, codec)


def is_of_levels(exp: str | Path) -> bool:
    """Whether a directory has mean patches of several levels."""
    config = Path(exp) / "config.yaml"
    return config.is_file() and read_options(config, NEXT).get("vocoder") == LEVEL_PATCHES


def load_level_patches(exp: str | Path, checkpoint: str, device: str = "cpu") -> PatchesVocoder:
    """The vocoder of `bin/mean_patches --levels true`.

    Errors (ValueError): its weights are missing or do not fit its configuration."""
    from ..train.loading import load_weights

    options = read_options(Path(exp) / "config.yaml", NEXT)
    unit_set = UnitSet(**options["unit_set"])
    frames = frames_per_unit(unit_set.frames_per_second)
    network = LevelPatches(unit_set.size, unit_set.levels, frames)
    load_weights(network, Path(exp) / checkpoint)
    return PatchesVocoder(unit_set, network.eval().to(device))


def load_levels_vocoder(
    name: str, unit_set: UnitSet, whose: str, checkpoint: str, device: str = "cpu"
) -> LevelsVocoder:
    """codec:DIR, or a directory of mean patches of several levels, for levels of `unit_set`.

    whose: the levels are, for messages.

    Errors (ValueError): those of loading it; it speaks other levels."""
    if name.startswith(CODEC):
        return load_codec_vocoder(name.removeprefix(CODEC), unit_set, device)
    if not is_of_levels(name):
        raise ValueError(
            f"{name} does not speak units of several levels: give codec:DIR, or a directory of "
            "bin/mean_patches --levels true"
        )
    vocoder = load_level_patches(name, checkpoint, device)
    unit_set.check_quantiser(vocoder.unit_set.quantiser, whose, name)
    return vocoder
