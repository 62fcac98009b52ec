"""Combining data directories: what they hold side by side, their ids and speakers kept apart."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data import segments
from ..data.kaldi_dir import TableWriter, read_table
from ..data.layout import Layout, side_by_side
from ..data.validation import Findings, refuse
from ..store.atomic import new_directories
from ..store.tables import Row

SAME_ID = "ids that two of the directories have"
SAME_SPEAKER = "speakers that two of the directories have"
OTHER_VALUE = "ids that two of the directories have, with other values"


@dataclass(frozen=True)
class Source:
    """A directory to combine, and what goes before its ids, speakers and recordings."""

    layout: Layout
    prefix: str = ""

    def utterances(self) -> Iterator[tuple[str, dict[str, str]]]:
        """(id, {table: value}) with the prefix, in order."""
        for id_, values in side_by_side(self.layout):
            for name in ("utt2spk", segments.NAME) if self.prefix else ():
                if name in values:
                    values[name] = self.prefix + values[name]
            yield self.prefix + id_, values

    def rows(self, name: str) -> Iterator[Row]:
        """Of a table of recordings or speakers."""
        for id_, value in read_table(self.layout.directory / name):
            yield self.prefix + id_, value


def combine(
    sources: Sequence[Source],
    target: str | Path,
    same_speakers: bool = False,
    common_tables: bool = False,
) -> tuple[int, list[str]]:
    """Make the data directory `target`; returns the number of utterances, and its tables.

    same_speakers: a speaker that several directories have is one person. common_tables: a table
    of all utterances that not all directories have is left out. Raises ValueError for ids (and
    speakers) that come twice, all counted, and for tables that do not fit together."""
    if any(source.prefix.split() != [source.prefix] for source in sources if source.prefix):
        raise ValueError("a prefix has white space in it; ids are without")
    full, partial = _tables(sources, common_tables)
    clashes = _Clashes(sources, same_speakers)
    count, names = 0, full + partial
    with new_directories(target) as (place,):
        with TableWriter(place) as out:
            for id_, number, values in heapq.merge(*_numbered(sources)):
                if not clashes.found(id_, number, values["utt2spk"]):
                    out.add(id_, {name: values[name] for name in names if name in values})
                    count += 1
            for name in _further(sources):
                rows = heapq.merge(*(s.rows(name) for s in sources if name in s.layout.tables))
                for id_, value in clashes.unique(name, rows):
                    out.add(id_, {name: value})
                names.append(name)
        clashes.refuse()
    return count, names


def _numbered(sources: Sequence[Source]) -> list[Iterator[tuple[str, int, dict[str, str]]]]:
    def one(number: int, source: Source) -> Iterator[tuple[str, int, dict[str, str]]]:
        for id_, values in source.utterances():
            yield id_, number, values

    return [one(number, source) for number, source in enumerate(sources)]


def _tables(sources: Sequence[Source], common_tables: bool) -> tuple[list[str], list[str]]:
    """Names of the tables of all utterances, and of some, that the new directory will have."""
    layouts = [source.layout for source in sources]
    cut = [segments.NAME in found.utterances for found in layouts]
    if any(cut) and not all(cut):
        raise ValueError(
            f"{layouts[cut.index(True)].directory} has segments and "
            f"{layouts[cut.index(False)].directory} has none: give each utterance its own line of "
            "wav.scp first (utils/data/segments.py)"
        )
    having = Counter(name for found in layouts for name in found.utterances)
    some = [name for name, number in having.items() if number < len(layouts)]
    if some and not common_tables:
        lacking = next(found.directory for found in layouts if some[0] not in found.utterances)
        raise ValueError(
            f"{len(some)} tables are not in all directories (first: {some[0]}, which {lacking} "
            "lacks): make them, or leave them out with --common_tables true"
        )
    full = [name for name in having if name not in some]
    partial = {name for found in layouts for name in found.partial}
    return full, sorted(partial)


def _further(sources: Sequence[Source]) -> list[str]:
    """Tables of recordings and of speakers."""
    layouts = [source.layout for source in sources]
    return sorted({name for found in layouts for name in found.recordings + found.speakers})


class _Clashes:
    """What two of the directories have and may not."""

    def __init__(self, sources: Sequence[Source], same_speakers: bool):
        self._names = [str(source.layout.directory) for source in sources]
        self._same_speakers = same_speakers
        self._findings = Findings(
            "keep them apart with --prefixes, one for each directory, as in --prefixes a- b-"
        )
        self._speakers = Findings(
            "if they are the same persons, say --same_speakers true; else "
            "keep them apart with --prefixes"
        )
        self._previous = ("", 0)
        self._owners: dict[str, int] = {}  # speaker: the directory
        self._reported: set[tuple[str, int]] = set()

    def found(self, id_: str, number: int, speaker: str) -> bool:
        """Whether this id, in order, is one that came before; notes that, and its speaker's."""
        owner = self._owners.setdefault(speaker, number)
        if owner != number and not self._same_speakers and (speaker, number) not in self._reported:
            self._reported.add((speaker, number))
            self._speakers.add(self._pair(owner, number), SAME_SPEAKER, speaker)
        previous, self._previous = self._previous, (id_, number)
        if previous[0] == id_:
            self._findings.add(self._pair(previous[1], number), SAME_ID, id_)
        return previous[0] == id_

    def unique(self, name: str, rows: Iterator[Row]) -> Iterator[Row]:
        """Sorted rows of a table that directories share, without those that come twice."""
        previous = ("", "")
        for row in rows:
            if row[0] != previous[0]:
                yield row
            elif row != previous:
                self._findings.add(name, OTHER_VALUE, row[0])
            previous = row

    def refuse(self) -> None:
        """Raise ValueError for all that was found."""
        refuse(self._findings.problems() + self._speakers.problems())

    def _pair(self, one: int, other: int) -> str:
        return " and ".join(self._names[number] for number in sorted((one, other)))
