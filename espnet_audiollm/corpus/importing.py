"""A data directory from somebody's list of utterances (corpus/manifests.py).

The list is read once; its rows are sorted on the disk. All that is wrong with it is one report,
and then nothing is written."""

from __future__ import annotations

import itertools
import os
import re
import stat
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path

from ..data import kaldi_dir, segments, sources
from ..data.kaldi_dir import TableWriter
from ..data.sorting import sort_rows
from ..store.atomic import new_directories
from ..store.tables import CONTROL_ID, CONTROLS, LONG_ID, LONGEST_ID, scan
from . import manifests
from . import prepare as corpus
from .arrow import Blob
from .manifests import Found, Listed

TABLE = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
UNSORTED = ".wav.scp"  # on the way to wav.scp
TAKEN = ("wav.scp", "text", "utt2spk", "segments")  # tables that have an option of their own

NO_ID = "rows without an id"
BAD_ID = "ids with white space"
NO_SPEAKER = "rows without a speaker"
BAD_SPEAKER = "speakers with white space"
NO_TEXT = "rows without text"
NO_AUDIO = "rows without audio"
MISSING = "audio files that do not exist"
NO_FILE = "audio that is a directory or a pipe, not a file"
EMPTY = "audio files that are empty"
PIPE = "pipes"
ODD = "values that are no text, or hold what no table can"
LACKING = "rows without a value for "
STEPS = {
    NO_ID: "fill them in, or name the column of ids with --id",
    CONTROL_ID: "name another column with --id",
    LONG_ID: "name another column with --id",
    BAD_ID: "replace the white space, or name another column with --id",
    corpus.TWICE: "give each utterance its own id, in a column that --id names",
    NO_SPEAKER: "fill them in; with --speaker '' each utterance is its own speaker",
    BAD_SPEAKER: "replace the white space",
    NO_TEXT: "write these transcripts, or leave such rows out with --drop true",
    NO_AUDIO: "name the column with --audio, or leave such rows out with --drop true",
    MISSING: "relative paths start from the list's directory, or from --audio_root; such rows are "
    "left out with --drop true",
    NO_FILE: "name the files themselves, or leave such rows out with --drop true",
    EMPTY: "copy these recordings again, or leave such rows out with --drop true",
    PIPE: "convert the audio to files: commands in a list are never run",
    ODD: "correct these values, or leave the column out",
    manifests.OTHER_CUTS: "save such cuts' audio as files with lhotse (CutSet.save_audios) first",
    manifests.BAD_RECORDING: "give each recording an id of one word",
    manifests.BAD_TIMES: "correct the cuts: start and duration are seconds within the recording",
}
CAN_DROP = (NO_TEXT, NO_AUDIO, MISSING, NO_FILE, EMPTY)


class Faults(corpus.Faults):
    """All errors of a list; with `drop`, what is left out of it instead."""

    def __init__(self, drop: bool):
        super().__init__("correct these lines", steps=STEPS)
        self._drop = drop

    def add(self, file: str | Path, kind: str, example: str, times: int = 1) -> None:
        """Note an error, or a row that is left out."""
        if self._drop and kind in CAN_DROP:
            self.leave_out(file, kind, example)
        else:
            super().add(file, kind, example, times)


