"""Sorted tables of millions of lines, read line by line wherever one is wanted.

    .wav.scp.<state>.index   header: number of lines, a hash of all ids; then where each line begins

The index lies beside its table, is made once, and is named after the state of the table (size,
time of change): a table that changed has another index, and a file that exists is never written
again. Processes that make it at once end with one of theirs. Where it cannot be written it lives in
an unnamed temporary file.

Lines are fetched by `pread`, not through `mmap`: workers share the pages of the system's cache all
the same, and a table that is cut, or a server that goes away, is an error with a sentence and not
SIGBUS.
No memory grows with the number of lines.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from ..store.tables import Row
from .kaldi_dir import read_table

BLOCK = 1 << 20  # bytes of a table looked at together
HEADER = struct.Struct("<24sQ32s")
MAGIC = b"espnet_audiollm index 1\n"
OFFSET = np.dtype("<u8")
STATE = 16  # digits that name the state of a file
UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)
NAMES_NEEDED = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL)  # of a new file


class Table:
    """A sorted table: `table[row]` is (id, value), `len(table)` its lines.

    ids: a hash of all ids; tables with equal hashes hold the same ids in the same rows.

    Errors (ValueError): no such file, no lines, lines out of order or without an id."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._open()

    def _open(self) -> None:
        try:
            self._lines = open(self.path, "rb", buffering=0)
        except FileNotFoundError:
            raise ValueError(f"{self.path} does not exist: run the stage that makes it") from None
        state = state_of(self._lines.fileno())
        self._index = cached(
            self.path.with_name(f".{self.path.name}.{state}.index"),
            f".{self.path.name}.{'?' * STATE}.index",
            lambda out: _write_index(self.path, out),
        )
        magic, self._len, ids = HEADER.unpack(self._pread(self._index, HEADER.size, 0))
        size = os.fstat(self._index.fileno()).st_size
        if magic != MAGIC or size != HEADER.size + OFFSET.itemsize * (self._len + 1):
            raise ValueError(f"{self._index.name} is damaged: delete it and run again")
        self.ids = ids.hex()

    def __len__(self) -> int:
        return self._len

    def __getitem__(self, row: int) -> Row:
        if not 0 <= row < self._len:
            raise IndexError(f"{self.path} has {self._len} lines; row {row} is none of them")
        where = HEADER.size + OFFSET.itemsize * row
        begin, end = np.frombuffer(self._pread(self._index, 2 * OFFSET.itemsize, where), OFFSET)
        line = self._pread(self._lines, int(end - begin), int(begin)).decode()
        id_, *value = line.split(maxsplit=1)
        return id_, value[0].strip() if value else ""

    def find(self, id_: str) -> int | None:
        """The row of an id; None: it has none."""
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self[middle][0] < id_:
                low = middle + 1
            else:
                high = middle
        return low if low < len(self) and self[low][0] == id_ else None

    def _pread(self, file: IO[bytes], size: int, offset: int) -> bytes:
        data = os.pread(file.fileno(), size, offset)
        if len(data) != size:
            raise ValueError(f"{file.name} was cut short while it was read: make it again")
        return data

    def __getstate__(self) -> dict:
        return {"path": self.path}

    def __setstate__(self, state: dict) -> None:
        self.path = state["path"]
        self._open()


def check_same_ids(tables: Iterable[tuple[Path, str]]) -> None:
    """Raise ValueError where tables, given as (path, hash of ids), do not hold the same ids."""
    (first, ids), *others = tables
    for path, found in others:
        if found != ids:
            raise ValueError(_first_difference(first, path))


def _first_difference(left: Path, right: Path) -> str:
    rows = itertools.zip_longest(read_table(left), read_table(right), fillvalue=None)
    for a, b in rows:
        if a is None or b is None or a[0] != b[0]:
            id_ = min(row[0] for row in (a, b) if row)
            lacking = right if a and a[0] == id_ else left
            return (
                f"{left} and {right} do not hold the same ids: {id_} is missing in {lacking}; "
                "run the stages that make them again"
            )
    return f"{left} and {right} were changed while they were read: run again"


# --- files that are made once -------------------------------------------------------------------


def state_of(file: str | Path | int) -> str:
    """A short name of the present state of a file."""
    found = os.stat(file)
    stamp = f"{found.st_ino} {found.st_size} {found.st_mtime_ns}"
    return hashlib.sha256(stamp.encode()).hexdigest()[:STATE]


def cached(path: Path, family: str, make: Callable[[IO[bytes]], None]) -> IO[bytes]:
    """The file `path`, open for reading; `make` writes it where it does not exist.

    It appears complete, and once: whoever links it first wins. Older files of its `family` (a glob
    pattern) are removed. A directory that cannot be written gets an unnamed file elsewhere."""
    try:
        return open(path, "rb", buffering=0)
    except FileNotFoundError:
        pass
    try:
        with _aside(path) as out:
            make(out)
            os.fsync(out.fileno())
            os.fchmod(out.fileno(), 0o644)
            for old in path.parent.glob(family):
                if old != path:  # which another process may have named meanwhile, and open now
                    old.unlink(missing_ok=True)
            _name(out, path)
            return open(os.dup(out.fileno()), "rb", buffering=0)
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        unnamed = tempfile.TemporaryFile(buffering=0)
        make(unnamed)
        return unnamed


