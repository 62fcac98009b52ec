"""The page to talk to the model: microphone, files and text; one answer after the other.

It is one document with its style and script in it. The server that gives it is all that it talks
to: nothing else is fetched, and its Content-Security-Policy allows nothing else.
"""

from __future__ import annotations

from html import escape

from ...report.embed import asset, fill, json_text

SOURCES = "img-src data:; media-src blob:; connect-src 'self'"
SCRIPTS = ("audio.js", "requests.js", "page.js")


def chat_page(token: bool, recogniser: bool) -> str:
    """The document. token: clients must show one. recogniser: the server transcribes."""
    settings = {"token": token, "recogniser": recogniser}
    parts = {"TITLE": "Talk to the model", "SETTINGS": escape(json_text(settings), quote=False)}
    style, script = asset(__package__, "page.css"), asset(__package__, *SCRIPTS)
    return fill(__package__, "page.html", style, script, parts, SOURCES)
