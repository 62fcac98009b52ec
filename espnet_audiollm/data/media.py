"""MP3, and recordings that libsndfile does not know (WebM and MP4 from browsers, AAC, AMR, ...), by
FFmpeg's libraries (PyAV).

libsndfile guesses the length of an MP3 without a Xing header, and reads no more than it guessed;
here packets are counted. Only open files are read: no address, no playlist, no other file that a
file names. FORMATS are the only containers tried."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from ..types import Seconds
from .containers import AudioError, File

if TYPE_CHECKING:
    import av

FORMATS = "mp3,matroska,webm,mov,mp4,m4a,3gp,aac,amr,asf,aiff,caf,ac3,eac3,wv,tta,ape"
LONGEST: Seconds = 24 * 3600.0  # a file of a few bytes can decode to years of silence
PREROLL = 16 * 1152  # samples decoded before a part: some coders look back
SLACK: Seconds = 0.5  # that a container's own length may differ from its packets'
_XING = re.compile(rb"\xff[\xe2-\xff].{11,38}?(?:Xing|Info)\0\0\0[\1-\xff](.{4})", re.DOTALL)


class Media:
    """A recording, read as a `soundfile.SoundFile` is: seek, then read.

    Raises AudioError for what is no audio, holds fewer packets than its header promises, or is
    longer than `longest` (default: LONGEST)."""

    def __init__(self, file: File, longest: Seconds | None = None):
        import av

        self._file, self._at = file, 0
        self._longest = LONGEST if longest is None else longest
        try:
            with self._open() as (container, stream):
                self.samplerate, self.channels = stream.rate, stream.channels
                self.format = container.format.name.split(",")[0].upper()
                unit = stream.time_base
                assert unit is not None  # seconds; FFmpeg gives every stream one
                self._tick = float(unit * stream.rate)  # samples
                self._is_exact = (1 / unit) % stream.rate == 0
                self._start = 0  # samples before the first that is decoded: a coder's delay
                self.frames = self._count(container, stream)
        except av.FFmpegError as error:
            raise AudioError(f"not audio that can be read ({error.strerror})") from error

    def __enter__(self) -> Media:
        return self

    def __exit__(self, *error: object) -> None:
        """The file is its opener's to close."""

    def seek(self, frame: int) -> None:
        """Where the next `read` begins."""
        self._at = frame

    def read(self, frames: int, **ignored: object) -> np.ndarray:
        """Up to `frames` samples, float32 (N, channels). RuntimeError where decoding fails."""
        import av

        pieces: list[np.ndarray] = [np.zeros((0, self.channels), np.float32)]
        begin, end = self._at, min(self._at + frames, self.frames)
        try:
            with self._open() as (container, stream):
                for at, frame in self._decoded(container, stream, max(0, begin - PREROLL)):
                    if at >= end:
                        break
                    pieces.append(_samples(frame)[max(0, begin - at) : end - at])
        except av.FFmpegError as error:
            raise RuntimeError(error.strerror) from error
        return np.concatenate(pieces)

    @contextmanager
    def _open(self) -> Iterator[tuple[av.container.InputContainer, av.AudioStream]]:
        import av

        options = {"format_whitelist": FORMATS, "protocol_whitelist": "none"}
        self._file.seek(0)
        with av.open(self._file, "r", options=options) as container:
            if not container.streams.audio:
                raise AudioError("there is no audio in it")
            yield container, container.streams.audio[0]

    def _decoded(
        self, container: av.container.InputContainer, stream: av.AudioStream, begin: int
    ) -> Iterator[tuple[int, av.AudioFrame]]:
        """(its first sample, frame) from `begin` on, or from some place before."""
        at = 0
        for packet in container.demux(stream):
            if self._is_exact and packet.pts is not None:
                if (packet.pts + (packet.duration or 0)) * self._tick - self._start < begin:
                    continue
            for frame in packet.decode():
                if self._is_exact and frame.pts is not None:
                    at = round(frame.pts * self._tick) - self._start
                yield at, frame
                at += frame.samples

    def _count(self, container: av.container.InputContainer, stream: av.AudioStream) -> int:
        """Samples: as promised where all packets are there, else as many as these hold."""
        if not self._is_exact:
            return self._count_decoded(container.duration or 0)
        packets, first, last = 0, None, None
        decoded: list[av.AudioFrame] = []
        for packet in container.demux(stream):
            if packet.size:
                packets, first, last = packets + 1, first or packet, packet
                decoded = decoded or packet.decode()
        if first is None or last is None or not decoded:
            raise AudioError("empty: a header and no samples")
        self._start = round((decoded[0].pts or 0) * self._tick)
        promised = stream.frames or self._promised_by_xing(first)
        if promised > packets + 1:  # some writers of Xing headers count the header
            raise AudioError(
                f"truncated: the header promises {promised} frames, {packets} are there"
            )
        if last.is_corrupt or (self.format == "MP3" and _is_cut(last)):
            raise AudioError(f"truncated: the last frame is cut, after {last.size} bytes")
        if promised and stream.duration is not None:
            return self._checked(round(stream.duration * self._tick))
        end = (last.pts or 0) + (last.duration or 0)
        return self._checked(round(end * self._tick) - self._start)

    def _count_decoded(self, microseconds: int) -> int:
        """Where times are in milliseconds only. microseconds: promised; 0: nothing is."""
        total = 0
        with self._open() as opened:
            for at, frame in self._decoded(*opened, 0):
                total = self._checked(at + frame.samples)
        promised = microseconds / 1e6
        if total / self.samplerate < promised - SLACK:
            raise AudioError(
                f"truncated: the header promises {promised:.3f} s, "
                f"{total / self.samplerate:.3f} s are there"
            )
        return total

    def _promised_by_xing(self, first: av.Packet) -> int:
        """Frames, by the header before the first; 0: there is none."""
        if self.format != "MP3" or not first.pos:
            return 0
        self._file.seek(max(0, first.pos - 2048))
        found = _XING.search(self._file.read(min(first.pos, 2048)))
        return int.from_bytes(found[1], "big") if found else 0

    def _checked(self, samples: int) -> int:
        if samples > self._longest * self.samplerate:
            raise AudioError(f"longer than {self._longest:g} s, which are allowed")
        return samples


def _is_cut(packet: av.Packet) -> bool:
    """Whether the last packet of an MP3 is not a full frame."""
    import av

    return not av.CodecContext.create("mp3", "r").parse(bytes(packet))


def _samples(frame: av.AudioFrame) -> np.ndarray:
    """float32 (N, channels)."""
    samples: np.ndarray = frame.to_ndarray()
    samples = samples.T if frame.format.is_planar else samples.reshape(frame.samples, -1)
    if samples.dtype.kind == "i":
        samples = samples / np.float32(-np.iinfo(samples.dtype).min)
    return samples.astype(np.float32)
