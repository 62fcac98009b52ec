"""The page that raters open: one file, with its audio, that loads nothing and knows no system."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape

from ... import __version__
from ..embed import asset, fill, json_text, script_of

TITLE = "Do these answers agree?"
BRIEF = """\
Each item is a spoken question. Below it stand a reference response and the answers of several \
systems, which are not named and change places from item to item.

Say of each answer whether it agrees with the reference. Yes: whoever asked learns the same from \
it. It may be shorter, longer, or worded in another way. No: it contradicts the reference, misses \
what was asked, answers another question, or cannot be understood.

Judge each answer by itself; both may agree, or none. Do not look anything up: where the reference \
seems wrong to you, go by the reference all the same, and say so in the comment."""


@dataclass(frozen=True)
class Shown:
    """What raters see and hear of an item."""

    audio: str  # data URI
    transcript: str  # "": there is none
    reference: str
    accepted: tuple[str, ...]  # answers that the test set accepts; () where it says nothing
    answers: tuple[str, ...]


def page_id(items: Sequence[Shown]) -> str:
    """Of what is judged: the same items in the same order have the same id, whatever the title."""
    return hashlib.sha256(json_text([asdict(item) for item in items]).encode()).hexdigest()[:16]


def page(items: Sequence[Shown], title: str = TITLE, brief: str = BRIEF) -> str:
    """The complete file. `brief` is plain text for the raters, paragraphs between empty lines."""
    data = {
        "page": page_id(items),
        "version": __version__,
        "brief": [" ".join(part.split()) for part in re.split(r"\n\s*\n", brief.strip())],
        "items": [asdict(item) for item in items],
    }
    parts = {"TITLE": escape(title), "DATA": json_text(data)}
    style, script = asset(__package__, "page.css"), script_of(__package__, "page.js")
    return fill(__package__, "page.html", style, script, parts)