@dataclass(frozen=True)
class Columns:
    """Which column is what; None: not asked for (the default name counts if it is there)."""

    id: str | None = None  # else the name of the audio file, without its ending
    audio: str | None = None
    text: str | None = None  # "": none
    speaker: str | None = None  # "": none, each utterance is its own
    extra: Mapping[str, str] = field(default_factory=dict)  # {table: column}

    def of(self, listed: Listed, path: Path) -> Columns:
        """With the names that count for this list; "" for what it has not."""
        if not listed.columns:
            raise ValueError(f"{path} is empty, or nothing in it can be read")
        wanted = {name: getattr(self, name) for name in ("id", "audio", "text", "speaker")}
        found = {
            name: (name if name in listed.columns else "") if column is None else column
            for name, column in wanted.items()
        }
        found["audio"] = found["audio"] or "audio"
        asked = [column for column in (*found.values(), *self.extra.values()) if column]
        if lacking := [column for column in asked if column not in listed.columns]:
            raise ValueError(
                f"{path} has no column {', '.join(lacking)}; it has {', '.join(listed.columns)}: "
                "say which is which with --id, --audio, --text, --speaker, --extra"
            )
        return Columns(**found, extra=self.extra)

    def not_taken(self, listed: Listed) -> list[str]:
        """A line about columns that are named like tables of a data directory, and left out."""
        taken = {self.id, self.audio, self.text, self.speaker, *self.extra.values(), *self.extra}
        names = [name for name in kaldi_dir.CARRIED if name in {*listed.columns} - taken]
        extra = " ".join(f"{name}={name}" for name in names)
        return (
            [f"left out columns named like tables; to have them: --extra {extra}"] if names else []
        )


@dataclass
class Made:
    """What a new directory has."""

    utterances: int
    speakers: set[str]
    tables: list[str]
    left_out: list[str]


def make(
    path: str | Path,
    target: str | Path,
    columns: Columns = Columns(),  # noqa: B008 (frozen)
    form: str = "auto",
    split: str = "",
    audio_root: str | Path | None = None,
    drop: bool = False,
) -> Made:
    """Make the data directory `target` of a list. Raises one ValueError for all that is wrong.

    drop: rows without text or audio are left out. Audio that is stored in the list goes to
    files in target/audio."""
    path, target = Path(path), Path(os.path.abspath(target))
    for name in columns.extra:
        if not TABLE.fullmatch(name) or name in TAKEN:
            raise ValueError(f"--extra {name}=...: a further table's name is letters and digits")
    faults = Faults(drop)
    listed = manifests.read(path, form, faults, split)
    columns = columns.of(listed, path)
    root = Path(os.path.abspath(audio_root or listed.root))
    with new_directories(target) as (place,), tempfile.TemporaryDirectory() as aside:
        reader = _Reader(path, root, columns, faults, place, target)
        rows = sort_rows(reader.rows(listed.rows), Path(aside))
        made = _write(corpus.unique(rows, path, faults), place, columns, reader)
        faults.refuse()
        if not made.utterances:
            raise ValueError(f"{path}: not a single utterance is left of it")
    made.left_out += faults.left_out() + columns.not_taken(listed)
    return made


