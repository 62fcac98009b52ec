"""Everything that is wrong with a data directory, in one report, each with what to do about it.

Tables are read once, side by side; one that is out of order is sorted in files."""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

from ..progress import progress
from ..store.tables import CONTROL_ID, LONG_ID, Row, is_table, outer_join, scan
from . import layout, pipes, segments, sources, workers
from .kaldi_dir import REQUIRED, count_lines, tables
from .sorting import sort_rows

NEVER_EMPTY = frozenset({"wav.scp", "utt2spk", "utt2dur", "utt2num_samples", "category"})
EMPTY_TEXT = "empty transcripts"
LARGE = 64 << 20  # bytes of a table whose reading is reported on the screen
ASKERS = 8  # threads that look for files: a file server answers many as fast as one


@dataclass(frozen=True)
class Problem:
    """One kind of error in one file: how often, where first, and what to do about it."""

    file: str  # path
    kind: str
    count: int
    first: str
    next_step: str

    def __str__(self) -> str:
        return f"{self.file}: {self.count} {self.kind} (first: {self.first}); {self.next_step}"


class Findings:
    """Errors counted by file and kind, with the first example of each.

    What to do about a kind is in `steps`, in NEXT_STEP, or else `next_step`."""

    def __init__(self, next_step: str = "", steps: Mapping[str, str] | None = None):
        self._next_step, self._steps = next_step, {**NEXT_STEP, **(steps or {})}
        self._found: dict[tuple[str, str], tuple[int, str]] = {}

    def add(self, file: str | Path, kind: str, example: str, times: int = 1) -> None:
        """Note an error of this kind, `times` times."""
        count, first = self._found.get((str(file), kind), (0, example))
        self._found[str(file), kind] = (count + times, first)

    def problems(self) -> list[Problem]:
        """What was found, in the order of the first examples."""
        return [
            Problem(file, kind, count, first, self._steps.get(kind, self._next_step))
            for (file, kind), (count, first) in self._found.items()
        ]

    def refuse(self) -> None:
        """Raise one ValueError for all errors found so far."""
        refuse(self.problems())


def refuse(problems: Iterable[Problem]) -> None:
    """Raise one ValueError for all of them, if there are any."""
    if report := "\n  ".join(map(str, problems)):
        raise ValueError(report)


_FIX = "run utils/data/fix.py on the directory"
NEXT_STEP = {
    "missing directory": "run stage 1 (local/data.sh) first",
    "missing file": "run stage 1 (local/data.sh) again",
    "empty file": "check that the corpus directory holds the corpus, then run stage 1 again",
    "byte order mark": _FIX,
    "lines with CRLF ends": _FIX,
    "lines that are not UTF-8": "convert the file, for example with iconv -f latin1 -t utf-8",
    "lines with a NUL byte": "the file is damaged: make it again",
    "blank lines": _FIX,
    "lines without an id": "every line begins with its id: write the id, or delete the line",
    CONTROL_ID: "give these utterances ids of printable letters",
    LONG_ID: "give these utterances shorter ids",
    "lines without a value": "give each id its value, or delete the line",
    EMPTY_TEXT: _FIX + " to remove these utterances, or write their transcripts",
    "lines out of order": _FIX + " to sort it",
    "duplicate ids": "give each utterance its own id (utils/data/fix.py "
    "removes lines that are identical)",
    "ids missing": _FIX + " to keep the utterances that all files have",
    "ids not in wav.scp": _FIX + " to keep the utterances that all files have",
    "ids not in segments": _FIX + " to keep the utterances that all files have",
    "pipes": "a pipe is a command, and not run: convert the audio to files or, if you trust the "
    f"data, allow sox, ffmpeg, sph2pipe and flac with {pipes.OPTION}",
    "pipes that cannot be run": "write files, or pipes of sox, ffmpeg, sph2pipe and flac only",
    segments.MALFORMED: "write each line as 'utterance recording begin end', end -1 for the "
    "recording's",
    segments.REVERSED: "correct the times",
    segments.LOST: "add the recordings to wav.scp, or remove these utterances",
    "audio files that do not exist": "check the paths (relative ones start from the recipe "
    "directory; an id cannot hold spaces)",
    "audio files that are empty": "copy these recordings again, or remove the utterances",
}


def validate(
    directory: str | Path, require_text: bool = False, allow_pipes: bool = False
) -> list[Problem]:
    """Everything that is wrong with a data directory; [] when nothing is.

    Looks at the tables, the ids across them, and whether the audio files exist and hold a byte;
    what is inside them is stage 2's to find. `require_text`: training needs transcripts.
    `allow_pipes`: commands in wav.scp are no error if they may be run."""
    directory, findings = Path(directory), Findings()
    if not directory.is_dir():
        findings.add(directory, "missing directory", str(directory))
        return findings.problems()
    required = REQUIRED + (("text",) if require_text else ())
    for name in required:
        if not is_table(directory / name):
            findings.add(directory / name, "missing file", name)
    present = tables(directory)
    if segments.has(directory):
        present.append(segments.NAME)
        for kind, example in segments.errors(directory):
            findings.add(directory / segments.NAME, kind, example)
    ids = {name: _validate_table(directory / name, findings) for name in present}
    if "wav.scp" in present:
        spine = segments.NAME if segments.NAME in present else "wav.scp"
        for name in present:
            if name not in ("wav.scp", spine) and ids[name] != ids[spine]:
                _compare_ids(directory, spine, name, ids, findings)
        if "utt2spk" in present:
            _validate_partial(directory, spine, ids, findings)
        _validate_audio_paths(directory / "wav.scp", allow_pipes, findings)
    return findings.problems()


