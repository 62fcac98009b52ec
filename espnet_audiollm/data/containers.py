"""What the headers of audio files promise, where libsndfile does not look or guesses.

Each function takes a file that is open for reading in binary, at its beginning."""

from __future__ import annotations

import io
import os
import re
import struct
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

UNKNOWN_SIZE = 0x7FFFF000  # bytes: from here on a size in a WAV header means "streamed, not known"
MOST_RATE = 10_000_000  # Hz
MOST_CHANNELS = 1024  # libsndfile's limit
OGG_PAGE = 27 + 255 + 255 * 255  # bytes at most
SPHERE_CODINGS = {  # sample_coding, bytes of a sample: libsndfile's name
    ("pcm", 1): "PCM_S8",
    ("pcm", 2): "PCM_16",
    ("pcm", 3): "PCM_24",
    ("pcm", 4): "PCM_32",
    ("ulaw", 1): "ULAW",
    ("mu-law", 1): "ULAW",
    ("alaw", 1): "ALAW",
}


class AudioError(ValueError):
    """A recording that cannot be used; the message names the file and what is wrong with it."""


def in_memory(content: bytes) -> Range:
    """Bytes as a file."""
    return Range(io.BytesIO(content), 0, len(content))


class Range(io.RawIOBase):
    """Some bytes of a file as a file."""

    def __init__(self, file: File, begin: int, size: int):
        self._file, self._begin, self._size, self._at = file, begin, size, 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The place in the range (bytes)."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place in the range (bytes); returns it."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)  # libsndfile looks for FLAC frames before the file, too
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill the buffer; how many bytes were read."""
        self._file.seek(self._begin + self._at)
        view = memoryview(buffer)
        content = self._file.read(max(0, min(len(view), self._size - self._at)))
        view[: len(content)] = content
        self._at += len(content)
        return len(content)


File = IO[bytes] | Range


def size_of(file: File) -> int:
    """Bytes of a file, which is then at its beginning."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size


def check_wav(file: File) -> None:
    """libsndfile reads a WAV that was cut short without a word: compare sizes."""
    end = size_of(file)
    head = file.read(12)
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return
    while len(chunk := file.read(8)) == 8:
        name, size = struct.unpack("<4sI", chunk)
        if name == b"data":
            held = end - file.tell()
            if held < size < UNKNOWN_SIZE:
                raise AudioError(
                    f"truncated: the header promises {size} bytes of samples, {held} are there"
                )
            return
        file.seek(size + size % 2, os.SEEK_CUR)


def check_ogg(file: File) -> None:
    """libsndfile takes the last complete page for the end. A stream's last page says that it
    is the last (RFC 3533, section 6)."""
    size = size_of(file)
    file.seek(max(0, size - OGG_PAGE))
    tail = file.read()
    at = tail.rfind(b"OggS")
    while at >= 0:
        segments = tail[at + 27 : at + 27 + tail[at + 26]] if at + 27 <= len(tail) else b""
        if at + 27 + len(segments) + sum(segments) == len(tail):
            if tail[at + 5] & 4:
                return
            break
        at = tail.rfind(b"OggS", 0, at)
    raise AudioError("truncated: the stream breaks off before its last page")


# --- NIST SPHERE --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sphere:
    """How the samples of a NIST SPHERE file are to be read."""

    begin: int  # bytes
    frames: int  # samples of one channel
    channels: int
    rate: int  # Hz
    coding: str  # libsndfile's name
    endian: str  # "LITTLE" or "BIG"
    width: int  # bytes of a sample

    @property
    def num_bytes(self) -> int:
        """Of all samples."""
        return self.frames * self.channels * self.width


def read_sphere(file: File) -> Sphere:
    """The header of a NIST SPHERE file. Raises AudioError for compressed samples, and when there
    are fewer than promised."""
    size = size_of(file)
    magic, length = file.read(8), file.read(8)
    if magic != b"NIST_1A\n" or not length.strip().isdigit() or int(length) < 16:
        raise AudioError("damaged: a NIST SPHERE file without the length of its header")
    begin = int(length)
    text = file.read(begin - 16).decode("latin-1").split("end_head")[0]
    fields = {
        name: value.strip()
        for name, value in re.findall(r"^(\w+) -(?:i|r|s\d+) (.*)$", text, re.MULTILINE)
    }
    coding = fields.get("sample_coding", "pcm").lower()
    if "," in coding or coding in ("shorten", "wavpack"):
        raise AudioError(
            f"compressed ({coding}), which is not read: write it out with "
            "`sph2pipe -f wav FILE.sph FILE.wav`"
        )
    try:
        rate, frames = int(float(fields["sample_rate"])), int(fields["sample_count"])
        channels = int(fields.get("channel_count", 1))
        width = int(fields.get("sample_n_bytes", 1 if "law" in coding else 2))
    except (KeyError, ValueError, OverflowError) as error:
        raise AudioError(f"damaged: the NIST SPHERE header has no number for {error}") from error
    fits = 0 < rate <= MOST_RATE and 0 < channels <= MOST_CHANNELS
    if (coding, width) not in SPHERE_CODINGS or not fits:
        raise AudioError(
            f"samples of a kind that is not read: {coding}, {width} bytes, {channels} channels, "
            f"{rate} Hz"
        )
    endian = "BIG" if fields.get("sample_byte_format", "01").startswith("1") else "LITTLE"
    found = Sphere(begin, frames, channels, rate, SPHERE_CODINGS[coding, width], endian, width)
    if not 0 <= found.num_bytes <= size - begin:
        raise AudioError(
            f"truncated: the header promises {found.num_bytes} bytes of samples, "
            f"{max(0, size - begin)} are there"
        )
    return found


# --- Kaldi arks ---------------------------------------------------------------------------------


def ark_entry(file: File, offset: int) -> Range:
    """The audio of an ark's entry at `offset`, as kaldiio and Kaldi's wav-copy write it.

    Raises AudioError for what has no sample rate (matrices) and for pickled objects, which are
    never read."""
    size = size_of(file)
    if offset >= size:
        raise AudioError(f"the ark ends at byte {size}, before the entry")
    file.seek(offset)
    head = file.read(5)
    if head[:4] == b"RIFF":
        file.seek(offset + 4)
        length = 8 + int.from_bytes(file.read(4), "little")
        begin = offset
        if length >= UNKNOWN_SIZE:
            raise AudioError("an ark's entry whose header does not say how long it is")
    elif head == b"AUDIO":
        digits = int.from_bytes(file.read(1), "little")
        length = int.from_bytes(file.read(digits), "little")
        begin = file.tell()
    elif head[:4] == b"fLaC":
        begin, length = offset, size - offset
    elif head[:3] == b"PKL":
        raise AudioError("a pickled object, which is never read: write the ark again as audio")
    elif head[:3] == b"NPY" or head[:2] == b"\0B":
        raise AudioError("a matrix or vector of an ark, not audio: nothing says its sample rate")
    else:
        raise AudioError("not audio: the place in the ark is not where an entry begins")
    if begin + length > size:
        raise AudioError(
            f"truncated: the entry promises {length} bytes, {size - begin} are in the ark"
        )
    return Range(file, begin, length)
