"""Kaldi data directories: the only place that reads or writes wav.scp, text, utt2spk, ...

A table is a text file of lines "id value", sorted by id in the C locale (the order of code points),
UTF-8, "\\n" line ends. Reading is strict, because a table that is quietly repaired by one reader is
read differently by the next; `fix` repairs, `validate` says everything that is wrong at once.
Because tables are sorted, files are compared side by side line for line, and a part of one is found
without reading the rest; what is out of order is sorted in files. Nothing here but `read_dict`,
`load_utterances` and `write_data_dir` holds a table in memory.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import os
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import IO

from ..atomic import atomic_write
from ..progress import progress
from ..types import Utterance

Row = tuple[str, str]  # id, value
Span = tuple[int, int]  # a part of a table: its first byte, and the one after its last

REQUIRED = ("wav.scp", "utt2spk")
OPTIONAL = ("text", "answers", "category", "utt2dur", "utt2num_samples")
NEVER_EMPTY = frozenset({"wav.scp", "utt2spk", "utt2dur", "utt2num_samples", "category"})
EMPTY_TEXT = "empty transcripts"
LARGE = 64 << 20  # bytes of a table whose reading is reported on the screen
CHUNK = 256  # files looked for at once
ASKERS = 8  # threads that look for files
RUN = 200_000  # rows sorted in memory at once


@dataclass(frozen=True)
class Problem:
    """One kind of fault of one file: how often, where first, and what to do about it."""

    file: str  # path
    kind: str
    count: int
    first: str
    next_step: str

    def __str__(self) -> str:
        return f"{self.file}: {self.count} {self.kind} (first: {self.first}); {self.next_step}"


class Findings:
    """Faults counted by file and kind, with the first example of each.

    `next_step` is what to do about kinds that are not a data directory's (a corpus's, say)."""

    def __init__(self, next_step: str = ""):
        self._next_step = next_step
        self._found: dict[tuple[str, str], tuple[int, str]] = {}

    def add(self, file: str | Path, kind: str, example: str, times: int = 1) -> None:
        count, first = self._found.get((str(file), kind), (0, example))
        self._found[str(file), kind] = (count + times, first)

    def problems(self) -> list[Problem]:
        return [
            Problem(file, kind, count, first, _NEXT_STEP.get(kind, self._next_step))
            for (file, kind), (count, first) in self._found.items()
        ]


_FIX = "run fix_data on the directory"
_NEXT_STEP = {
    "missing directory": "run stage 1 (local/data.sh) first",
    "missing file": "run stage 1 (local/data.sh) again",
    "empty file": "check that the corpus directory holds the corpus, then run stage 1 again",
    "byte order mark": _FIX,
    "lines with CRLF ends": _FIX,
    "lines that are not UTF-8": "convert the file, for example with iconv -f latin1 -t utf-8",
    "lines with a NUL byte": "the file is damaged: make it again",
    "blank lines": _FIX,
    "lines without an id": "every line begins with its id: write the id, or delete the line",
    "lines without a value": "give each id its value, or delete the line",
    EMPTY_TEXT: _FIX + " to remove these utterances, or write their transcripts",
    "lines out of order": _FIX + " to sort it",
    "duplicate ids": "give each utterance its own id (fix_data removes lines that are identical)",
    "ids missing": _FIX + " to keep the utterances that all files have",
    "ids not in wav.scp": _FIX + " to keep the utterances that all files have",
    "pipes": "convert the audio to files: commands in wav.scp are never run",
    "audio files that do not exist": "check the paths (relative ones start from the recipe "
    "directory; an id cannot hold spaces)",
    "audio files that are empty": "copy these recordings again, or remove the utterances",
}


# --- tables -------------------------------------------------------------------------------------


def read_table(path: str | Path, span: Span | None = None) -> Iterator[Row]:
    """Yield (id, value) of a sorted table, strictly: the first fault is a ValueError that names
    the line. A value may be empty (an empty hypothesis is "id" alone). Constant memory.

    span: read this part alone, which must begin and end with whole lines."""
    previous = None
    for number, id_, value, faults in _scan(path, span):
        if faults:
            raise ValueError(_strict(path, number, faults[0], span))
        if previous is not None and id_ <= previous:
            kind = "duplicate ids" if id_ == previous else "lines out of order"
            raise ValueError(_strict(path, number, f"{kind} ({id_})", span))
        previous = id_
        yield id_, value


def read_dict(path: str | Path) -> dict[str, str]:
    """The whole table as {id: value}; strict as `read_table`."""
    return dict(read_table(path))


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
            out.write(f"{id_} {value}\n" if value else f"{id_}\n")
            count, previous = count + 1, id_
    return count


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


def _check_row(path: str | Path, id_: str, value: str) -> None:
    if not id_ or id_.split() != [id_] or "\0" in id_:
        raise ValueError(f"{path}: {id_!r} cannot be an id: ids are not empty, without white space")
    if any(char in value for char in "\n\r\0"):
        raise ValueError(f"{path}: the value of {id_} has a line break: {value[:60]!r}")


def _strict(path: str | Path, number: int, fault: str, span: Span | None = None) -> str:
    where = f"line {number}" + (f" after byte {span[0]}" if span and span[0] else "")
    return f"{path}, {where}: {fault}; validate_data {Path(path).parent} lists all faults"


def _scan(path: str | Path, span: Span | None = None) -> Iterator[tuple[int, str, str, list[str]]]:
    """Yield (line number, id, value, kinds of fault) of every line; the id of a line that has none
    is "". Splits where ESPnet splits (any Unicode white space); order is not looked at."""
    at, end = span or (0, None)
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
    faults = []
    if first and raw.startswith(b"\xef\xbb\xbf"):
        faults.append("byte order mark")
        raw = raw[3:]
    if b"\r" in raw:
        faults.append("lines with CRLF ends")
    if b"\0" in raw:
        faults.append("lines with a NUL byte")
    try:
        line = raw.decode("utf-8")
    except UnicodeDecodeError:
        faults.append("lines that are not UTF-8")
        line = raw.decode("utf-8", errors="backslashreplace")
    if not line.strip():
        return "", "", [*faults, "blank lines"]
    if line[0].isspace():
        return "", line.strip(), [*faults, "lines without an id"]
    id_, *value = line.split(maxsplit=1)
    return id_, value[0].strip() if value else "", faults


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
    return [name for name in REQUIRED + OPTIONAL if (Path(directory) / name).is_file()]


def iter_utterances(
    directory: str | Path, spans: Mapping[str, Span] | None = None
) -> Iterator[Utterance]:
    """Yield the utterances of a directory in order, reading its files side by side.

    spans: parts of its tables by name, to read these alone.

    Raises ValueError where the files do not hold the same ids."""
    directory = Path(directory)
    names = ["wav.scp", "utt2spk"]
    names += [name for name in ("text", "utt2dur") if (directory / name).is_file()]
    readers = [read_table(_existing(directory / name), (spans or {}).get(name)) for name in names]
    for rows in itertools.zip_longest(*readers):
        if len({row and row[0] for row in rows}) != 1:
            raise ValueError(_differing(directory, names, rows))
        values = {name: row[1] for name, row in zip(names, rows, strict=True)}
        yield Utterance(
            id=rows[0][0],
            audio=values["wav.scp"],
            speaker=values["utt2spk"],
            text=values.get("text"),
            duration=float(values["utt2dur"]) if "utt2dur" in values else None,
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


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ValueError(f"{path} does not exist: run the stage that makes {path.parent} first")
    return path


def _differing(directory: Path, names: list[str], rows: tuple[Row | None, ...]) -> str:
    first = min(row[0] for row in rows if row)
    lacking = [
        name for name, row in zip(names, rows, strict=True) if row is None or row[0] != first
    ]
    return (
        f"{directory}: {first} is missing in {', '.join(lacking)}; "
        f"validate_data {directory} lists all faults"
    )


# --- validation ---------------------------------------------------------------------------------


def validate(directory: str | Path, require_text: bool = False) -> list[Problem]:
    """Everything that is wrong with a data directory; [] when nothing is.

    Looks at the tables, the ids across them, and whether the audio files exist and hold a byte;
    what is inside them is stage 2's to find. `require_text`: training needs transcripts."""
    directory, findings = Path(directory), Findings()
    if not directory.is_dir():
        findings.add(directory, "missing directory", str(directory))
        return findings.problems()
    required = REQUIRED + (("text",) if require_text else ())
    for name in required:
        if not (directory / name).is_file():
            findings.add(directory / name, "missing file", name)
    present = tables(directory)
    ids = {name: _validate_table(directory / name, findings) for name in present}
    if "wav.scp" in present:
        for name in present[1:]:
            if ids[name] != ids["wav.scp"]:
                _compare_ids(directory, name, ids["wav.scp"].ordered, ids[name].ordered, findings)
        _validate_audio_paths(directory / "wav.scp", findings)
    return findings.problems()


