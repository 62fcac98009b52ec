"""What the recipes' preparations share: read a corpus, report all its errors at once, and
write its splits, sorted, all of them or none.

Nothing here holds a corpus in memory: entries are sorted in runs on the disk, so that ten million
utterances need no more than a few hundred thousand.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from ..data import audio
from ..data.sorting import SEPARATOR, sort_rows, sorting_place, split_line
from ..data.validation import Findings, Problem
from ..store.atomic import atomic_write
from ..store.tables import Row, as_line, outer_join
from ..types import Utterance

LONGEST_LINE = 1 << 24  # bytes; a few of a .gz may become many
R = TypeVar("R", bound=tuple)  # a row, its id first

NO_AUDIO = "transcripts without audio"
NO_TEXT = "recordings without a transcript"
TWICE = "ids that come twice"
SHARED = "ids that another split has too"
EMPTY = "transcripts without a word"
NO_BYTES = "recordings of 0 bytes"


def get_parser(description: str | None, holds: str) -> argparse.ArgumentParser:
    """The options that all preparations have; `holds`: what the corpus's directory holds."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", default="", help=f"directory of {holds}")
    parser.add_argument("--downloads", type=Path, default="downloads", help="where downloads go")
    parser.add_argument(
        "--subset",
        choices=("true", "false"),
        default="false",
        help="the corpus is a part of the published one: counts are not compared, and what lacks "
        "audio or transcript is left out (default: %(default)s)",
    )
    return parser


@dataclass(frozen=True)
class Entry:
    """One utterance, and its lines in further tables: {"answers": "Rome | Roma"}."""

    utterance: Utterance
    extra: Mapping[str, str] = field(default_factory=dict)


class Faults(Findings):
    """All errors of a corpus, and what is left out of it on purpose.

    `subset`: the corpus is a part of the published one, which lacks recordings or transcripts."""

    def __init__(
        self, next_step: str, subset: str = "false", steps: Mapping[str, str] | None = None
    ):
        super().__init__(next_step, steps)
        self.subset = subset == "true"
        self._left_out = Findings()
        self._gaps: set[str] = set()  # kinds that a subset may have

    def lacks(self, file: str | Path, kind: str, example: str) -> None:
        """What a subset leaves out is an error of a complete corpus: NO_AUDIO, NO_TEXT, ..."""
        self._gaps.add(kind)
        (self.leave_out if self.subset else self.add)(file, kind, example)

    def leave_out(self, file: str | Path, kind: str, example: str) -> None:
        """Note something that is no error."""
        self._left_out.add(file, kind, example)

    def left_out(self) -> list[str]:
        """A line for each kind of what is left out."""
        return [
            f"{found.file}: left out {found.count} {found.kind} (first: {found.first})"
            for found in self._left_out.problems()
        ]

    def num_left_out(self, file: str | Path | None = None) -> int:
        """How much is left out so far of this file (None: of all)."""
        found = self._left_out.problems()
        return sum(each.count for each in found if file is None or each.file == str(file))

    def problems(self) -> list[Problem]:
        """What was found; --subset true is named where it would help."""
        hint = "; where a part of the corpus is meant, say --subset true"
        return [
            replace(found, next_step=found.next_step + hint * (found.kind in self._gaps))
            for found in super().problems()
        ]


def wanted_splits(given: Iterable[str]) -> dict[str, str]:
    """{data directory: value} of arguments that read DIR=VALUE."""
    wanted: dict[str, str] = {}
    for split in given:
        directory, equals, value = split.partition("=")
        if not (directory and equals and value):
            raise ValueError(f"{split} does not read DIR=NAME, as in data/valid=dev")
        if os.path.normpath(directory) in map(os.path.normpath, wanted):
            raise ValueError(f"{split}: {directory} is given twice; each directory is made once")
        wanted[directory] = value
    return wanted


# --- reading a corpus ---------------------------------------------------------------------------


def directory_of(option: str, given: str, where: str = "") -> Path:
    """The directory of a corpus, made absolute; `option` is how the user names it, `where` is
    where it can be had, for a corpus that is not downloaded here."""
    if not given:
        raise ValueError(f"give the corpus's directory with --{option} DIR (or in db.sh): {where}")
    if not Path(given).is_dir():
        raise ValueError(f"--{option} {given}: there is no such directory")
    return Path(os.path.abspath(given))


def existing(root: Path, *names: str) -> Path:
    """The first of root/NAME that is a file; a ValueError names them all."""
    for name in names:
        if (root / name).is_file():
            return root / name
    raise ValueError(
        f"{root} holds no {' or '.join(names)}: give the directory of the unpacked corpus"
    )


