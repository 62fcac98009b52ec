"""Figures as SVG that follows the reader's light or dark setting."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ...store.atomic import atomic_write
from ..contents import Picture
from ..embed import data_uri
from ..plots import COLOURS, GREY, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, LINES = "#eceef3", "#a4aaba"  # on a dark page
DARK = dict(
    zip(COLOURS, ("#5fd3a6", "#ff9c7e", "#9db7ff", "#e3a6c6", "#e6c25c", "#9fc0c9"), strict=True)
)
OPTIONS = {"svg.fonttype": "none", "svg.hashsalt": "report", "font.family": "sans-serif"}


def draw(pictures: Iterable[Picture], images: Path) -> dict[str, str]:
    """Write each picture as PNG into the directory `images`; {name: data URI} for the page."""
    drawn = {}
    for picture in pictures:
        figure = picture.draw()
        with atomic_write(images / f"{picture.name}.png", "wb") as out:
            save(figure, out)
        drawn[picture.name] = svg_uri(figure)
    return drawn


def svg_uri(figure: Figure) -> str:
    """A matplotlib figure as a data URI of an SVG picture with a transparent ground."""
    import matplotlib

    out = io.StringIO()
    with matplotlib.rc_context(OPTIONS):
        figure.savefig(
            out, format="svg", bbox_inches="tight", transparent=True, metadata={"Date": None}
        )
    text = out.getvalue()
    start = text.index(">", text.index("<svg")) + 1
    return data_uri("image/svg+xml", (text[:start] + _style() + text[start:]).encode())


def _style() -> str:
    """matplotlib gives each element its style, so these rules go by what is in it."""
    rules = [f"text {{ fill: {INK} !important }}"]
    for light, dark in {**DARK, GREY: LINES, "#000000": LINES}.items():
        rules += [
            f'[style*="{kind}: {light}"] {{ {kind}: {dark} !important }}'
            for kind in ("fill", "stroke")
        ]
    return (
        "<style>text { font-family: system-ui, sans-serif !important }\n"
        f"@media screen and (prefers-color-scheme: dark) {{ {' '.join(rules)} }}</style>"
    )
