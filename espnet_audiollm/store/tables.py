"""Tables of "id value" lines, and joining two of them by id, never by line number."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from .atomic import atomic_write

Row = tuple[str, str]  # id, value


def read_table(path: str | Path) -> dict[str, str]:
    """ "id value" lines as {id: value}, in the file's order; an id alone has the value "".

    Raises ValueError for an empty line or an id that comes twice."""
    path = Path(path)
    table: dict[str, str] = {}
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            id, *value = line.split(maxsplit=1) or [""]
            if not id:
                raise ValueError(f"{path}: line {number} is empty; every line is 'id value'")
            if id in table:
                raise ValueError(f"{path}: line {number}: the id {id} comes twice")
            table[sys.intern(id)] = value[0].strip() if value else ""  # many tables, the same ids
    return table


def write_table(path: str | Path, rows: Iterable[Row], presorted: bool = False) -> int:
    """Write a table, sorted, whole or not at all; returns the number of lines.

    `presorted`: the rows come in order (checked) and are streamed, not held in memory.
    Raises ValueError for an id that is empty, holds white space, or comes twice, and for a value
    with a line break."""
    count, previous = 0, None
    with atomic_write(path) as out:
        for id_, value in rows if presorted else sorted(rows):
            _check_row(path, id_, value)
            if previous is not None and id_ <= previous:
                kind = "comes twice" if id_ == previous else f"comes after {previous}"
                raise ValueError(f"{path}: id {id_} {kind}; ids are unique and sorted")
            out.write(as_line(id_, value))
            count, previous = count + 1, id_
    return count


def as_line(id_: str, value: str) -> str:
    """A row as it stands in a table."""
    return f"{id_} {value}\n" if value else f"{id_}\n"


def _check_row(path: str | Path, id_: str, value: str) -> None:
    if not id_ or id_.split() != [id_] or "\0" in id_:
        raise ValueError(f"{path}: {id_!r} cannot be an id: ids are not empty, without white space")
    if any(char in value for char in "\n\r\0"):
        raise ValueError(f"{path}: the value of {id_} has a line break: {value[:60]!r}")


def check_same_ids(
    expected: Collection[str], found: Mapping[str, object], what: str, next_step: str
) -> None:
    """Raise ValueError if `found` lacks an expected id, or has one that nobody expects."""
    missing = [id for id in expected if id not in found]
    if missing:
        raise ValueError(
            f"{what}: {len(missing)} of {len(expected)} utterances are missing "
            f"(first: {missing[0]}); {next_step}"
        )
    check_known_ids(expected, found, what, next_step)


def check_known_ids(
    expected: Collection[str], found: Mapping[str, object], what: str, next_step: str
) -> None:
    """Raise ValueError if `found` has an id that nobody expects."""
    known = set(expected)
    unknown = [id for id in found if id not in known]
    if unknown:
        raise ValueError(
            f"{what}: {len(unknown)} of {len(found)} ids are unknown (first: {unknown[0]}); "
            f"{next_step}"
        )