def read_lines(path: Path, faults: Findings) -> Iterator[tuple[int, str]]:
    """(number, line) of a text file, of a .gz too: without its end ("\\n" or "\\r\\n"), without a
    byte order mark, blank lines passed over; a line that is not UTF-8 is an error."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rb") as file:
        try:
            for number, raw in enumerate(iter(partial(file.readline, LONGEST_LINE), b""), 1):
                if len(raw) == LONGEST_LINE:
                    raise ValueError(
                        f"{path}, line {number}: longer than {LONGEST_LINE >> 20} MB: this is no "
                        "list with a line for each utterance"
                    )
                if number == 1:
                    raw = raw.removeprefix(b"\xef\xbb\xbf")
                try:
                    line = raw.decode("utf-8").rstrip("\r\n")
                except UnicodeDecodeError:
                    faults.add(path, "lines that are not UTF-8", f"line {number}")
                    continue
                if line.strip():
                    yield number, line
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path}: damaged ({error}); copy or download it again") from error


def read_columns(path: Path, columns: Iterable[str], faults: Findings) -> Iterator[dict[str, str]]:
    """The rows of a table with a header line, as {column: value} of the `columns`. Quotation marks
    are letters like others. Raises ValueError where the header lacks a column."""
    lines = read_lines(path, faults)
    header = next(lines, (0, ""))[1].split("\t")
    if lacking := [name for name in columns if name not in header]:
        raise ValueError(f"{path}: the first line names no column {', '.join(lacking)}")
    places = {name: header.index(name) for name in columns}
    for number, line in lines:
        fields = line.split("\t")
        if len(fields) <= max(places.values()) or len(fields) > len(header):
            faults.add(path, f"lines that have not {len(header)} fields", f"line {number}")
            continue
        yield {name: fields[place] for name, place in places.items()}


def one_line(text: str) -> str:
    """The text with single spaces, as a table holds it."""
    return " ".join(text.split())


def has_audio(
    path: Path, id_: str, file: Path, faults: Faults, published_empty: bool = False
) -> bool:
    """Whether the recording is there and holds a byte; if not, it is an error. `published_empty`:
    the corpus is published with recordings of 0 bytes, which are left out."""
    try:
        size = os.stat(path).st_size
    except OSError:
        faults.lacks(file, NO_AUDIO, f"{id_}: {path}")
        return False
    if not path.is_file():
        faults.add(file, "recordings that are a directory or a pipe", str(path))
        return False
    if size == 0:
        (faults.leave_out if published_empty else faults.add)(file, NO_BYTES, str(path))
    return size > 0


def join(
    texts: Iterable[Row], audio: Iterable[Row], file: Path, faults: Faults
) -> Iterator[tuple[str, str, str]]:
    """(id, text, path) of the ids that both have; both come in order of their ids. An id that
    comes twice, and one that the other lacks, is an error, under `file`."""
    for id_, (text, path) in outer_join(unique(texts, file, faults), unique(audio, file, faults)):
        if path is None:
            faults.lacks(file, NO_AUDIO, id_)
        elif text is None:
            faults.lacks(file, NO_TEXT, path)
        else:
            yield id_, text, path


def unique(rows: Iterable[R], file: str | Path, faults: Findings) -> Iterator[R]:
    """Rows in order of their ids without those whose id comes again, which are errors."""
    previous = None
    for row in rows:
        if row[0] == previous:
            faults.add(file, TWICE, row[0])
        else:
            yield row
        previous = row[0]


# --- writing the splits -------------------------------------------------------------------------


def write_splits(
    splits: Mapping[str, Iterable[Entry]],
    faults: Faults,
    published: Mapping[tuple[str, ...], int] | None = None,
) -> None:
    """Write {data directory: entries}, once all of them are read without an error.

    `published`: {data directories: number of utterances}, what they should hold together with what
    is left out of them on purpose; not compared for a subset. Raises one ValueError for all that
    was found, and then writes nothing."""
    with ExitStack() as stack:
        sorted_ = {}
        for directory, entries in splits.items():
            aside = stack.enter_context(sorting_place(directory))
            sorted_[directory] = _Sorted(directory, entries, aside, faults)
        _find_shared(sorted_, faults)
        faults.refuse()
        for directory, split in sorted_.items():
            if split.count == 0:
                nothing = f"{directory}: not a single utterance was found for it"
                raise ValueError("\n  ".join([nothing, *faults.left_out()]))
        counts = [
            with_left_out(
                f"utterances for {' and '.join(together)}",
                sum(sorted_[directory].count for directory in together),
                sum(sorted_[directory].left_out for directory in together),
                number,
            )
            for together, number in (published or {}).items()
        ]
        compare_counts(counts, faults)
        for line in faults.left_out():
            print(line)
        for directory, split in sorted_.items():
            split.write(Path(directory))
            print(f"{directory}: {split.count} utterances of {len(split.speakers)} speakers")


class _Sorted:
    """The entries of a split in order, in a file, without those whose id comes twice; and how many
    were left out while they were read."""

    def __init__(self, directory: str, entries: Iterable[Entry], aside: Path, faults: Faults):
        self.count, self.speakers = 0, set[str]()
        self.extra: tuple[str, ...] = ()
        self._path = aside / "sorted"
        before = faults.num_left_out()
        rows = unique(sort_rows(self._rows(entries), aside), directory, faults)
        with open(self._path, "w", encoding="utf-8", newline="\n") as out:
            for row in rows:
                out.write(SEPARATOR.join(row) + "\n")
                self.speakers.add(row[2])
                self.count += 1
        self.left_out = faults.num_left_out() - before

    def _rows(self, entries: Iterable[Entry]) -> Iterator[tuple[str, ...]]:
        for number, entry in enumerate(entries):
            utt = entry.utterance
            if number == 0:
                self.extra = tuple(entry.extra)
            assert tuple(entry.extra) == self.extra and utt.text is not None
            yield utt.id, utt.audio, utt.speaker, utt.text, *entry.extra.values()

    def ids(self) -> Iterator[str]:
        with open(self._path, encoding="utf-8", newline="\n") as rows:
            for row in rows:
                yield row.partition(SEPARATOR)[0]

    def write(self, directory: Path) -> None:
        names = ("wav.scp", "utt2spk", "text", *self.extra)
        (directory / "wav.scp").unlink(missing_ok=True)
        with ExitStack() as stack:  # closed from the last to the first: wav.scp appears last
            out = [stack.enter_context(atomic_write(directory / name)) for name in names]
            for line in stack.enter_context(open(self._path, encoding="utf-8", newline="\n")):
                id_, *values = split_line(line)
                for table, value in zip(out, values, strict=True):
                    table.write(as_line(id_, value))


def _find_shared(sorted_: Mapping[str, _Sorted], faults: Findings) -> None:
    """A test utterance must not be learned from. All ids but the largest split's are in memory."""
    seen: set[str] = set()
    order = sorted(sorted_.items(), key=lambda item: item[1].count)
    for number, (directory, split) in enumerate(order, 1):
        for id_ in split.ids():
            if id_ in seen:
                faults.add(directory, SHARED, id_)
            elif number < len(order):
                seen.add(id_)


