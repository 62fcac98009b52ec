"""Units of a data directory's recordings: a directory with tables like Kaldi's.

units         "id 17 17 4 80": the units of a recording, in order
units_2 ...   the same of the other levels, where a frame has several units; `units` is the first,
              and all that is read by who does not ask for levels
durations     "id 2 1 1": frames of each, where repeats are merged ("id 17 4 80")
units.json    whose units they are: the quantiser's fingerprint, size and levels, frames a second
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

from ..store.json_files import read_record, write_json
from .kaldi_dir import existing, read_table, side_by_side

UNITS, DURATIONS, FACTS = "units", "durations", "units.json"
NEXT = "extract the units again (bin/extract_units)"


@dataclass(frozen=True)
class UnitSet:
    """What a directory's units are."""

    quantiser: str  # fingerprint
    size: int  # of the units' vocabulary, that of each level
    frames_per_second: float
    merged: bool  # repeats are one unit, with a duration
    levels: int = 1  # units of a frame, a table for each

    def __post_init__(self) -> None:
        if min(self.size, self.levels) < 1 or self.frames_per_second <= 0:
            raise ValueError(
                f"{self.levels} x {self.size} units at {self.frames_per_second} a second"
            )
        if self.merged and self.levels > 1:
            raise ValueError(
                f"merged repeats of {self.levels} levels: a frame repeats another in all or not, "
                "take --merge_repeats false"
            )

    def check_quantiser(self, fingerprint: str, where: str | Path, whose: str) -> None:
        """Refuse (ValueError) units of another quantiser than `whose`."""
        if self.quantiser != fingerprint:
            self.refuse(where, whose, fingerprint)

    def refuse(self, where: str | Path, whose: str, *fingerprints: str) -> NoReturn:
        """ValueError: `whose` was made for quantisers with other fingerprints."""
        those = "that quantiser" if len(fingerprints) == 1 else "one of these"
        raise ValueError(
            f"the units in {where} are those of another quantiser ({self.quantiser[:12]}) than "
            f"{whose} was made for ({', '.join(each[:12] for each in fingerprints)}): extract them "
            f"with {those}"
        )


@dataclass(frozen=True)
class LevelsRow:
    """The units of all levels of one recording."""

    id: str
    levels: tuple[tuple[int, ...], ...]  # L levels of T frames


@dataclass(frozen=True)
class UnitRow:
    """The units of one recording."""

    id: str
    units: tuple[int, ...]
    durations: tuple[int, ...]  # frames of each unit; all 1 where repeats are not merged

    @property
    def frames(self) -> tuple[int, ...]:
        """One unit for each frame."""
        return tuple(expand(self.units, self.durations))


def merge_repeats(units: Iterable[int]) -> tuple[list[int], list[int]]:
    """Units without their repeats, and how often each came in a row."""
    runs = [(unit, len(list(run))) for unit, run in itertools.groupby(units)]
    return [unit for unit, _ in runs], [length for _, length in runs]


def expand(units: Sequence[int], durations: Sequence[int]) -> Iterator[int]:
    """Every unit as often as its duration says."""
    for unit, frames in zip(units, durations, strict=True):
        yield from itertools.repeat(unit, frames)


def write_set(directory: str | Path, unit_set: UnitSet) -> None:
    """Write units.json."""
    write_json(Path(directory) / FACTS, asdict(unit_set))


def read_set(directory: str | Path) -> UnitSet:
    """Read units.json. Errors (ValueError): it is missing or damaged."""
    path = Path(directory) / FACTS
    if not path.is_file():
        raise ValueError(f"{path} does not exist: {directory} has no units; {NEXT}")
    return read_record(path, UnitSet, NEXT)


def table_of_level(level: int) -> str:
    """The table's name; levels are counted from 1."""
    return UNITS if level == 1 else f"{UNITS}_{level}"


def iter_levels(directory: str | Path) -> Iterator[LevelsRow]:
    """The units of all levels of all recordings in order of ids, read side by side.

    Errors (ValueError): as for `iter_units`; repeats that are merged, levels of different
    lengths."""
    directory, unit_set = Path(directory), read_set(directory)
    if unit_set.merged:
        raise ValueError(
            f"{directory}: repeats are merged, and levels have a unit for each frame: extract them "
            "again with --merge_repeats false"
        )
    names = [table_of_level(level + 1) for level in range(unit_set.levels)]
    for id_, values in side_by_side(directory, names):
        pairs = zip(names, values, strict=True)
        rows = [parse_units(v, unit_set.size, f"{directory}/{name}", id_) for name, v in pairs]
        lengths = sorted({len(row) for row in rows})
        if len(lengths) > 1:
            raise ValueError(
                f"{directory}: {id_} has {lengths[0]} units in one level and {lengths[-1]} in "
                f"another: {NEXT}"
            )
        yield LevelsRow(id_, tuple(rows))


def iter_units(directory: str | Path, level: int = 1) -> Iterator[UnitRow]:
    """The units of all recordings, of one level, in order of ids, read side by side.

    Errors (ValueError): no tables, other ids in them, no unit at all in a recording, units that
    the vocabulary does not have, durations that are not those of the units."""
    directory, unit_set = Path(directory), read_set(directory)
    if not unit_set.merged:
        table = directory / table_of_level(level)
        for id_, value in read_table(existing(table)):
            units = parse_units(value, unit_set.size, table, id_)
            yield UnitRow(id_, units, (1,) * len(units))
        return
    for id_, (value, frames) in side_by_side(directory, (UNITS, DURATIONS)):
        units = parse_units(value, unit_set.size, f"{directory}/{UNITS}", id_)
        durations = _numbers(frames)
        if len(durations) != len(units) or min(durations) < 1:
            raise ValueError(
                f"{directory}/{DURATIONS}: {id_} has {len(durations)} durations for {len(units)} "
                f"units, or some below 1: {NEXT}"
            )
        yield UnitRow(id_, units, durations)


def parse_units(value: str, size: int, where: str | Path, id_: str) -> tuple[int, ...]:
    """The units in a line. Errors (ValueError): none, or such as a vocabulary of `size` has not."""
    words, units = value.split(), _numbers(value)
    if not units:
        raise ValueError(f"{where}: {id_} has no units: leave the recording out, or {NEXT}")
    wrong = [word for word, unit in zip(words, units, strict=True) if not 0 <= unit < size]
    if wrong:
        raise ValueError(
            f"{where}: {id_}: {len(wrong)} of {len(units)} units (first: {wrong[0][:20]}) are none "
            f"of the quantiser's 0 to {size - 1}: {NEXT}"
        )
    return units


def _numbers(value: str) -> tuple[int, ...]:
    """The numbers of a line; -1 for what is none, or has more than nine digits."""
    return tuple(int(s) if s.isdecimal() and len(s) < 10 else -1 for s in value.split())
