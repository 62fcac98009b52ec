"""Units that are to be spoken: of a directory of units, or of a table that somebody wrote."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from .kaldi_dir import existing, read_table
from .unit_tables import (
    DURATIONS,
    UNITS,
    LevelsRow,
    UnitSet,
    iter_levels,
    iter_units,
    merge_repeats,
    parse_units,
)


@dataclass(frozen=True)
class SpokenUnits:
    """One utterance without repeats."""

    id: str
    units: tuple[int, ...]
    durations: tuple[int, ...] | None = None  # unit frames. None: to be predicted

    @property
    def length(self) -> int:
        """Unit frames; of unknown durations the number of units."""
        return sum(self.durations or (1,) * len(self.units))


@dataclass(frozen=True)
class SpokenLevels(LevelsRow):
    """One utterance of units of several levels, as a codec has them; each lasts a frame."""

    @property
    def length(self) -> int:
        """Unit frames."""
        return len(self.levels[0])


def iter_spoken_levels(directory: str | Path) -> Iterator[SpokenLevels]:
    """The utterances in order of ids. Errors (ValueError): those of `iter_levels`."""
    for row in iter_levels(directory):
        yield SpokenLevels(row.id, row.levels)


def shuffled_levels(row: SpokenLevels) -> SpokenLevels:
    """The same frames in another order, which the id decides."""
    order = _order(row.id, row.length)
    return replace(row, levels=tuple(tuple(level[i] for i in order) for level in row.levels))


def table_of(source: str | Path) -> Path:
    """The table of units in a directory, or the file itself. Errors (ValueError): there is none."""
    return existing(Path(source) / UNITS if Path(source).is_dir() else Path(source))


def iter_spoken(
    source: str | Path, unit_set: UnitSet, predict: bool = False
) -> Iterator[SpokenUnits]:
    """The utterances in order of ids.

    source: a directory of units, or a table "id 17 17 4 80".
    unit_set: what the units are.
    predict: durations are left to be predicted, also where they are known.

    Durations are known where the directory has them, and where repeats are not merged.

    Errors (ValueError): an utterance without units, units that the vocabulary does not have."""
    for id_, units, durations in _rows(Path(source), unit_set):
        yield SpokenUnits(id_, units, None if predict else durations)


def shuffled(row: SpokenUnits) -> SpokenUnits:
    """The same units in another order, each with its duration: what a judge understands of that is
    not in the units. The id decides the order."""
    order = _order(row.id, len(row.units))
    durations = row.durations and tuple(row.durations[i] for i in order)
    return replace(row, units=tuple(row.units[i] for i in order), durations=durations)


def _order(id_: str, number: int) -> list[int]:
    order = list(range(number))
    random.Random(id_).shuffle(order)
    return order


def _rows(
    source: Path, unit_set: UnitSet
) -> Iterator[tuple[str, tuple[int, ...], tuple[int, ...] | None]]:
    complete = source.is_dir() and (not unit_set.merged or (source / DURATIONS).exists())
    if complete and unit_set.merged:
        for row in iter_units(source):
            yield row.id, row.units, row.durations
        return
    for id_, value in read_table(table_of(source)):
        units = parse_units(value, unit_set.size, table_of(source), id_)
        merged, durations = merge_repeats(units)
        yield id_, tuple(merged), None if unit_set.merged else tuple(durations)
