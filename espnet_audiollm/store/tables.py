"""Tables of "id value" lines, and joining two of them by id, never by line number."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from pathlib import Path


def read_table(path: str | Path) -> dict[str, str]:
    """ "id value" lines as {id: value}, in the file's order; a lone id has the value "".

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
