"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator[IO]:
    """Open a file beside `path`, and rename it to `path` once it is written and flushed to disk.

    An exception inside the block (a full disk, say) removes what was written and leaves an older
    `path` as it was. Text is UTF-8 with "\\n" line ends. `mode` is "w" or "wb".
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    try:
        with open(aside, mode, **text) as out:
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


def remove_asides(directory: str | Path, *names: str) -> None:
    """Remove what killed writers of `names` (patterns) left in `directory`.

    For the one process that knows that no other writes there any more."""
    for name in names:
        for aside in Path(directory).glob(f".{name}.*.tmp"):
            aside.unlink(missing_ok=True)


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