def check(
    directory: str | Path,
    require_text: bool = False,
    allow: tuple[str, ...] = (),
    allow_pipes: bool = False,
) -> None:
    """Raise one ValueError with all problems of a directory, except the kinds in `allow`."""
    refuse(p for p in validate(directory, require_text, allow_pipes) if p.kind not in allow)


@dataclass(frozen=True)
class _Ids:
    """The ids of a table, to compare."""

    ordered: bool
    hash: bytes


def _validate_table(path: Path, findings: Findings) -> _Ids:
    """Add the errors of one table to the findings."""
    previous, rows, disorder, ids = "", 0, None, hashlib.blake2b()
    for number, id_, value, errors in _watched(path, "validate"):
        rows += 1
        for error in errors:
            findings.add(path, error, f"line {number}")
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
        return scan(path)
    return progress(scan(path), count_lines(path), f"{what} {path}", "lines")


def _find_scattered_duplicates(path: Path, disorder: int, findings: Findings) -> None:
    """Duplicates of a file out of order; those before line `disorder`, the first that is out of
    order, were found in passing."""
    numbered = ((id_, f"{number:012d}") for number, id_ in _ids(path))
    times, first = 0, None
    for id_, rows in itertools.groupby(sort_rows(numbered), key=itemgetter(0)):
        for _, number in itertools.islice(rows, 1, None):
            if int(number) >= disorder:
                times += 1
                first = min(first or (number, id_), (number, id_))
    if first:
        findings.add(path, "duplicate ids", first[1], times)


def _validate_partial(
    directory: Path, spine: str, ids: dict[str, _Ids], findings: Findings
) -> None:
    """Tables of whatever else is known of utterances; they may leave some out."""
    for name in layout.of(directory).partial:
        ids[name] = _validate_table(directory / name, findings)
        _compare_ids(directory, spine, name, ids, findings, all_needed=False)


def _compare_ids(
    directory: Path,
    spine: str,
    name: str,
    ids: dict[str, _Ids],
    findings: Findings,
    all_needed: bool = True,
) -> None:
    """Which ids of `spine` `name` lacks, and which it has too many: two sorted lists, merged."""
    for id_, (ours, theirs) in outer_join(
        _unique_ids(directory / spine, ids[spine].ordered),
        _unique_ids(directory / name, ids[name].ordered),
    ):
        if theirs is None and all_needed:
            findings.add(directory / name, "ids missing", id_)
        elif ours is None:
            findings.add(directory / name, f"ids not in {spine}", id_)


def _unique_ids(path: Path, ordered: bool) -> Iterator[tuple[str, str]]:
    """(id, "") of each id, in order."""
    rows = ((id_, "") for _, id_ in _ids(path))
    return (row for row, _ in itertools.groupby(rows if ordered else sort_rows(rows)))


def _ids(path: Path) -> Iterator[tuple[int, str]]:
    """(line number, id) of the lines that have an id."""
    return ((number, id_) for number, id_, _, _ in scan(path) if id_ and "\0" not in id_)


def _validate_audio_paths(scp: Path, allow_pipes: bool, findings: Findings) -> None:
    rows = (
        (id_, value)
        for _, id_, value, errors in _watched(scp, "look for the audio of")
        if id_ and value and "lines with a NUL byte" not in errors
    )
    look = functools.partial(_look, allow_pipes=allow_pipes)
    for (id_, value), (kind, why) in workers.in_order(look, rows, ASKERS, threads=True):
        if kind:
            findings.add(scp, kind, f"{id_} {value}" + (f": {why}" if why else ""))


Look = tuple[str, str]  # kind of error ("": none), why


def _look(row: Row, allow_pipes: bool) -> tuple[Row, Look]:
    return row, _look_for(sources.parse(row[1]), allow_pipes)


def _look_for(source: sources.Source, allow_pipes: bool) -> Look:
    """What is wrong with a recording."""
    if source.command is not None:
        if not allow_pipes:
            return "pipes", ""
        try:
            pipes.check(source.command)
        except pipes.PipeError as error:
            return "pipes that cannot be run", str(error)
        return "", ""
    try:
        size = os.stat(source.path).st_size
    except (OSError, ValueError):
        return "audio files that do not exist", ""
    if size == 0:
        return "audio files that are empty", ""
    if source.offset is not None and source.offset >= size:
        return "audio files that do not exist", f"the ark has {size} bytes"
    return "", ""
