"""The page that raters open: one file, with its audio, that loads nothing and knows no system.

What systems answered is not trusted: it travels as JSON without a "<", reaches the document as text
only, and a Content-Security-Policy lets nothing but our own script run and nothing be fetched."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from importlib.resources import files

import numpy as np

from ... import __version__
from ...types import SAMPLE_RATE

TITLE = "Do these answers agree?"
BRIEF = """\
Each item is a spoken question. Below it stand a reference response and the answers of several \
systems, which are not named and change places from item to item.

Say of each answer whether it agrees with the reference. Yes: whoever asked learns the same from \
it. It may be shorter, longer, or worded in another way. No: it contradicts the reference, misses \
what was asked, answers another question, or cannot be understood.

Judge each answer by itself; both may agree, or none. Do not look anything up: where the reference \
seems wrong to you, go by the reference all the same, and say so in the comment."""
MP3_COMPRESSION = 0.7  # of libsndfile, variable rate: about 40 kbit/s for speech at 16 kHz


@dataclass(frozen=True)
class Shown:
    """What raters see and hear of an item."""

    audio: str  # data URI
    transcript: str  # "": there is none
    reference: str
    accepted: tuple[str, ...]  # answers that the test set accepts; () where it says nothing
    answers: tuple[str, ...]


def audio_uri(samples_N: np.ndarray, container: str) -> str:
    """16 kHz mono samples as a data URI. "mp3" plays in every browser and is a seventh of "wav",
    which keeps every sample."""
    import soundfile

    encoded = io.BytesIO()
    if container == "mp3":
        soundfile.write(
            encoded,
            samples_N,
            SAMPLE_RATE,
            "MPEG_LAYER_III",
            format="MP3",
            compression_level=MP3_COMPRESSION,
            bitrate_mode="VARIABLE",
        )
    else:
        soundfile.write(encoded, np.clip(samples_N, -1.0, 1.0), SAMPLE_RATE, "PCM_16", format="WAV")
    kind = {"mp3": "mpeg", "wav": "wav"}[container]
    return f"data:audio/{kind};base64,{base64.b64encode(encoded.getvalue()).decode('ascii')}"


def page_id(items: Sequence[Shown]) -> str:
    """Of what is judged: the same items in the same order have the same id, whatever the title."""
    return hashlib.sha256(_json([asdict(item) for item in items]).encode()).hexdigest()[:16]


def page(items: Sequence[Shown], title: str = TITLE, brief: str = BRIEF) -> str:
    """The whole file. `brief` is plain text for the raters, paragraphs between empty lines."""
    data = {
        "page": page_id(items),
        "version": __version__,
        "brief": [" ".join(part.split()) for part in re.split(r"\n\s*\n", brief.strip())],
        "items": [asdict(item) for item in items],
    }
    style, script = _asset("page.css"), _asset("page.js")
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; media-src data:; "
        f"style-src {_hash(style)}; script-src {_hash(script)}"
    )
    parts = {
        "TITLE": escape(title),
        "POLICY": escape(policy, quote=False),
        "STYLE": style,
        "SCRIPT": script,
        "DATA": _json(data),
    }
    return re.sub(r"@([A-Z]+)@", lambda found: parts[found[1]], _asset("page.html"))


def _json(value: object) -> str:
    """JSON that can stand in an HTML page: "<", ">" and "&" only as escapes."""
    text = json.dumps(value, ensure_ascii=True, sort_keys=True)
    return re.sub("[<>&]", lambda found: f"\\u{ord(found[0]):04x}", text)


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return f"'sha256-{digest}'"
