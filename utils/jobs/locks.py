"""One process at a time: locks on files, and what to do where a file system has none."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
from collections.abc import Callable
from typing import IO

Seconds = float

POLL: Seconds = 0.1
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # Lustre without -o flock, say


def take(file: IO[str], waiting: Callable[[], None], given_up: Callable[[], bool]) -> bool:
    """Lock the open file; who inherits it holds the lock, too. False: given up.

    waiting: called once, when another process holds it. A file system without locks is no error:
    `supported` tells."""
    said = False
    while not given_up():
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if not said:
                waiting()
            said = True
            time.sleep(POLL)
        except OSError as error:
            if error.errno in NO_LOCKS:
                return True
            raise
    return False


def supported(file: IO[str]) -> bool:
    """Whether the file system of this open file has locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in NO_LOCKS
    return True


def sign(file: IO[str]) -> None:
    """Write into the lock file who holds it."""
    file.seek(0)
    file.truncate()
    print(f"process {os.getpid()} on {socket.gethostname()}", file=file, flush=True)


def holder(path: str) -> str:
    """Who holds the lock, as `sign` wrote it."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.readline().strip()[:200] or "another process"
    except OSError:
        return "another process"