def check(directory: str | Path, require_text: bool = False, allow: tuple[str, ...] = ()) -> None:
    """Raise one ValueError with all problems of a directory, except the kinds in `allow`."""
    problems = [p for p in validate(directory, require_text) if p.kind not in allow]
    if problems:
        raise ValueError("\n  ".join(map(str, problems)))


@dataclass(frozen=True)
class _Ids:
    """The ids of a table, to compare."""

    ordered: bool
    hash: bytes


def _validate_table(path: Path, findings: Findings) -> _Ids:
    """Add the faults of one table to the findings."""
    previous, rows, disorder, ids = "", 0, None, hashlib.blake2b()
    for number, id_, value, faults in _watched(path, "validate"):
        rows += 1
        for fault in faults:
            findings.add(path, fault, f"line {number}")
        if not id_:
            continue
        ids.update(f"{id_}\n".encode())
        if not value and (path.name in NEVER_EMPTY or path.name == "text"):
            kind = EMPTY_TEXT if path.name == "text" else "lines without a value"
            findings.add(path, kind, id_)
        if id_ < previous:
            disorder = disorder or number
            findings.add(path, "lines out of order", f"{id_} on line {number}")
        elif id_ == previous and disorder is None:
            findings.add(path, "duplicate ids", id_)
        previous = id_
    if rows == 0:
        findings.add(path, "empty file", path.name)
    if disorder is not None:
        _find_scattered_duplicates(path, disorder, findings)
    return _Ids(disorder is None, ids.digest())


