"""What a report consists of: parts (a test set, the trainings, …) of sections.

A section is the same in RESULTS.md and in report.html; how it looks is theirs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .tables import Table, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Card:
    """A number that one sees first."""

    title: str
    value: str
    detail: str


@dataclass(frozen=True)
class Picture:
    """A figure that is drawn when the report is written."""

    name: str  # of its file in images/, without the suffix
    alt: str  # what it shows, for whoever cannot see it
    draw: Callable[[], Figure]


@dataclass(frozen=True)
class Section:
    """A heading with tables, notes and pictures."""

    title: str
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    aside: bool = False  # for few: the page shows its title, and the rest when asked


@dataclass(frozen=True)
class Part:
    """The sections of one test set, or of one subject."""

    title: str
    sections: tuple[Section, ...]


def pictures(parts: Sequence[Part]) -> list[Picture]:
    """All pictures of the report, in order."""
    return [p for part in parts for section in part.sections for p in section.pictures]


def markdown(parts: Sequence[Part]) -> str:
    """The parts for RESULTS.md; pictures are beside it, in images/."""
    return "\n\n".join(text for part in parts for text in _part(part))


def _part(part: Part) -> list[str]:
    texts = [f"## {plain(part.title)}"]
    for number, section in enumerate(part.sections):
        if number:
            texts.append(f"### {plain(section.title)}")
        texts += [table.markdown() for table in section.tables]
        texts += [f"![{_in_brackets(p.alt)}](images/{p.name}.png)" for p in section.pictures]
        texts += map(plain, section.notes)
    return texts


def _in_brackets(alt: str) -> str:
    """Without what would end the name of a Markdown picture."""
    return plain(alt).replace("[", "(").replace("]", ")")