@contextmanager
def _aside(path: Path) -> Iterator[IO[bytes]]:
    """A new file in the directory of `path`, without a name where that can be: a process that is
    killed leaves nothing."""
    try:
        number = os.open(path.parent, os.O_TMPFILE | os.O_RDWR, 0o600)
    except OSError as error:
        if error.errno not in NAMES_NEEDED:
            raise
        with tempfile.NamedTemporaryFile(
            "w+b", buffering=0, dir=path.parent, prefix=f"{path.name}.", suffix=".tmp"
        ) as named:
            yield named
        return
    with open(number, "w+b", buffering=0) as out:
        yield out


def _name(file: IO[bytes], path: Path) -> None:
    """Give the file `file` the name `path`, unless another process was faster."""
    source = file.name if isinstance(file.name, str) else f"/proc/self/fd/{file.fileno()}"
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.link(source, path, src_dir_fd=directory, follow_symlinks=True)
    except FileExistsError:
        pass
    except OSError:  # a file system without links
        if source != file.name:
            raise
        shutil.copyfile(source, f"{source}.complete")
        os.replace(f"{source}.complete", path)
    finally:
        os.close(directory)


def _write_index(path: Path, out: IO[bytes]) -> None:
    ids, count, end = hashlib.blake2b(digest_size=32), 0, 0
    out.write(HEADER.pack(MAGIC, 0, b""))
    for lines in scan(path):
        ids.update(lines.ids())
        out.write((lines.base + lines.begins).astype(OFFSET).tobytes())
        count += len(lines.begins)
        end = lines.base + lines.size
    if not count:
        raise ValueError(f"{path} is empty: run the stage that makes it again")
    out.write(np.array([end], OFFSET).tobytes())
    out.seek(0)
    out.write(HEADER.pack(MAGIC, count, ids.digest()))
    out.seek(0)


# --- many lines at once -------------------------------------------------------------------------


@dataclass(frozen=True)
class Lines:
    """Whole lines of a table that follow each other."""

    base: int  # byte of the table at which they begin
    size: int  # bytes of the table that they are
    chars: np.ndarray  # (size or size + 1,) uint8: the last one is a line end
    begins: np.ndarray  # (n,) where each line begins, in `chars`
    id_ends: np.ndarray  # (n,) the white space after each id
    ends: np.ndarray  # (n,) line ends

    def ids(self) -> bytes:
        """All ids, a line each."""
        return self._cut(self.begins, self.id_ends)

    def values(self) -> bytes:
        """All values, a line each, white space before them included."""
        return self._cut(self.id_ends, self.ends)

    def id(self, line: int) -> str:
        """The id of a line."""
        return self.chars[self.begins[line] : self.id_ends[line]].tobytes().decode()

    def _cut(self, begins: np.ndarray, ends: np.ndarray) -> bytes:
        """From each of `begins` to each of `ends`, which becomes a line end."""
        edges = np.zeros(len(self.chars) + 1, np.int8)
        edges[begins] += 1
        edges[ends + 1] -= 1
        chars = self.chars.copy()
        chars[ends] = ord("\n")
        return chars[np.cumsum(edges[:-1], dtype=np.int8).view(bool)].tobytes()


def scan(path: str | Path) -> Iterator[Lines]:
    """A sorted table in blocks of complete lines, in constant memory.

    Errors (ValueError): a line without an id, ids out of order or twice."""
    base, rest, previous = 0, b"", b""
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            lines_of_block, line_end, rest_of_block = block.rpartition(b"\n")
            if not line_end:
                rest += block
                continue
            lines = _lines(base, rest + lines_of_block + line_end)
            previous = _check_order(path, lines, previous)
            yield lines
            base, rest = base + lines.size, rest_of_block
    if rest:
        lines = _lines(base, rest)
        _check_order(path, lines, previous)
        yield lines


def _lines(base: int, text: bytes) -> Lines:
    size = len(text)
    chars = np.frombuffer(text if text.endswith(b"\n") else text + b"\n", np.uint8)
    spaces = np.flatnonzero(chars <= ord(" "))
    ends = spaces[chars[spaces] == ord("\n")]
    begins = np.concatenate([[0], ends[:-1] + 1])
    return Lines(base, size, chars, begins, spaces[np.searchsorted(spaces, begins)], ends)


def _check_order(path: str | Path, lines: Lines, previous: bytes) -> bytes:
    """The last id, when all ids are there, rise, and come after `previous`."""
    lengths = lines.id_ends - lines.begins
    if not lengths.all():
        where = lines.base + lines.begins[np.argmin(lengths)]
        raise ValueError(f"{path}: the line at byte {where} has no id; {_see(path)}")
    width = np.arange(lengths.max())
    ids = np.where(
        width < lengths[:, None],
        lines.chars[np.minimum(lines.begins[:, None] + width, len(lines.chars) - 1)],
        np.uint8(0),
    )
    ids = ids.view(f"S{len(width)}").ravel()
    rising = ids[1:] > ids[:-1]
    if ids[0] <= previous or not rising.all():
        wrong = 0 if ids[0] <= previous else 1 + int(np.argmin(rising))
        raise ValueError(
            f"{path}: lines are out of order, or ids come twice (first: {lines.id(wrong)}); "
            f"{_see(path)}"
        )
    return bytes(ids[-1])


def _see(path: str | Path) -> str:
    return f"utils/data/validate.py {Path(path).parent} lists all faults, fix.py beside it mends"
