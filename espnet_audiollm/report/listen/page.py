"""A page to listen to utterances and read what is said in them: one file, with its audio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from html import escape

from ..embed import asset, fill, json_text


@dataclass(frozen=True)
class Item:
    """An utterance as the page shows it."""

    id: str
    speaker: str
    text: str | None  # None: there is no transcript
    audio: str  # data URI; "": it could not be read
    peaks: tuple[int, ...]  # loudest sample of each of equal parts, 0 to 100 (full scale)
    facts: tuple[str, ...]  # "16 kHz WAV", ...; warnings end in "!"
    seconds: float = 0.0  # of the audio on the page
    reason: str = ""  # why it is here
    trouble: str = ""  # why it cannot be played
    more: dict[str, str] = field(default_factory=dict)  # its values in further tables


def page(items: Sequence[Item], title: str, about: str) -> str:
    """The complete file. `about`: which utterances these are."""
    parts = {
        "TITLE": escape(title),
        "ABOUT": escape(about),
        "DATA": json_text([asdict(item) for item in items]),
    }
    style, script = asset(__package__, "page.css"), asset(__package__, "page.js")
    return fill(__package__, "page.html", style, script, parts)
