"""Reading recordings: what a header promises must be in the file, and samples are numbers.

A recording is named as in wav.scp: a file, an entry of a Kaldi ark, a command, or a part of one of
these (data/sources.py)."""

from __future__ import annotations

import functools
import io
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..store.atomic import MAY_PASS, atomic_write
from ..types import SAMPLE_RATE, Seconds
from . import containers, pipes, sources
from .containers import AudioError as AudioError
from .media import PREROLL, Media

if TYPE_CHECKING:
    from soundfile import SoundFile

OVERSHOOT: Seconds = 0.5  # of a segment's end over the recording's: as Kaldi's extract-segments
LOUDEST = 1 << 32  # of full scale: more is no loudness, and overflows in sums of squares
HIGHEST_RATE, MOST_CHANNELS = 192_000, 8  # of what `decode` takes
LONGEST = 1 << 40  # samples: a header with more does not know how many there are


@dataclass(frozen=True)
class AudioInfo:
    """What a recording is, before it is decoded."""

    rate: int  # Hz
    channels: int
    frames: int  # samples of one channel
    container: str  # "WAV", "FLAC", ...; "ark", "pipe" or "segment" of what is no file of its own

    @property
    def duration(self) -> Seconds:
        """Of the recording, or of the part."""
        return self.frames / self.rate

    @property
    def usable_in_place(self) -> bool:
        """Whether training can read the file as it is: 16 kHz, mono, WAV or FLAC."""
        return (
            self.rate == SAMPLE_RATE
            and self.channels == 1
            and self.container in ("WAV", "WAVEX", "FLAC")
        )


def info(source: str | Path, allow_pipes: bool = False) -> AudioInfo:
    """Rate, channels and frames, from headers (a command is run).

    Raises AudioError when the file is missing, empty, not audio, or shorter than its header says (a
    FLAC cut short is found when it is decoded), for a part that is not in its recording, and for a
    command, unless `allow_pipes`."""
    with opened(source, allow_pipes) as recording:
        return recording.info


def read_mono_16k(source: str | Path, allow_pipes: bool = False) -> np.ndarray:
    """Decode a recording: float32 (N,) at 16 kHz, channels averaged, resampled when needed.

    Raises AudioError as `read_mono` does."""
    samples, found = read_mono(source, allow_pipes)
    return resample(samples, found.rate)


def read_mono(source: str | Path, allow_pipes: bool = False) -> tuple[np.ndarray, AudioInfo]:
    """Decode a recording at its own rate: float32 (N,), channels averaged; and what it was.

    Raises AudioError as `info` does, for fewer samples than promised, and for NaN or infinity."""
    with opened(source, allow_pipes) as recording:
        return recording.read(), recording.info