class _Reader:
    """Makes rows to sort: id, speaker, text, audio, recording, segment, extra values."""

    def __init__(
        self, path: Path, root: Path, columns: Columns, faults: Faults, place: Path, target: Path
    ):
        self.path, self.root, self.columns, self.faults = path, root, columns, faults
        self.place, self.target = place, target
        self.cuts_up = False  # some utterance is a part of a recording

    def rows(self, found: Iterator[Found]) -> Iterator[tuple[str, ...]]:
        for row in found:
            fields = {name: self._text(row, name) for name in ("id", "speaker", "text")}
            extra = [self._cell(row, name) for name in self.columns.extra.values()]
            audio = row.values.get(self.columns.audio or "")
            name = audio.name if isinstance(audio, Blob) else str(audio or "").strip()
            id_ = fields["id"] if self.columns.id else Path(name).stem
            speaker = fields["speaker"] if self.columns.speaker else id_
            if not self._is_good(row.where, id_, speaker, fields["text"], extra):
                continue
            if value := self._audio(row.where, id_, audio, name):
                self.cuts_up |= row.segment is not None
                part = str(row.segment or f"{row.recording} 0 -1") if row.recording else ""
                yield id_, speaker, fields["text"], value, row.recording, part, *extra

    def _text(self, row: Found, name: str) -> str:
        return self._cell(row, getattr(self.columns, name))

    def _cell(self, row: Found, column: str) -> str:
        text = manifests.text_of(row.values.get(column)) if column else ""
        if text is None or _is_odd(text):
            self.faults.add(self.path, ODD, f"{row.where}, {column}")
            return "-"
        return text

    def _is_good(self, where: str, id_: str, speaker: str, text: str, extra: list[str]) -> bool:
        kinds = [LONG_ID] * (len(id_) > LONGEST_ID)
        kinds += [CONTROL_ID] * bool(CONTROLS.search("".join(id_.split())))
        kinds += [NO_ID] * (not id_) + [BAD_ID] * (id_.split() != [id_] and bool(id_))
        if self.columns.speaker:
            kinds += [NO_SPEAKER] * (not speaker) + [BAD_SPEAKER] * (" " in speaker)
        kinds += [NO_TEXT] * (not text and bool(self.columns.text))
        for table, value in zip(self.columns.extra, extra, strict=True):
            kinds += [LACKING + table] * (not value and table in kaldi_dir.OPTIONAL)
        for kind in kinds:
            self.faults.add(self.path, kind, f"{where} {id_[:100]}".strip())
        return not kinds

    def _audio(self, where: str, id_: str, audio: object, name: str) -> str:
        """The value for wav.scp; "" after an error."""
        if isinstance(audio, Blob):
            return self._store(id_, audio)
        value, kind = "", None
        if not name:
            kind = NO_AUDIO
        elif _is_odd(name):
            kind = ODD
        elif name.startswith("|") or name.endswith("|"):
            kind = PIPE
        else:
            value = os.path.normpath(self.root / name)
            kind = _fault_of(value)
        if kind:
            self.faults.add(self.path, kind, f"{where} {id_}: {name[:100]}")
        return "" if kind else value

    def _store(self, id_: str, audio: Blob) -> str:
        """Write audio that the list holds to a file; returns where that will be."""
        if not audio.data:
            self.faults.add(self.path, EMPTY, id_)
            return ""
        ending = re.search(r"\.[A-Za-z0-9]{1,5}$", audio.name)
        name = sources.file_name(id_, ending[0] if ending else "")
        path = self.place / "audio" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(audio.data)
        return str(self.target / "audio" / name)


def _is_odd(text: str) -> bool:
    """A NUL, or half of a character."""
    try:
        return b"\0" in text.encode()
    except UnicodeEncodeError:
        return True


def _fault_of(path: str) -> str | None:
    try:
        found = os.stat(path)
        return NO_FILE if not stat.S_ISREG(found.st_mode) else None if found.st_size else EMPTY
    except (OSError, ValueError):
        return MISSING


def _write(rows: Iterator[tuple], place: Path, columns: Columns, reader: _Reader) -> Made:
    """The tables of sorted rows, in `place`."""
    first = next(rows, None)  # the list is read by now
    audio = segments.NAME if reader.cuts_up else "wav.scp"
    made = Made(0, set(), [audio, "utt2spk", *["text"] * bool(columns.text), *columns.extra], [])
    with TableWriter(place) as out:
        for row in itertools.chain([first] if first else [], rows):
            id_, speaker, text, path, recording, part, *extra = row
            values = {audio: part if reader.cuts_up else path, "utt2spk": speaker}
            values |= {"text": text} if columns.text else {}
            values |= {n: v for n, v in zip(columns.extra, extra, strict=True) if v}
            out.add(id_, values)
            if reader.cuts_up:
                out.add(recording or id_, {UNSORTED: path})
            made.utterances += 1
            made.speakers.add(speaker)
    if reader.cuts_up:
        made.tables.append("wav.scp")
        _write_recordings(place, reader)
    return made


def _write_recordings(place: Path, reader: _Reader) -> None:
    """wav.scp, of rows in the order of utterances."""
    with TableWriter(place) as out:
        rows = ((id_, path) for _, id_, path, _ in scan(place / UNSORTED))
        for id_, same in itertools.groupby(sort_rows(rows), key=itemgetter(0)):
            paths = {path for _, path in same}
            if len(paths) > 1:
                reader.faults.add(reader.path, "recordings with two audio files", id_)
            out.add(id_, {"wav.scp": min(paths)})
    (place / UNSORTED).unlink(missing_ok=True)
