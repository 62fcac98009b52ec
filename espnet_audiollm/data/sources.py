"""What may stand in wav.scp after an id: where a recording, or a part of one, comes from.

    /corpus/a.flac                  a file
    /corpus/raw.ark:1234            an entry of a Kaldi ark, by its place in bytes
    sph2pipe -f wav /corpus/a.sph | a command that writes audio, run only where that is allowed
    /corpus/a.flac#t=1.25,3.5       a part of any of these, in seconds ("#t=1.25," to the end;
                                    "&channel=1" after it takes the second channel only)

A file whose name looks like one of the other forms is a file. The form of a part is that of W3C
media fragments; data/segments.py makes it from a Kaldi `segments` table."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from urllib.parse import quote

from ..types import Seconds
from . import pipes

_PART = re.compile(r"#t=(\d+(?:\.\d+)?),(\d+(?:\.\d+)?)?(?:&channel=(\d+))?$")
_ARK = re.compile(r"(.+):(\d+)$", re.DOTALL)


@dataclass(frozen=True)
class Source:
    """A value of wav.scp, taken apart."""

    value: str  # as it stands in wav.scp
    path: str = ""  # "": a command
    offset: int | None = None  # bytes, of an entry of an ark; None: the complete file
    command: str | None = None  # without the "|" at its end
    begin: Seconds = 0.0
    end: Seconds | None = None  # None: the recording's
    channel: int | None = None  # from 0; None: all, averaged
    is_part: bool = False

    @property
    def kind(self) -> str:
        """ "file", "ark", "pipe" or "segment"."""
        if self.is_part:
            return "segment"
        if self.command is not None:
            return "pipe"
        return "file" if self.offset is None else "ark"

    @property
    def files(self) -> list[str]:
        """The files that it is made of."""
        return [self.path] if self.command is None else pipes.files(self.command)

    def state(self) -> str:
        """Of its files: sizes and times of change. Raises OSError when one is missing."""
        return "".join(f"\0{s.st_size}\0{s.st_mtime_ns}" for s in map(os.stat, self.files))

    def stamp(self) -> str:
        """A line that changes when the source or its files do."""
        return f"{self.value}{self.state()}\n"


def parse(value: str) -> Source:
    """The source that a value of wav.scp stands for. Looks at the disk only for what could be
    either a file's name or another form."""
    found = _PART.search(value)
    if found and not os.path.exists(value):
        begin, end, channel = found.groups()
        return Source(
            value,
            *_place(value[: found.start()]),
            begin=float(begin),
            end=float(end) if end else None,
            channel=int(channel) if channel else None,
            is_part=True,
        )
    return Source(value, *_place(value))


def part(value: str, begin: str, end: str = "", channel: str = "") -> str:
    """The value for a part of `value`; times are digits, in seconds."""
    return f"{value}#t={begin},{end}" + (f"&channel={channel}" if channel else "")


def file_name(id_: str, ending: str = ".flac", state: str = "") -> str:
    """Of an utterance's recording in audio/: XX/ID.DIGITS.flac; an id never becomes a path ("../x",
    or 300 bytes long). state: what it is made from, so that a file that exists is the right one."""
    digest = hashlib.sha256((state or id_).encode()).hexdigest()
    return f"{digest[:2]}/{quote(id_, safe='')[:150]}.{digest[:12]}{ending}"


def _place(value: str) -> tuple[str, int | None, str | None]:
    """Path, offset and command."""
    if value.endswith("|") or value.startswith("|"):
        return "", None, value.removesuffix("|").strip()
    found = _ARK.match(value)
    if found and not os.path.exists(value):
        return found[1], int(found[2]), None
    return value, None, None
