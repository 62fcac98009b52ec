"""The complete report.html, from the parts of the report, its pictures and its utterances."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from ..contents import Card, Part, Picture, Section
from ..embed import asset, fill, json_text, script_of
from ..tables import Origin, Table

COUNTED = re.compile(r"([<>]? ?[-+.\de]+) ([(\[].*[)\]])")
LONG = 45  # characters of a cell: from here on it is text, which wraps
SCRIPTS = ("tables.js", "card.js", "browse.js")


@dataclass(frozen=True)
class Browsable:
    """The utterances of a test set, and their recordings."""

    listing: dict  # of utterances.listing
    sounds: Mapping[str, str] = field(default_factory=dict)  # {id: data URI}


def page(
    made: Origin,
    cards: Sequence[Card],
    parts: Sequence[Part],
    drawn: Mapping[str, str],
    browsables: Sequence[Browsable],
) -> str:
    """`drawn`: the data URI of each picture by its name. All text is escaped here."""
    anchors = [f"part-{number}" for number in range(len(parts))]
    sections = [
        _part(part, anchor, drawn, folded=number > 0)
        for number, (part, anchor) in enumerate(zip(parts, anchors, strict=True))
    ]
    links = [(anchor, part.title) for anchor, part in zip(anchors, parts, strict=True)]
    if browsables:
        links.append(("utterances", "Utterances"))
    filled = {
        "TITLE": escape(f"Results: {made.recipe}"),
        "MADE": _made(made),
        "LLM": escape(made.llm),
        "DATE": escape(made.date),
        "NAV": "".join(f'<a href="#{to}">{escape(title)}</a>' for to, title in links),
        "CARDS": f'<ul class="cards">{"".join(map(_card, cards))}</ul>' if cards else "",
        "PARTS": "\n".join(sections),
        "LAST": links[-1][0],
        "LASTTITLE": escape(links[-1][1]),
        "UTTERANCES": asset(__package__, "utterances.html") if browsables else "",
        "DATA": json_text([browsable.listing for browsable in browsables]),
        "SOUNDS": "\n".join(_sounds(number, b) for number, b in enumerate(browsables)),
    }
    script = script_of(__package__, *SCRIPTS)
    return fill(__package__, "report.html", asset(__package__, "report.css"), script, filled)


def _made(made: Origin) -> str:
    rows = {
        "command": f"<code>{escape(made.command)}</code>",
        "LLM": f"<code>{escape(made.llm)}</code>",
        "versions": escape(made.versions),
        "git commit": escape(made.commit),
        "date": escape(made.date),
    }
    return "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows.items())


def _card(card: Card) -> str:
    return (
        f'<li><span class="what">{escape(card.title)}</span>'
        f'<span class="value">{escape(card.value)}</span>'
        f'<span class="hint">{escape(card.detail)}</span></li>'
    )


def _part(part: Part, anchor: str, drawn: Mapping[str, str], folded: bool) -> str:
    sections = [
        _section(section, drawn, is_open=number == 0 or not (folded or section.aside))
        for number, section in enumerate(part.sections)
    ]
    return (
        f'<section id="{anchor}"><h2>{escape(part.title)}</h2>\n'
        + "\n".join(sections)
        + "</section>"
    )


def _section(section: Section, drawn: Mapping[str, str], is_open: bool) -> str:
    tables = "\n".join(table_html(table, section.title) for table in section.tables)
    figures = "".join(_figure(picture, drawn) for picture in section.pictures)
    notes = "".join(f"<p>{escape(note)}</p>" for note in section.notes)
    notes = f'<div class="notes hint">{notes}</div>' if notes else ""
    opened = " open" if is_open else ""
    return (
        f'<details class="card"{opened}><summary><h3>{escape(section.title)}</h3>'
        f'</summary>\n{tables}\n<div class="below">{figures}{notes}</div></details>'
    )


def _figure(picture: Picture, drawn: Mapping[str, str]) -> str:
    return (
        f'<figure><img src="{drawn[picture.name]}" alt="{escape(picture.alt)}">'
        f"<figcaption>{escape(picture.alt)}</figcaption></figure>"
    )


def table_html(table: Table, name: str) -> str:
    """A table whose head sorts it, in a box that scrolls sideways where it is too wide."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.header)
    of_texts = any(len(cell) >= LONG for row in table.rows for cell in row)
    kind = ' class="texts"' if of_texts else ""
    rows = "\n".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td>{_cell(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in table.rows
    )
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{escape(name)}"><table{kind}>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody></table></div>"
    )


def _cell(text: str) -> str:
    """A number, with its counts or its interval small beside it."""
    found = COUNTED.fullmatch(text)
    return f"{escape(found[1])} <small>{escape(found[2])}</small>" if found else escape(text)


def _sounds(test_set: int, browsable: Browsable) -> str:
    """Each recording by itself: what nobody listens to is not even parsed."""
    places = {item["id"]: item["place"] for item in browsable.listing["utterances"]}
    return "\n".join(
        f'<script type="text/plain" id="sound-{test_set}-{places[id]}">{uri}</script>'
        for id, uri in browsable.sounds.items()
    )