class Recording:
    """A recording, or a part of one, open: `info` is known, samples are not yet decoded."""

    def __init__(self, source: sources.Source, sound: SoundFile | Media, container: str):
        self._name, self._sound, self._channel = source.value, sound, source.channel
        self._first, frames = _part(source, sound.frames / sound.samplerate, sound)
        if frames <= 0:
            raise AudioError("empty: a header and no samples")
        if sound.frames > LONGEST:
            raise AudioError("the header does not say how long it is: write it as WAV")
        container = container if source.kind == "file" else source.kind
        self.info = AudioInfo(sound.samplerate, sound.channels, frames, container)

    def read(self) -> np.ndarray:
        """All samples: float32 (N,), channels averaged."""
        import soundfile

        try:
            before = min(self._first, PREROLL)
            self._sound.seek(self._first - before)
            samples = self._sound.read(before + self.info.frames, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise AudioError(
                f"{self._name}: truncated or damaged: decoding fails ({error})"
            ) from error
        samples = samples[before:]
        if len(samples) < self.info.frames:
            raise AudioError(
                f"{self._name}: truncated: the header promises {self.info.frames} samples, "
                f"{len(samples)} are there"
            )
        if not (peak := np.abs(samples).max(initial=0.0)) < LOUDEST:
            what = f"as large as {peak:.3g}" if np.isfinite(peak) else "that are not numbers"
            what += " (full scale is 1)" if np.isfinite(peak) else " (NaN or infinity)"
            raise AudioError(f"{self._name}: holds samples {what}")
        return samples.mean(axis=1) if self._channel is None else samples[:, self._channel].copy()


def decode(data: bytes, longest: Seconds) -> np.ndarray:
    """The bytes of an audio file from anywhere to float32 (N,) at 16 kHz, channels averaged. What
    would be longer than `longest` is refused before its samples fill the memory.

    Raises AudioError as `read_mono` does."""
    with tempfile.NamedTemporaryFile(prefix="audio-") as file:  # decoders know files best
        file.write(data)
        file.flush()
        try:
            with opened(file.name, longest=longest) as recording:
                _check_size(recording.info, longest)
                return resample(recording.read(), recording.info.rate)
        except AudioError as error:
            what = str(error).replace(f"{file.name}: ", "")
            raise AudioError(f"the audio: {what}") from error


def _check_size(found: AudioInfo, longest: Seconds) -> None:
    """A FLAC of silence is some bytes a second, of any rate and number of channels."""
    if found.duration > longest:
        raise AudioError(f"{found.duration:.1f} s long, {longest:g} s are allowed")
    if found.rate > HIGHEST_RATE or found.channels > MOST_CHANNELS:
        raise AudioError(
            f"{found.channels} channels at {found.rate} Hz: at most {MOST_CHANNELS} and "
            f"{HIGHEST_RATE} Hz are allowed"
        )


@contextmanager
def opened(
    source: str | Path, allow_pipes: bool = False, longest: Seconds | None = None
) -> Iterator[Recording]:
    """A recording that is looked at and then perhaps read: a command is run once. longest: beyond
    this no packets are counted (default: data/media.LONGEST).

    Raises AudioError as `info` and `Recording.read` do."""
    import soundfile

    found = sources.parse(str(source))
    with ExitStack() as stack:
        try:
            file = _bytes_of(found, allow_pipes, stack)
            sound, container = _decoder(found, file, longest)
            recording = Recording(found, stack.enter_context(sound), container)
        except AudioError as error:
            raise AudioError(f"{source}: {error}") from error
        except (soundfile.LibsndfileError, UnicodeEncodeError) as error:
            raise AudioError(f"{source}: not audio that can be read") from error
        yield recording


def resample(samples: np.ndarray, rate: float, to: float = SAMPLE_RATE) -> np.ndarray:
    """(N,) at `rate` Hz to float32 (N * to / rate,) at `to` Hz."""
    if rate == to:
        return samples
    import soxr

    return soxr.resample(samples.astype(np.float32), rate, to, quality="HQ")


def write_audio(
    path: str | Path, samples: np.ndarray, rate: int = SAMPLE_RATE, comment: str | None = None
) -> None:
    """Write (N,) floats in [-1, 1] as 16-bit FLAC or WAV (by suffix), atomically.

    comment: see `encode_audio`.

    Encoded in memory first: a full disk is then an ordinary OSError."""
    encoded = encode_audio(samples, Path(path).suffix[1:], rate, comment)
    with atomic_write(path, "wb") as out:
        out.write(encoded)


def encode_audio(
    samples: np.ndarray, container: str, rate: int = SAMPLE_RATE, comment: str | None = None
) -> bytes:
    """(N,) floats in [-1, 1] as a 16-bit FLAC or WAV file.

    comment: kept in its metadata (WAV: the chunk ICMT; FLAC: the tag COMMENT)."""
    import soundfile

    encoded = io.BytesIO()
    with soundfile.SoundFile(encoded, "w", rate, 1, "PCM_16", format=container.upper()) as out:
        if comment is not None:
            out.comment = comment
        out.write(np.clip(samples, -1.0, 1.0))
    return encoded.getvalue()


def read_comment(path: str | Path) -> str:
    """What the metadata of a WAV or FLAC file say as its comment; "" where they have none."""
    import soundfile

    with soundfile.SoundFile(path) as sound:
        return sound.comment


def _bytes_of(source: sources.Source, allow_pipes: bool, stack: ExitStack) -> containers.File:
    """The audio file that a source stands for, open; `stack` closes it.

    Errors: AudioError; OSError where the file system may answer at another time."""
    if source.command is not None:
        if not allow_pipes:
            raise AudioError(f"a command, which is run only with {pipes.OPTION}")
        return containers.in_memory(_output_of(source.command, source.state()))
    try:
        if not stat.S_ISREG(os.stat(source.path).st_mode):  # to open a pipe would wait for ever
            raise AudioError("a directory or a pipe, not a file")
        file = stack.enter_context(open(source.path, "rb"))
        size = os.fstat(file.fileno()).st_size
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) in MAY_PASS:
            raise
        raise AudioError(f"cannot be opened ({error})") from error
    if size == 0:
        raise AudioError("empty: 0 bytes")
    return file if source.offset is None else containers.ark_entry(file, source.offset)


