"""Files and directories that appear complete or not at all."""

from __future__ import annotations

import errno
import filecmp
import itertools
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

FORGOTTEN = 3600.0  # seconds without a change: then no process of another machine writes a file
MAY_PASS = (  # what a network file system says when it is away for a while
    *(errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ESHUTDOWN, errno.EREMOTEIO, errno.ETIMEDOUT),
)


def aside_of(path: Path) -> Path:
    """Where this process writes `path` until it is complete: a name that no other process has, of
    no machine that shares the disk."""
    return path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")


@contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator[IO]:
    """Open a file beside `path`, and rename it to `path` once it is written and flushed to disk.

    An exception inside the block (a full disk, say) removes what was written and leaves an older
    `path` as it was. Text is UTF-8 with "\\n" line ends. `mode` is "w" or "wb".
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = aside_of(path)
    try:
        with _open(aside, mode) as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        os.replace(aside, path)
        flush_directory(path.parent)
    except OSError as error:
        error.filename = error.filename or str(path)  # a failed write() does not say where
        raise
    finally:
        aside.unlink(missing_ok=True)


def _open(path: Path, mode: str) -> IO:
    return open(path, mode) if "b" in mode else open(path, mode, encoding="utf-8", newline="\n")


def remove_asides(directory: str | Path, *names: str) -> None:
    """Remove what killed writers of `names` (patterns) left in `directory`.

    What a living process writes stays; of another machine's, what was changed within the hour."""
    for name in names:
        for aside in Path(directory).glob(f".{name}.*.tmp"):
            if _is_abandoned(aside):
                aside.unlink(missing_ok=True)


def _is_abandoned(aside: Path) -> bool:
    if (process := _writer(aside)) is not None:
        return not _is_alive(process)
    try:
        return time.time() - aside.lstat().st_mtime > FORGOTTEN
    except FileNotFoundError:
        return False


def _writer(aside: Path) -> int | None:
    """The process that writes it; None: one of another machine."""
    start, _, number = aside.name.removesuffix(".tmp").rpartition(".")
    here = start.endswith(f".{socket.gethostname()}") and number.isdigit()
    return int(number) if here else None


def flush_directory(path: Path) -> None:
    """Have the names in a directory written to disk, where its file system can do that."""
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(directory)


@contextmanager
def new_directories(*paths: str | Path) -> Iterator[list[Path]]:
    """Directories to fill, which are renamed to `paths` at the end of the block: all or none.

    One of `paths` that is there already stays when it holds the same files (the same command was
    run before; hidden files are not looked at), else a ValueError says so and nothing changes."""
    targets = [Path(os.path.abspath(path)) for path in paths]
    if len(set(targets)) < len(targets):
        raise ValueError(f"{', '.join(map(str, paths))}: give each directory its own name")
    asides = [aside_of(path) for path in targets]
    try:
        for path, aside in zip(targets, asides, strict=True):
            _remove_dead(path)
            aside.mkdir(parents=True)
        yield asides
        there = [os.path.lexists(path) and not _is_empty(path) for path in targets]
        for given, aside in itertools.compress(zip(paths, asides, strict=True), there):
            _refuse_other(given, aside)
        for path, aside, is_there in zip(targets, asides, there, strict=True):
            if not is_there:
                _flush_files(aside)
                os.replace(aside, path)
                flush_directory(path.parent)
    finally:
        for aside in asides:
            shutil.rmtree(aside, ignore_errors=True)


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _refuse_other(path: str | Path, aside: Path) -> None:
    old, new = _files(Path(path)), _files(aside)
    other = sorted(old.keys() ^ new.keys()) or sorted(
        name for name in new if not filecmp.cmp(old[name], new[name], shallow=False)
    )
    if other:
        raise ValueError(
            f"{path} is there already and holds something else ({len(other)} files differ, first: "
            f"{other[0]}); nothing was written: remove it, or give another name"
        )


def _files(directory: Path) -> dict[str, Path]:
    found = {str(path.relative_to(directory)): path for path in directory.rglob("*")}
    return {name: path for name, path in found.items() if path.is_file() and "/." not in f"/{name}"}


def _flush_files(directory: Path) -> None:
    places = list(directory.iterdir())
    if any(place.is_dir() for place in places):
        return os.sync()  # there may be many
    for path in places:
        with open(path, "rb") as file:
            os.fsync(file.fileno())


def _remove_dead(path: Path) -> None:
    """Remove what killed makers of the directory `path` left beside it on this machine."""
    start = f".{path.name}.{socket.gethostname()}."
    for aside in path.parent.glob(".*.tmp"):
        process = _writer(aside)
        if not aside.name.startswith(start) or process is None:
            continue
        if process == os.getpid() or not _is_alive(process):  # ours comes later: of an equal number
            _remove_while_written(aside)


def _remove_while_written(aside: Path, attempts: int = 40) -> None:
    """Remove a directory into which the worker processes of a killed maker write for some moments
    more, until they notice that it is gone."""
    for _ in range(attempts):
        shutil.rmtree(aside, ignore_errors=True)
        if not aside.exists():
            return
        time.sleep(0.05)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
