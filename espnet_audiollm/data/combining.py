"""Combining data directories: what they hold side by side, their ids and speakers kept apart."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..atomic import new_directories
from . import segments
from .kaldi_dir import Row, read_table, write_table
from .layout import Layout, side_by_side
from .validation import Findings

SAME_ID = "ids that two of the directories have"
SAME_SPEAKER = "speakers that two of the directories have"
SAME_RECORDING = "recordings that two of the directories have, with other audio"


@dataclass(frozen=True)
class Source:
    """A directory to combine, and what goes before its ids and speakers."""

    layout: Layout
    prefix: str = ""

    def rows(self, name: str) -> Iterator[Row]:
        """Of one of its tables, with the prefix; in order, as all ids get the same."""
        for id_, value in read_table(self.layout.directory / name):
            if name in ("utt2spk", segments.NAME):
                value = self.prefix + value
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
    full, others = _tables(sources, common_tables)
    for source in sources:
        for _ in side_by_side(source.layout):  # its tables hold the same ids
            pass
    _find_clashes(sources, same_speakers)
    with new_directories(target) as (place,):
        count = 0
        for name in full + others:
            having = [s for s in sources if name in s.layout.tables]
            rows = _unique(heapq.merge(*(source.rows(name) for source in having)))
            written = write_table(place / name, rows, presorted=True)
            count = written if name == "utt2spk" else count
    return count, full + others


def _tables(sources: Sequence[Source], common_tables: bool) -> tuple[list[str], list[str]]:
    """Names of the tables of all utterances, and of the others, that the whole will have."""
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
    further = (found.partial + found.recordings + found.speakers for found in layouts)
    return full, sorted({name for names in further for name in names} - set(having))


def _find_clashes(sources: Sequence[Source], same_speakers: bool) -> None:
    findings = Findings(
        "keep them apart with --prefixes, one for each directory, as in --prefixes a- b-"
    )
    hint = Findings("if they are the same persons, say --same_speakers true; else --prefixes")
    for first, second, id_ in _twice(sources, "utt2spk"):
        findings.add(f"{first} and {second}", SAME_ID, id_)
    if not same_speakers:
        owner: dict[str, Path] = {}
        reported = set()
        for source in sources:
            for speaker in {speaker for _, speaker in source.rows("utt2spk")}:
                if owner.setdefault(speaker, source.layout.directory) != source.layout.directory:
                    reported.add((owner[speaker], source.layout.directory, speaker))
        for first, second, speaker in sorted(reported):
            hint.add(f"{first} and {second}", SAME_SPEAKER, speaker)
    if segments.NAME in sources[0].layout.utterances:
        for first, second, id_ in _twice(sources, "wav.scp", other_values=True):
            findings.add(f"{first} and {second}", SAME_RECORDING, id_)
    if problems := findings.problems() + hint.problems():
        raise ValueError("\n  ".join(map(str, problems)))


def _twice(
    sources: Sequence[Source], name: str, other_values: bool = False
) -> Iterator[tuple[Path, Path, str]]:
    """(directory, another, id) of ids that both have; `other_values`: with another value."""

    def rows(source: Source) -> Iterator[tuple[str, str, str]]:
        return ((id_, value, str(source.layout.directory)) for id_, value in source.rows(name))

    previous = None
    for row in heapq.merge(*map(rows, sources)):
        same = previous is not None and row[0] == previous[0]
        if same and (row[1] != previous[1] or not other_values):
            yield previous[2], row[2], row[0]
        previous = row


def _unique(rows: Iterator[Row]) -> Iterator[Row]:
    """Without lines that come twice: of recordings and speakers that directories share."""
    previous = None
    for row in rows:
        if row != previous:
            yield row
        previous = row