@functools.lru_cache(maxsize=1)  # the segments of a recording come one after the other
def _output_of(command: str, state: str) -> bytes:
    """What a command writes while its files are in `state`."""
    try:
        return pipes.run(command)
    except pipes.PipeError as error:
        raise AudioError(str(error)) from error


def _decoder(
    source: sources.Source, file: containers.File, longest: Seconds | None = None
) -> tuple[SoundFile | Media, str]:
    """A SoundFile of it, and its format; what headers promise is compared with what is there.

    longest: beyond this the packets of a Media are not counted."""
    import soundfile

    magic = file.read(8)
    file.seek(0)
    if magic == b"NIST_1A\n":
        return _sphere_decoder(file), "NIST"
    ending = os.path.splitext(source.path)[1].lower()
    complete_file = source.path and source.offset is None and ending != ".raw"
    try:
        sound = soundfile.SoundFile(source.path if complete_file else _nameless(file))
    except soundfile.LibsndfileError:
        sound = None
    if sound is None:
        sound = Media(file, longest)
    elif sound.format == "MP3":
        counted = Media(file, longest)
        is_right = complete_file and sound.frames == counted.frames
        sound = sound if is_right else counted  # libsndfile decodes faster
    elif sound.format == "OGG":
        containers.check_ogg(file)
    else:
        containers.check_wav(file)
    return sound, sound.format


def _nameless(file: containers.File) -> containers.Range:
    """The same file, of whose name soundfile makes no format."""
    return containers.Range(file, 0, containers.size_of(file))


def _sphere_decoder(file: containers.File) -> SoundFile:
    import soundfile

    header = containers.read_sphere(file)
    return soundfile.SoundFile(
        containers.Range(file, header.begin, header.num_bytes),
        samplerate=header.rate,
        channels=header.channels,
        format="RAW",
        subtype=header.coding,
        endian=header.endian,
    )


def _part(source: sources.Source, duration: Seconds, sound: SoundFile | Media) -> tuple[int, int]:
    """The first sample of a source and the number of its samples, in its recording."""
    if source.channel is not None and source.channel >= sound.channels:
        raise AudioError(f"no channel {source.channel}: the recording has {sound.channels}")
    if not source.is_part:
        return 0, sound.frames
    end = duration if source.end is None else source.end
    if source.begin >= end and source.end is not None:
        raise AudioError(f"the segment ends at {end:g} s, before it begins")
    if source.begin >= duration or end > duration + OVERSHOOT:
        raise AudioError(
            f"the segment, {source.begin:g} to {end:g} s, is not in the recording, which has "
            f"{duration:.3f} s"
        )
    first = round(source.begin * sound.samplerate)
    return first, min(round(end * sound.samplerate), sound.frames) - first
