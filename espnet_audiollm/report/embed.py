"""One HTML file with everything in it: nothing is fetched, and no text of others is trusted.

What people said and systems answered travels as JSON without a "<", reaches the document as text
only, and a Content-Security-Policy lets nothing but our own script run and nothing be fetched."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Mapping
from html import escape
from importlib.resources import files

import numpy as np

from ..types import SAMPLE_RATE

MP3_COMPRESSION = 0.7  # of libsndfile, variable rate: about 40 kbit/s for speech at 16 kHz


SOURCES = "img-src data:; media-src data:"  # of a file that has everything in it


def fill(
    package: str,
    body: str,
    style: str,
    script: str,
    parts: Mapping[str, str],
    sources: str = SOURCES,
) -> str:
    """A page: frame.html around the file `body` of a package, with base.css before its own style.

    style, script: texts. parts: HTML by the name of its place, @NAME@. Nothing that is put in is
    searched for further places. sources: what the page's policy lets it load."""
    style = f"{asset(__package__, 'base.css')}\n{style}"
    policy = (
        f"default-src 'none'; base-uri 'none'; form-action 'none'; {sources}; "
        f"style-src {_hash(style)}; script-src {_hash(script)}"
    )
    places = {"STYLE": style, "SCRIPT": script, "POLICY": escape(policy, quote=False), **parts}
    frame = asset(__package__, "frame.html").replace("@BODY@", asset(package, body))
    return re.sub(r"@([A-Z]+)@", lambda found: places[found[1]], frame)


def asset(package: str, *names: str) -> str:
    """Files of a package, one after the other."""
    return "\n".join(files(package).joinpath(name).read_text(encoding="utf-8") for name in names)


def script_of(package: str, *names: str) -> str:
    """Scripts of a package, after elements.js, which they make elements with."""
    return f"{asset(__package__, 'elements.js')}\n{asset(package, *names)}"


def json_text(value: object) -> str:
    """JSON that can stand in an HTML page: "<", ">" and "&" only as escapes."""
    text = json.dumps(value, ensure_ascii=True, sort_keys=True)
    return re.sub("[<>&]", lambda found: f"\\u{ord(found[0]):04x}", text)


def data_uri(kind: str, content: bytes) -> str:
    """The content as a URI that a page can hold; kind: its media type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


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
    return data_uri({"mp3": "audio/mpeg", "wav": "audio/wav"}[container], encoded.getvalue())


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return f"'sha256-{digest}'"