def with_left_out(what: str, kept: int, left_out: int, published: int) -> tuple[str, int, int]:
    """A row of `compare_counts`: what is left out on purpose is among what is published."""
    note = f" (with {left_out} that are left out)" if left_out else ""
    return what + note, kept + left_out, published


def compare_counts(rows: Iterable[tuple[str, int, int]], faults: Faults) -> None:
    """(what, how many were found, how many are published): a ValueError names those that differ;
    a subset's are not compared."""
    wrong = [
        f"{what}: {found}, not {published} as published"
        for what, found, published in rows
        if found != published
    ]
    if wrong and not faults.subset:
        raise ValueError(
            f"{'; '.join(wrong)}. Unpack the corpus again, or say --subset true where a part of "
            f"it is meant"
        )


# --- what is up to date ---------------------------------------------------------------------------


def stamp(*files: Path) -> list:
    """Path, size and time of change of files: an index that changes asks for a new preparation."""
    return [
        [str(file), (found := os.stat(file)).st_size, found.st_mtime_ns]
        for file in map(Path, files)
    ]


def digest(*files: Path) -> str:
    """A hash of what `stamp` says of files: of thousands, or to be the comment of a recording that
    is made of them."""
    return hashlib.sha256(json.dumps(stamp(*files)).encode()).hexdigest()


def has_comment(recording: Path, comment: str) -> bool:
    """Whether a recording is there, can be opened, and has this comment."""
    try:
        return audio.read_comment(recording) == comment
    except RuntimeError:  # libsndfile's, of a file that is missing or damaged
        return False


def settings_of(args: argparse.Namespace, *files: Path) -> dict:
    """What a preparation follows from: its options (but how many processes do it, and where from
    its files came) and its files."""
    options = {k: str(v) for k, v in vars(args).items() if k not in ("nj", "corpus", "downloads")}
    return {"options": options, "files": stamp(*files)}


def made_before(marker: Path, settings: dict) -> bool:
    """Whether the marker, written last, says that the same settings came to their end; says so. A
    marker of other settings is removed: what it speaks of is about to be overwritten."""
    if not marker.is_file() or json.loads(marker.read_text()) != json.loads(json.dumps(settings)):
        marker.unlink(missing_ok=True)
        return False
    print(f"{marker}: made already, skipped (remove this file to do it again)", file=sys.stderr)
    return True


def mark_made(marker: Path, settings: dict) -> None:
    """Write the marker: a preparation with these settings came to its end."""
    with atomic_write(marker) as out:
        out.write(json.dumps(settings) + "\n")
