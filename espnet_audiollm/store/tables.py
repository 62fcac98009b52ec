"""Tables of "id value" lines: the one reader of their lines, and joining them by id, never by
line number. data/kaldi_dir.py has the sorted ones of data directories."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from .atomic import atomic_write

Row = tuple[str, str]  # id, value
Span = tuple[int, int]  # a part of a table: its first byte, and the one after its last
V = TypeVar("V")

LONGEST_ID = 1000  # letters
LONG_ID = f"ids longer than {LONGEST_ID} letters"
CONTROLS = re.compile(r"[\x00-\x1f\x7f]")  # a terminal shows two such ids alike, or obeys them
CONTROL_ID = "ids with control characters"


def is_table(path: str | Path) -> bool:
    """Whether there is this table. Errors (ValueError): it is no file; to open a pipe would wait
    for ever, and a directory is not the same as no table."""
    if os.path.isfile(path) or not os.path.exists(path):
        return os.path.isfile(path)
    raise ValueError(f"{path} is a directory or a pipe, not a table: put a file in its place")


def scan(path: str | Path, span: Span | None = None) -> Iterator[tuple[int, str, str, list[str]]]:
    """Yield (line number, id, value, kinds of error) of every line; the id of a line that has none
    is "". Splits where ESPnet splits (any Unicode white space); order is not looked at."""
    at, end = span or (0, None)
    is_table(path)
    with open(path, "rb") as lines:
        lines.seek(at)
        first = at == 0
        for number, raw in enumerate(lines, 1):
            if end is not None:
                if at >= end:
                    return
                at += len(raw)
            yield number, *_parse(raw, first=first and number == 1)


def _parse(raw: bytes, first: bool) -> tuple[str, str, list[str]]:
    errors = []
    if first and raw.startswith(b"\xef\xbb\xbf"):
        errors.append("byte order mark")
        raw = raw[3:]
    if b"\r" in raw:
        errors.append("lines with CRLF ends")
    if b"\0" in raw:
        errors.append("lines with a NUL byte")
    try:
        line = raw.decode("utf-8")
    except UnicodeDecodeError:
        errors.append("lines that are not UTF-8")
        line = raw.decode("utf-8", errors="backslashreplace")
    if not line.strip():
        return "", "", [*errors, "blank lines"]
    if line[0].isspace():
        return "", line.strip(), [*errors, "lines without an id"]
    id_, *value = line.split(maxsplit=1)
    if len(id_) > LONGEST_ID:
        errors.append(LONG_ID)
        id_ = id_[:LONGEST_ID]
    if b"\0" not in raw and CONTROLS.search(id_):
        errors.append(CONTROL_ID)
    return id_, value[0].strip() if value else "", errors


def read_table(path: str | Path) -> dict[str, str]:
    """ "id value" lines as {id: value}, in the file's order; a lone id has the value "".

    Raises ValueError for a line that is damaged or has no id, and an id that comes twice."""
    table: dict[str, str] = {}
    for number, id, value, errors in scan(path):
        if errors:
            raise ValueError(f"{path}: line {number}: {errors[0]}; every line is 'id value'")
        if id in table:
            raise ValueError(f"{path}: line {number}: the id {id} comes twice")
        table[sys.intern(id)] = value  # many tables, the same ids
    return table


def write_table(path: str | Path, rows: Iterable[Row], presorted: bool = False) -> int:
    """Write a table, sorted, complete or not at all; returns the number of lines.

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
    if len(id_) > LONGEST_ID:
        raise ValueError(f"{path}: {id_[:60]}... cannot be an id: {LONG_ID}")
    if CONTROLS.search(id_):
        raise ValueError(f"{path}: {id_!r} cannot be an id: {CONTROL_ID}")
    if any(char in value for char in "\n\r\0"):
        raise ValueError(f"{path}: the value of {id_} has a line break: {value[:60]!r}")


def outer_join(*tables: Iterator[tuple[str, V]]) -> Iterator[tuple[str, list[V | None]]]:
    """(id, its value in each table, None where it has none) of sorted tables, in order."""
    rows = [next(table, None) for table in tables]
    while left := [row for row in rows if row]:
        ids = {row[0] for row in left}
        if len(ids) == 1 and len(left) == len(rows):  # as a rule: the quick way
            yield left[0][0], [row[1] for row in left]
            rows = [next(table, None) for table in tables]
            continue
        id = min(ids)
        yield id, [row[1] if row and row[0] == id else None for row in rows]
        rows = [
            next(table, None) if row and row[0] == id else row
            for table, row in zip(tables, rows, strict=True)
        ]


def check_none_empty(empty: Sequence[str], total: int, complaint: str, next_step: str) -> None:
    """Raise ValueError if `empty` has an id, or if there are no rows (`total`) at all.

    complaint: what the empty ones are or lack, in the plural ("texts have no word")."""
    if empty or not total:
        first = f" (first: {empty[0]})" if empty else ""
        raise ValueError(f"{len(empty)} of {total} {complaint}{first}; {next_step}")


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