def _watched(path: Path, what: str) -> Iterator[tuple[int, str, str, list[str]]]:
    """`_scan`, with a line on the screen now and then where it takes long."""
    if path.stat().st_size < LARGE:
        return _scan(path)
    return progress(_scan(path), count_lines(path), f"{what} {path}", "lines")


def _find_scattered_duplicates(path: Path, disorder: int, findings: Findings) -> None:
    """Duplicates of a file out of order; those before line `disorder`, the first that is out of
    order, were found in passing."""
    numbered = ((id_, f"{number:012d}") for number, id_, _, _ in _scan(path) if id_)
    times, first = 0, None
    for id_, rows in itertools.groupby(sort_rows(numbered), key=itemgetter(0)):
        for _, number in itertools.islice(rows, 1, None):
            if int(number) >= disorder:
                times += 1
                first = min(first or (number, id_), (number, id_))
    if first:
        findings.add(path, "duplicate ids", first[1], times)


def _compare_ids(
    directory: Path, name: str, scp_ordered: bool, ordered: bool, findings: Findings
) -> None:
    """Which ids of wav.scp `name` lacks, and which it has too many: two sorted lists, merged."""
    ours = _unique_ids(directory / "wav.scp", scp_ordered)
    theirs = _unique_ids(directory / name, ordered)
    left, right = next(ours, None), next(theirs, None)
    while left is not None or right is not None:
        if right is None or (left is not None and left < right):
            findings.add(directory / name, "ids missing", left)
            left = next(ours, None)
        elif left is None or right < left:
            findings.add(directory / name, "ids not in wav.scp", right)
            right = next(theirs, None)
        else:
            left, right = next(ours, None), next(theirs, None)


def _unique_ids(path: Path, ordered: bool) -> Iterator[str]:
    rows = ((id_, "") for _, id_, _, _ in _scan(path) if id_)
    rows = rows if ordered else sort_rows(rows)
    return (id_ for id_, _ in itertools.groupby(rows, key=itemgetter(0)))


def _validate_audio_paths(scp: Path, findings: Findings) -> None:
    rows = (
        (id_, value)
        for _, id_, value, faults in _watched(scp, "look for the audio of")
        if id_ and value and "lines with a NUL byte" not in faults
    )
    for id_, value, size in _sizes(rows):
        if value.endswith("|") or value.startswith("|"):
            findings.add(scp, "pipes", f"{id_} {value[:60]}")
        elif size is None:
            findings.add(scp, "audio files that do not exist", f"{id_} {value}")
        elif size == 0:
            findings.add(scp, "audio files that are empty", f"{id_} {value}")


def _sizes(rows: Iterator[Row]) -> Iterator[tuple[str, str, int | None]]:
    """(id, path, bytes of the file or None) of each row, in order. Asks in several threads, a few
    chunks ahead: a file server answers many as fast as one."""
    chunks = iter(lambda: list(itertools.islice(rows, CHUNK)), [])
    with ThreadPoolExecutor(ASKERS) as pool:
        ahead = deque()
        for chunk in chunks:
            ahead.append((chunk, pool.submit(_sizes_of, chunk)))
            if len(ahead) > 2 * ASKERS:
                yield from _joined(*ahead.popleft())
        while ahead:
            yield from _joined(*ahead.popleft())


