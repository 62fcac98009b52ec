"""Reading recordings: what a header promises must be in the file, and samples are numbers."""

from __future__ import annotations

import io
import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..atomic import atomic_write
from ..types import SAMPLE_RATE, Seconds

UNKNOWN_SIZE = 0x7FFFF000  # bytes: from here on a size in a WAV header means "streamed, not known"


class AudioError(ValueError):
    """A recording that cannot be used; the message names the file and what is wrong with it."""


@dataclass(frozen=True)
class AudioInfo:
    rate: int  # Hz
    channels: int
    frames: int  # samples of one channel
    container: str  # "WAV", "FLAC", ...

    @property
    def duration(self) -> Seconds:
        return self.frames / self.rate

    @property
    def usable_in_place(self) -> bool:
        """Whether training can read the file as it is: 16 kHz, mono, WAV or FLAC."""
        return (
            self.rate == SAMPLE_RATE
            and self.channels == 1
            and self.container in ("WAV", "WAVEX", "FLAC")
        )


def info(path: str | Path) -> AudioInfo:
    """Rate, channels and frames from the header.

    Raises AudioError when the file is missing, empty, not audio, or a WAV or NIST SPHERE file that
    is shorter than its header says (a FLAC cut short is found when it is decoded)."""
    import soundfile

    _check_file(path)
    try:
        found = soundfile.info(str(path))
    except (soundfile.LibsndfileError, UnicodeEncodeError) as error:
        raise AudioError(f"{path}: not audio that libsndfile can read") from error
    _check_wav_size(path)
    _check_sphere_size(path, found.channels)
    if found.frames <= 0:
        raise AudioError(f"{path}: empty: a header and no samples")
    return AudioInfo(found.samplerate, found.channels, found.frames, found.format)


def read_mono_16k(path: str | Path) -> np.ndarray:
    """Decode a recording: float32 (N,) at 16 kHz, channels averaged, resampled when needed.

    Raises AudioError as `read_mono` does."""
    samples, found = read_mono(path)
    return resample(samples, found.rate)


def read_mono(path: str | Path) -> tuple[np.ndarray, AudioInfo]:
    """Decode a recording at its own rate: float32 (N,), channels averaged; and what the file was.

    Raises AudioError as `info` does, for fewer samples than promised, and for NaN or infinity."""
    import soundfile

    found = info(path)
    try:
        samples, _ = soundfile.read(str(path), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise AudioError(f"{path}: truncated or damaged: decoding fails ({error})") from error
    if len(samples) < found.frames:
        raise AudioError(
            f"{path}: truncated: the header promises {found.frames} samples, "
            f"{len(samples)} are there"
        )
    if not np.isfinite(samples).all():
        raise AudioError(f"{path}: holds samples that are not numbers (NaN or infinity)")
    return samples.mean(axis=1), found


def resample(samples: np.ndarray, rate: int) -> np.ndarray:
    """(N,) at `rate` Hz to float32 (N * 16000 / rate,) at 16 kHz."""
    if rate == SAMPLE_RATE:
        return samples
    import soxr

    return soxr.resample(samples, rate, SAMPLE_RATE, quality="HQ").astype(np.float32)


def write_audio(path: str | Path, samples: np.ndarray, rate: int = SAMPLE_RATE) -> None:
    """Write (N,) floats in [-1, 1] as 16-bit FLAC or WAV (by suffix), whole or not at all.

    Encoded in memory first: a full disk is then an ordinary OSError."""
    import soundfile

    encoded = io.BytesIO()
    container = Path(path).suffix[1:].upper()
    soundfile.write(encoded, np.clip(samples, -1.0, 1.0), rate, "PCM_16", format=container)
    with atomic_write(path, "wb") as out:
        out.write(encoded.getbuffer())


def _check_file(path: str | Path) -> None:
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
    except (OSError, ValueError) as error:
        raise AudioError(f"{path}: cannot be opened ({error})") from error
    if size == 0:
        raise AudioError(f"{path}: empty: 0 bytes")


def _check_wav_size(path: str | Path) -> None:
    """libsndfile reads a WAV that was cut short without a word: compare sizes ourselves."""
    with open(path, "rb") as wav:
        head = wav.read(12)
        if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
            return
        end = os.fstat(wav.fileno()).st_size
        while len(chunk := wav.read(8)) == 8:
            name, size = struct.unpack("<4sI", chunk)
            if name == b"data":
                held = end - wav.tell()
                if held < size < UNKNOWN_SIZE:
                    raise AudioError(
                        f"{path}: truncated: the header promises {size} bytes of samples, "
                        f"{held} are there"
                    )
                return
            wav.seek(size + size % 2, os.SEEK_CUR)


def _check_sphere_size(path: str | Path, channels: int) -> None:
    """libsndfile reads a NIST SPHERE file that was cut short without a word, too."""
    with open(path, "rb") as sphere:
        if sphere.read(8) != b"NIST_1A\n":
            return
        length = int(sphere.read(8))  # bytes of the header, in digits
        header = dict(re.findall(rb"^(\w+) -i (\d+)", sphere.read(length), re.MULTILINE))
        held = os.fstat(sphere.fileno()).st_size - length
    count, size = (int(header.get(name, 0)) for name in (b"sample_count", b"sample_n_bytes"))
    promised = count * size * channels
    if held < promised:
        raise AudioError(
            f"{path}: truncated: the header promises {promised} bytes of samples, {held} are there"
        )
