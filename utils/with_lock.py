#!/usr/bin/env python3
"""Run a command, one at a time for each lock file: with_lock.py LOCK COMMAND...

Waits for what holds the lock, the remains of a killed run included, and says for whom. The command
takes the place of this process, holds the lock until it and its children have ended, and gets
SIGTERM when what called this ends.
"""

from __future__ import annotations

import os
import signal
import sys

from jobs import locks, processes
from jobs.contract import UserError, guarded


def main() -> int:
    """Does not return, but for errors."""
    if len(sys.argv) < 3:
        raise UserError("a lock file and a command are needed: with_lock.py LOCK COMMAND...")
    path, command = sys.argv[1], sys.argv[2:]
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and the command would, too
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # as it is for what runs in background
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    processes.die_with(os.getppid(), signal.SIGTERM)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    lock = open(path, "a+", encoding="utf-8")  # noqa: SIM115 (the command inherits it)

    def waiting() -> None:
        who = locks.holder(path)
        print(f"waiting for {path}, which {who} holds: another run is here", file=sys.stderr)

    locks.take(lock, waiting, given_up=lambda: False)
    if not locks.supported(lock):
        print(f"{path}: no locks on this disk: start one run here at a time", file=sys.stderr)
    locks.sign(lock)
    os.set_inheritable(lock.fileno(), True)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        raise UserError(f"{command[0]}: {error.strerror}") from None


if __name__ == "__main__":
    sys.exit(guarded(main))
