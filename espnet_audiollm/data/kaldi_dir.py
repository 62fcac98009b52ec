"""Kaldi data directories: the only place that reads or writes wav.scp, text, utt2spk, ...

A table is a text file of lines "id value", sorted by id in the C locale (the order of code points),
UTF-8, "\\n" line ends. Reading is strict, because a table that is quietly repaired by one reader is
read differently by the next; corpus/repair.py repairs, data/validation.py says everything that is
wrong at once. Because tables are sorted, files are compared side by side line for line, and a part
of one is found without reading the rest. Nothing here but `read_dict`, `load_utterances` and
`write_data_dir` holds a table in memory.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from ..store.tables import Row, Span, as_line, is_table, outer_join, scan, write_table
from ..types import Seconds, Utterance

REQUIRED = ("wav.scp", "utt2spk")
CARRIED = (  # from data/ to dump/
    "answers",
    "category",
    "translation",
    "summary",
    "question",
    "translation_audio",  # a recording of the translation, as in wav.scp
)
OPTIONAL = ("text", *CARRIED, "utt2dur", "utt2num_samples")


# --- tables -------------------------------------------------------------------------------------


def read_table(path: str | Path, span: Span | None = None) -> Iterator[Row]:
    """Yield (id, value) of a sorted table, strictly: the first error is a ValueError that names
    the line. A value may be empty (an empty hypothesis is only "id"). Constant memory.

    span: read only this part, which must begin and end with a line."""
    previous = None
    for number, id_, value, errors in scan(path, span):
        if errors:
            raise ValueError(_strict(path, number, errors[0], span))
        if previous is not None and id_ <= previous:
            kind = "duplicate ids" if id_ == previous else "lines out of order"
            raise ValueError(_strict(path, number, f"{kind} ({id_})", span))
        previous = id_
        yield id_, value


def read_dict(path: str | Path) -> dict[str, str]:
    """The complete table as {id: value}; strict as `read_table`."""
    return dict(read_table(path))


def write_data_dir(
    directory: str | Path, utterances: Iterable[Utterance], **extra: Mapping[str, str]
) -> int:
    """Write wav.scp, utt2spk, text (of the utterances that have one) and the `extra` tables
    (answers={id: "alias | alias"}, category={id: word}); returns the number of utterances.

    wav.scp is written last: a directory without it is not finished."""
    directory = Path(directory)
    utterances = sorted(utterances, key=lambda utt: utt.id)
    (directory / "wav.scp").unlink(missing_ok=True)
    for name, table in extra.items():
        write_table(directory / name, table.items())
    texts = [(utt.id, utt.text) for utt in utterances if utt.text is not None]
    if texts:
        write_table(directory / "text", texts)
    write_table(directory / "utt2spk", ((utt.id, utt.speaker) for utt in utterances))
    return write_table(directory / "wav.scp", ((utt.id, utt.audio) for utt in utterances))


class TableWriter:
    """Tables of a new directory, written side by side; a table that gets no row is not made.

    For a directory that appears when it is complete (`new_directories`): rows are not checked."""

    def __init__(self, directory: Path):
        self.files: dict[str, IO[str]] = {}
        self._directory = directory

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, *error: object) -> None:
        for file in self.files.values():
            file.close()

    def add(self, id_: str, values: Mapping[str, str]) -> None:
        """A row in each table that has a value."""
        for name, value in values.items():
            if name not in self.files:
                path = self._directory / name
                self.files[name] = open(path, "w", encoding="utf-8", newline="\n")
            self.files[name].write(as_line(id_, value))


def _strict(path: str | Path, number: int, error: str, span: Span | None = None) -> str:
    where = f"line {number}" + (f" after byte {span[0]}" if span and span[0] else "")
    return f"{path}, {where}: {error}; utils/data/validate.py {Path(path).parent} lists all errors"


# --- parts of tables ----------------------------------------------------------------------------


def count_lines(path: str | Path, span: Span | None = None) -> int:
    """Line ends, and a last line without one."""
    at, end = span or (0, os.path.getsize(path))
    count, block = 0, b"\n"
    with open(path, "rb") as table:
        table.seek(at)
        while at < end and (block := table.read(min(1 << 20, end - at))):
            count, at = count + block.count(b"\n"), at + len(block)
    return count + (not block.endswith(b"\n"))


def line_begin(table: IO[bytes], at: int) -> int:
    """Where the first line begins that begins at byte `at` or later; the end if none does."""
    if at <= 0:
        return 0
    table.seek(at - 1)
    table.readline()
    return table.tell()


def lower_bound(table: IO[bytes], id_: str, end: int) -> int:
    """Where the first line of a sorted table begins whose id is `id_` or later; `end` if none is.

    Looks at a few dozen lines of however many."""
    wanted, low, high = id_.encode(), 0, end
    while low < high:  # lines that begin before `low` are too early, those from `high` on are not
        middle = (low + high) // 2
        begin = line_begin(table, middle)
        if begin >= high:
            high = middle
            continue
        table.seek(begin)
        line = table.readline()
        if (line.split(maxsplit=1) or [b""])[0] < wanted:
            low = table.tell()
        else:
            high = middle if begin > middle else begin
    return line_begin(table, low)


# --- directories --------------------------------------------------------------------------------


def tables(directory: str | Path) -> list[str]:
    """Names of the tables of a directory that we know, wav.scp first."""
    return [name for name in REQUIRED + OPTIONAL if is_table(Path(directory) / name)]


def iter_utterances(
    directory: str | Path, spans: Mapping[str, Span] | None = None
) -> Iterator[Utterance]:
    """Yield the utterances of a directory in order, reading its files side by side.

    spans: parts of its tables by name, to read only these.

    Raises ValueError where the files do not hold the same ids."""
    directory = Path(directory)
    names = ["wav.scp", "utt2spk"]
    names += [name for name in ("text", "utt2dur") if is_table(directory / name)]
    for id_, row in side_by_side(directory, names, spans):
        values = dict(zip(names, row, strict=True))
        yield Utterance(
            id=id_,
            audio=values["wav.scp"],
            speaker=values["utt2spk"],
            text=values.get("text"),
            duration=seconds(directory, id_, values["utt2dur"]) if "utt2dur" in values else None,
        )


def seconds(directory: Path, id_: str, value: str) -> Seconds:
    """Of a value of utt2dur; ValueError for what is no length."""
    try:
        length = float(value)
    except ValueError:
        length = math.nan
    if not 0 <= length < math.inf:
        raise ValueError(f"{directory}/utt2dur: {id_} is {value!r}, which is no number of seconds")
    return length


def side_by_side(
    directory: str | Path, names: Sequence[str], spans: Mapping[str, Span] | None = None
) -> Iterator[tuple[str, list[str]]]:
    """Yield (id, values) of tables in order. Raises ValueError where they hold other ids."""
    directory = Path(directory)
    readers = [read_table(existing(directory / name), (spans or {}).get(name)) for name in names]
    for id_, values in outer_join(*readers):
        complete = [value for value in values if value is not None]
        if len(complete) < len(values):
            raise ValueError(differing(directory, id_, names, values))
        yield id_, complete


def differing(directory: Path, id_: str, names: Sequence[str], values: Sequence[str | None]) -> str:
    """What is said of an id that some tables lack."""
    lacking = [name for name, value in zip(names, values, strict=True) if value is None]
    return (
        f"{directory}: {id_} is missing in {', '.join(lacking)}; "
        f"utils/data/validate.py {directory} lists all errors"
    )


def load_utterances(directory: str | Path) -> list[Utterance]:
    """All utterances of a directory, sorted by id; at least one (else ValueError)."""
    utterances = list(iter_utterances(directory))
    if not utterances:
        raise ValueError(f"{directory}/wav.scp is empty: run the stage that makes it again")
    return utterances


def count_utterances(directory: str | Path) -> int:
    """How many utterances a directory has, its files compared; at least one (else ValueError)."""
    count = sum(1 for _ in iter_utterances(directory))
    if not count:
        raise ValueError(f"{directory}/wav.scp is empty: run the stage that makes it again")
    return count


def existing(path: Path) -> Path:
    """The path of a file that is there (else ValueError)."""
    if not is_table(path):
        raise ValueError(f"{path} does not exist: run the stage that makes {path.parent} first")
    return path
