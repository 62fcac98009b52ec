"""How long an MP3 is. Without a Xing header libsndfile guesses from the first frame, and reads no
more than it guessed: a stream of variable rate loses its end. So frames are counted (a frame says
how long it is, ISO 11172-3, 2.4.2.3), and a header is put before streams that have none."""

from __future__ import annotations

from dataclasses import dataclass

from .containers import AudioError

_KBITS = {  # version 1 or 2, layer: kbit/s by the index in the header, from 1
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_NOT_FRAMES = (b"TAG", b"APE", b"ID3", b"LYR")  # what stands after the last frame


@dataclass(frozen=True)
class Frame:
    """What four bytes say of a frame."""

    version: int  # 3: MPEG-1, 2: MPEG-2, 0: MPEG-2.5
    layer: int
    rate: int  # Hz
    size: int  # bytes
    mono: bool

    @property
    def samples(self) -> int:
        if self.layer == 1:
            return 384
        return 1152 if self.version == 3 or self.layer == 2 else 576

    @property
    def side_info(self) -> int:
        """Bytes between the four and what a Xing header says."""
        return (17 if self.mono else 32) if self.version == 3 else (9 if self.mono else 17)

    def alike(self, other: Frame | None) -> bool:
        return other is not None and (self.version, self.layer, self.rate) == (
            other.version,
            other.layer,
            other.rate,
        )


@dataclass(frozen=True)
class Counted:
    begin: int  # bytes: where the first frame is
    first: Frame
    frames: int  # of audio
    promised: int | None  # frames, by a Xing header; None: there is none


def parse_frame(head: bytes) -> Frame | None:
    """Of the first four bytes of a frame; None for others, and for free bit rates."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bits, rate = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or bits in (0, 15) or rate == 3:
        return None
    hertz, padding = _RATES[version][rate], head[2] >> 1 & 1
    kbits = _KBITS[1 if version == 3 else 2, layer][bits - 1]
    if layer == 1:
        size = (12_000 * kbits // hertz + padding) * 4
    else:
        samples = 1152 if version == 3 or layer == 2 else 576
        size = samples // 8 * 1000 * kbits // hertz + padding
    return Frame(version, layer, hertz, size, head[3] >> 6 == 3)


def count(stream: bytes) -> Counted | None:
    """The frames of a whole MP3 file; None when they cannot be walked through.

    Raises AudioError when the last frame is cut or a Xing header promises more."""
    at = _after_id3(stream)
    begin = _next(stream, at)
    if begin is None:
        return None
    at, first, frames = begin, parse_frame(stream[begin : begin + 4]), 0
    promised = _promised(stream, begin, first)
    while at < len(stream):
        frame = parse_frame(stream[at : at + 4])
        if not first.alike(frame):
            found = _next(stream, at, first)
            if stream[at : at + 3] in _NOT_FRAMES or found is None:
                break
            at = found
            continue
        if at + frame.size > len(stream):
            held = len(stream) - at
            raise AudioError(f"truncated: the last frame has {held} of {frame.size} bytes")
        at += frame.size
        frames += 1
    if promised is not None:
        frames -= 1  # the one that holds the header
        if frames + 1 < promised:  # some writers count that one
            raise AudioError(
                f"truncated: the header promises {promised} frames, {frames} are there"
            )
    return Counted(begin, first, frames, promised)


def with_header(stream: bytes, counted: Counted) -> bytes:
    """The stream with a frame before it that says how many frames there are."""
    first = counted.first
    head = bytearray(stream[counted.begin : counted.begin + 4])
    head[1] |= 1  # no checksum
    for bits in range(1, 15):  # the smallest frame that holds it
        head[2] = bits << 4 | head[2] & 0x0C
        size = parse_frame(bytes(head)).size
        if size >= 4 + first.side_info + 12:
            break
    says = b"Xing" + (1).to_bytes(4, "big") + counted.frames.to_bytes(4, "big")
    frame = bytes(head) + bytes(first.side_info) + says
    return frame.ljust(size, b"\0") + stream[counted.begin :]


def _after_id3(stream: bytes) -> int:
    if stream[:3] != b"ID3" or len(stream) < 10:
        return 0
    size = 0
    for byte in stream[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size


def _next(stream: bytes, at: int, like: Frame | None = None) -> int | None:
    """Where, from `at` on, two frames of a kind stand behind each other (or one ends the file)."""
    while 0 <= (at := stream.find(b"\xff", at)):
        frame = parse_frame(stream[at : at + 4])
        if frame and (like is None or like.alike(frame)):
            after = at + frame.size
            if after == len(stream) or frame.alike(parse_frame(stream[after : after + 4])):
                return at
        at += 1
    return None


def _promised(stream: bytes, begin: int, first: Frame) -> int | None:
    at = begin + 4 + first.side_info
    if stream[at : at + 4] in (b"Xing", b"Info") and stream[at + 7] & 1:
        return int.from_bytes(stream[at + 8 : at + 12], "big")
    return None
