"""Lists of utterances in others' forms, row by row: TSV, CSV, JSON lines, lhotse cuts, and Hugging
Face datasets (corpus/arrow.py).

Nothing that a list says is run or fetched, and no list is held in memory."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..data.segments import Segment
from ..data.validation import Findings
from ..store.json_files import parse_json
from . import arrow
from . import prepare as corpus
from .arrow import Blob

FORMATS = ("auto", "tsv", "csv", "jsonl", "lhotse", "huggingface")
SLACK = 1e-3  # seconds that a cut of a complete recording may miss

Value = str | Blob


@dataclass(frozen=True)
class Found:
    """A row of a list."""

    where: str  # "line 7"
    values: Mapping[str, object]  # by column
    recording: str = ""  # id of what it is a part of; "": `audio` is the utterance's own
    segment: Segment | None = None  # which part


@dataclass(frozen=True)
class Listed:
    """A list: its columns, its rows, and where relative paths start."""

    columns: tuple[str, ...]
    rows: Iterator[Found]
    root: Path


def read(path: Path, form: str, faults: Findings, split: str = "") -> Listed:
    """Open a list; `form` is one of FORMATS. What is wrong with rows is added to `faults`.

    Raises ValueError where this is no list of that form. `split`: of a Hugging Face dataset that
    has several."""
    if not (path.is_file() or path.is_dir()):
        raise ValueError(f"{path}: there is no such file, or it is a pipe: save the list first")
    form = _form(path) if form == "auto" else form
    if form == "huggingface":
        columns, rows = arrow.read(path, split)
        root = path if path.is_dir() else path.parent
        return Listed(columns, (Found(f"row {n}", row) for n, row in enumerate(rows, 1)), root)
    if path.is_dir():
        raise ValueError(f"{path} is a directory; a list of the form {form} is a file")
    reader: Callable = {"tsv": _tsv, "csv": _csv, "jsonl": _jsonl, "lhotse": _cuts}[form]
    columns, rows = reader(path, faults)
    return Listed(tuple(columns), rows, path.parent)


def _form(path: Path) -> str:
    if path.is_dir() or path.suffix in (".parquet", ".arrow"):
        return "huggingface"
    name = path.name.removesuffix(".gz")
    if name.endswith((".jsonl", ".json", ".ndjson")):
        _, first = next(_objects(path, Findings()), (0, {}))
        return "lhotse" if _is_cut(first) else "jsonl"
    for ending in ("tsv", "csv"):
        if name.endswith(f".{ending}"):
            return ending
    raise ValueError(f"{path}: its name does not say what it is; give --format {'|'.join(FORMATS)}")


# --- tables -------------------------------------------------------------------------------------


def _tsv(path: Path, faults: Findings) -> tuple[list[str], Iterator[Found]]:
    """Quotation marks are letters like others."""
    lines = ((number, line.split("\t")) for number, line in corpus.read_lines(path, faults))
    return _with_header(path, lines, faults)


def _csv(path: Path, faults: Findings) -> tuple[list[str], Iterator[Found]]:
    """Fields in quotation marks may hold commas and line breaks."""

    def rows() -> Iterator[tuple[int, list[str]]]:
        reader = csv.reader(line + "\n" for _, line in corpus.read_lines(path, faults))
        try:
            for fields in reader:
                yield reader.line_num, fields
        except csv.Error as error:
            raise ValueError(
                f"{path}, line {reader.line_num}: no CSV ({error}); is a quotation mark not closed?"
            ) from error

    return _with_header(path, rows(), faults)


def _with_header(
    path: Path, rows: Iterator[tuple[int, list[str]]], faults: Findings
) -> tuple[list[str], Iterator[Found]]:
    _, header = next(rows, (0, []))
    if len(set(header)) < len(header):
        raise ValueError(
            f"{path}: the first line names the columns, each once; it has {', '.join(header)}"
        )

    def found() -> Iterator[Found]:
        for number, fields in rows:
            if len(fields) != len(header):
                faults.add(path, f"lines that have not {len(header)} fields", f"line {number}")
                continue
            yield Found(f"line {number}", dict(zip(header, fields, strict=True)))

    return header, found()


def _jsonl(path: Path, faults: Findings) -> tuple[list[str], Iterator[Found]]:
    found = (Found(f"line {number}", row) for number, row in _objects(path, faults))
    first, rows = _peek(found)
    return list(first.values) if first else [], rows


def _objects(path: Path, faults: Findings) -> Iterator[tuple[int, dict]]:
    for number, line in corpus.read_lines(path, faults):
        try:
            row = parse_json(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            yield number, row
        elif number == 1 and line.lstrip().startswith("["):
            raise ValueError(
                f"{path} is one JSON list; one object on each line is read: jq -c '.[]' {path}"
            )
        else:
            faults.add(path, "lines that are no JSON object", f"line {number}")


def _peek(rows: Iterator[Found]) -> tuple[Found | None, Iterator[Found]]:
    first = next(rows, None)

    def again() -> Iterator[Found]:
        if first is not None:
            yield first
            yield from rows

    return first, again()


# --- lhotse -------------------------------------------------------------------------------------

CUT = re.compile(r"(Mono|Multi|Mixed|Padding)Cut$")
OTHER_CUTS = "cuts that are no MonoCut of a recording with one audio file"
BAD_RECORDING = "recordings whose id is empty or has white space"
BAD_TIMES = "cuts that lack a part, or whose times are not within the recording"
STANDARD = ("id", "audio", "text", "speaker", "language", "duration")  # columns of a cut


def _is_cut(row: dict) -> bool:
    return bool(CUT.match(str(row.get("type")))) or {"recording", "supervisions"} <= row.keys()


def _cuts(path: Path, faults: Findings) -> tuple[list[str], Iterator[Found]]:
    """One utterance for each supervision, named by it where a cut has several, or for a cut that
    has none. Further columns are what the first supervision's `custom` has."""
    first, rows = _peek(_supervised(path, faults))
    return list(first.values) if first else list(STANDARD), rows


