"""The arguments that data/pipes.py gives to programs: what reading a recording needs, no more.

sox opens playlists, whose lines may be commands, and effects that load libraries; flac deletes its
input; ffmpeg has protocols, scripts and filters that open other files. So options, effects, types
and names of files are those listed here, and all output goes to the standard output."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

NAMES = re.compile(  # of recordings, by their endings: sox takes a type from it; no patterns
    r"(?![|~-])[^:*?\[\]{}]+\.(?:wav|wv1|wv2|sph|nist|flac|mp3|ogg|oga|opus|au|snd|aiff?|raw|pcm"
    r"|m4a|mp4|aac|webm|mka)",
    re.IGNORECASE | re.DOTALL,
)
TYPES = r"wav|sph|nist|flac|mp3|ogg|vorbis|opus|au|aiff?|raw|[su](8|16|24|32)|f(32|64)|ul|al|sw|ub"
NUMBER = r"[-+=]?\.?\d[\d.,:v-]*[a-z%]?"


FILE = "FILE"  # in place of a pattern


def _is_input(word: str) -> bool:
    return word == "-" or bool(NAMES.fullmatch(word))


@dataclass(frozen=True)
class Grammar:
    """A program's words, as patterns of complete words."""

    flags: str
    valued: Mapping[str, str] = field(default_factory=dict)  # option: what it takes
    effects: str = ""  # words that begin an effect; it takes numbers and flags of a letter
    inputs: bool = True  # files stand by themselves, not behind an option
    stdout: str = ""  # words for the standard output, which come after the files ("": none)
    needs: str = ""  # a flag without which it would write to a file

    def first_wrong(self, words: list[str]) -> str | None:
        """The first word that is not allowed, None where all are; what is missing at the end is
        blamed on the last one."""
        places: list[str] = []
        given, rest = set[str](), list(words)
        while rest:
            word = rest.pop(0)
            if word in self.valued:
                if not rest or not self._takes(word, rest[0]):
                    return rest[0] if rest else word
                rest.pop(0)
            elif self.effects and len(places) > 1 and re.fullmatch(self.effects, word):
                allowed = rf"{self.effects}|{NUMBER}|-[a-zA-Z]?"
                wrong = next((word for word in rest if not re.fullmatch(allowed, word)), None)
                return wrong or self._wrong_place(places, given, words)
            elif re.fullmatch(self.flags, word):
                given.add(word)
            elif re.fullmatch(self.stdout or "-", word) or (self.inputs and _is_input(word)):
                places.append(word)
            else:
                return word
        return self._wrong_place(places, given, words)

    def _takes(self, option: str, value: str) -> bool:
        pattern = self.valued[option]
        return _is_input(value) if pattern == FILE else bool(re.fullmatch(pattern, value))

    def _wrong_place(self, places: list[str], given: set[str], words: list[str]) -> str | None:
        last = words[-1] if words else ""
        if self.needs and not any(re.fullmatch(self.needs, flag) for flag in given):
            return last
        if self.stdout:
            return None if places and re.fullmatch(self.stdout, places[-1]) else last
        return places[1] if len(places) > 1 else None


SOX = Grammar(
    flags=r"-[GDRqLBxXN]|-V\d?|--norm(=-?[\d.]+)?|--(no-dither|ignore-length|no-show-progress)",
    valued={
        **dict.fromkeys(("-t", "--type"), TYPES),
        **dict.fromkeys(("-r", "-b", "-c", "-v", "--rate", "--bits", "--channels"), NUMBER),
        **dict.fromkeys(("-e", "--encoding", "--endian"), r"[a-z-]+"),
    },
    effects="remix|rate|channels|speed|tempo|trim|pad|gain|norm|vol|dither",
    stdout="-",
)
FFMPEG = Grammar(
    flags="-nostdin|-hide_banner|-nostats|-vn|-sn|-dn",
    valued={
        "-i": FILE,
        "-f": TYPES + r"|s16le|s24le|s32le|f32le|matroska|webm|mov|mp4",
        "-map": r"0(:a)?(:\d+)?",
        **dict.fromkeys(("-v", "-loglevel"), r"[a-z]+"),
        **dict.fromkeys(("-ss", "-t", "-to", "-ac", "-ar", "-threads"), NUMBER),
        **dict.fromkeys(("-acodec", "-c:a", "-codec:a", "-sample_fmt"), r"\w+"),
    },
    inputs=False,
    stdout="-|pipe:1?",
)
FLAC = Grammar(
    flags=r"-[cds0-8]+|--(silent|totally-silent|stdout|decode)|--(skip|until)=[\d:.+-]+",
    needs=r"-[ds0-8]*c[cds0-8]*|--stdout",
)
SPH2PIPE = Grammar(
    flags="-[pua]|-h",
    valued={"-f": "wav|raw|sph|au|aif|rif", "-c": "[12]", "-t": NUMBER, "-s": NUMBER},
)
GRAMMARS = {"sox": SOX, "ffmpeg": FFMPEG, "sph2pipe": SPH2PIPE, "flac": FLAC}
DEMUXERS = "wav,flac,mp3,ogg,aac,mov,matroska,nistsphere,au,aiff,s16le,s24le,s32le,f32le"


def hardened(words: list[str]) -> list[str]:
    """The words to execute. ffmpeg looks at contents: it is kept from scripts and playlists whose
    names are those of recordings."""
    if words[0] != "ffmpeg":
        return words
    found = [words[0]]
    for word in words[1:]:
        if word == "-i":
            found += ["-protocol_whitelist", "file,pipe", "-format_whitelist", DEMUXERS]
        found.append(word)
    return found