def _joined(chunk: list[Row], sizes: Future) -> Iterator[tuple[str, str, int | None]]:
    for (id_, value), size in zip(chunk, sizes.result(), strict=True):
        yield id_, value, size


def _sizes_of(chunk: list[Row]) -> list[int | None]:
    return [_size(value) for _, value in chunk]


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:
        return None


# --- repair -------------------------------------------------------------------------------------


def fix(directory: str | Path) -> dict[str, int]:
    """Sort the tables, mend line ends, drop blank lines, identical duplicates and empty
    transcripts, and keep the utterances that all tables have; {what: how many} was changed.

    What cannot be mended without guessing is a ValueError and changes nothing: bytes that are not
    UTF-8, lines without an id, one id with two values."""
    directory = Path(directory)
    for name in REQUIRED:
        _existing(directory / name)
    names, done = tables(directory), {}
    with tempfile.TemporaryDirectory(dir=directory, prefix=".fix.") as aside:
        rows = {name: _mend(directory / name, Path(aside) / name, done) for name in names}
        kept = _keep_common(Path(aside), directory, names)
    for name in names:
        done[f"utterances removed from {name}"] = rows[name] - kept
    return {what: count for what, count in done.items() if count}


def _mend(path: Path, mended: Path, done: dict[str, int]) -> int:
    """Write the table `path`, sorted and mended, to `mended`; returns its rows."""

    def unique() -> Iterator[Row]:
        for id_, rows in itertools.groupby(sort_rows(_mended_rows(path, done)), itemgetter(0)):
            values = {value for _, value in rows}
            if len(values) > 1:
                raise ValueError(f"{path}: {id_} has two values; keep the right one")
            yield id_, values.pop()

    return write_table(mended, unique(), presorted=True)


def _mended_rows(path: Path, done: dict[str, int]) -> Iterator[Row]:
    previous = ""
    for number, id_, value, faults in _scan(path):
        for fault in faults:
            if "UTF-8" in fault or "NUL" in fault or "without an id" in fault:
                raise ValueError(f"{path}, line {number}: {fault}; {_NEXT_STEP[fault]}")
            _count(done, f"{fault} in {path.name}")
        if not id_:
            continue
        if not value and path.name == "text":
            _count(done, f"{EMPTY_TEXT} in {path.name}")
            continue
        if id_ <= previous:
            kind = "duplicate ids" if id_ == previous else "lines out of order"
            _count(done, f"{kind} in {path.name}")
        previous = id_
        yield id_, value


def _keep_common(source: Path, target: Path, names: list[str]) -> int:
    """Write the rows whose ids are in all tables of `source`; returns how many ids that are."""
    kept, readers = 0, [read_table(source / name) for name in names]
    with ExitStack() as stack:
        out = [stack.enter_context(atomic_write(target / name)) for name in names]
        for rows in _in_all(readers):
            for table, (id_, value) in zip(out, rows, strict=True):
                table.write(f"{id_} {value}\n" if value else f"{id_}\n")
            kept += 1
        if not kept:
            raise ValueError(f"{target}: no utterance is in all of {', '.join(names)}")
    return kept


def _in_all(readers: list[Iterator[Row]]) -> Iterator[list[Row]]:
    """The rows of ids that all sorted tables have."""
    rows = [next(reader, None) for reader in readers]
    while all(rows):
        latest = max(row[0] for row in rows)
        if all(row[0] == latest for row in rows):
            yield rows
            rows = [next(reader, None) for reader in readers]
        else:
            rows = [
                row if row[0] == latest else next(reader, None)
                for row, reader in zip(rows, readers, strict=True)
            ]


def sort_rows(rows: Iterable[Row]) -> Iterator[Row]:
    """Rows in the order of ids (equal ones in that of their values), sorted in temporary files when
    they are many."""
    rows = iter(rows)
    run = sorted(itertools.islice(rows, RUN))
    if len(run) < RUN:
        yield from run
        return
    with tempfile.TemporaryDirectory() as directory:
        runs = []
        while run:
            runs.append(Path(directory) / str(len(runs)))
            with open(runs[-1], "w", encoding="utf-8", newline="\n") as out:
                out.writelines(f"{id_} {value}\n" for id_, value in run)
            run = sorted(itertools.islice(rows, RUN))
        yield from heapq.merge(*map(_read_run, runs))


def _read_run(path: Path) -> Iterator[Row]:
    with open(path, encoding="utf-8", newline="\n") as lines:
        for line in lines:
            id_, _, value = line.rstrip("\n").partition(" ")
            yield id_, value


def _count(done: dict[str, int], what: str) -> None:
    done[what] = done.get(what, 0) + 1