def _supervised(path: Path, faults: Findings) -> Iterator[Found]:
    for number, cut in _objects(path, faults):
        try:
            source = _source(cut)
            found = list(_parts(f"line {number}", cut, source)) if source else []
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            faults.add(path, BAD_TIMES, f"line {number}")
            continue
        if not source:
            faults.add(path, OTHER_CUTS, f"line {number}: {str(cut.get('id'))[:60]}")
        elif not _is_word(cut["recording"]["id"]):
            faults.add(path, BAD_RECORDING, f"line {number}: {str(cut.get('id'))[:60]}")
        else:
            yield from found


def _source(cut: dict) -> str | None:
    """The one audio file of a cut's recording; None: that is not how its audio is kept."""
    recording = cut.get("recording")
    if cut.get("type", "MonoCut") != "MonoCut" or not isinstance(recording, dict):
        return None
    (source, *more) = recording["sources"] or [{}]
    if more or source.get("type") != "file" or recording.get("transforms"):
        return None
    return source["source"]


def _parts(where: str, cut: dict, source: str) -> Iterator[Found]:
    recording, start, length = cut["recording"], float(cut["start"]), float(cut["duration"])
    channel = int(cut.get("channel") or 0) if _channels(recording) > 1 else None
    said = cut.get("supervisions") or []
    for supervision in said or [{}]:
        begin, end = start, start + length
        if len(said) > 1:
            begin = start + max(0.0, float(supervision["start"]))
            end = min(end, start + float(supervision["start"]) + float(supervision["duration"]))
        available = float(recording["duration"])
        if not -SLACK <= begin < end <= available + SLACK:
            raise ValueError("times")
        is_complete = begin < SLACK and end > available - SLACK and channel is None
        yield Found(
            where,
            {
                **(supervision.get("custom") or {}),
                "id": (supervision if len(said) > 1 else cut)["id"],
                "audio": source,
                "text": supervision.get("text"),
                "speaker": supervision.get("speaker"),
                "language": supervision.get("language"),
                "duration": f"{end - begin:.3f}",
            },
            recording=str(recording["id"]),
            segment=None if is_complete else Segment(str(recording["id"]), begin, end, channel),
        )


def _is_word(id_: object) -> bool:
    text = "" if id_ is None else str(id_)
    return text.split() == [text]


def _channels(recording: Mapping) -> int:
    return sum(len(source.get("channels") or [0]) for source in recording["sources"])


def text_of(value: object) -> str | None:
    """A cell as a table holds it: one line; a list as "a | b"; "" for nothing; None: it is no text,
    number (NaN and infinity are none) or list of these."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str | int | float):
        return corpus.one_line(str(value))
    if isinstance(value, Iterable) and not isinstance(value, dict | bytes | Blob):
        parts = [text_of(part) for part in value]
        return None if None in parts else " | ".join(part or "" for part in parts)
    return None
