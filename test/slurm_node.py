"""One node of the test's cluster: `slurm_node.py COMMAND...` is slurmd on a machine of its own.

All that slurmd starts, daemons included, stays a descendant of this process (Linux's child
subreaper). SIGTERM, or the end of the parent, is the power cut: everything is killed at once.
"""

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>
PR_SET_CHILD_SUBREAPER = 36


def children() -> dict[int, list[int]]:
    """The living children of every process."""
    found: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state != "Z":
            found.setdefault(int(parent), []).append(int(stat.parent.name))
    return found


def descendants(pid: int) -> list[int]:
    table, found = children(), [pid]
    for parent in found:
        found += table.get(parent, [])
    return found[1:]


def power_cut(number, frame):
    while pids := descendants(os.getpid()):
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    reap()
    os._exit(0)


def reap() -> None:
    """Take leave of the children, until none is left."""
    try:
        while True:
            os.wait()
    except ChildProcessError:
        pass


def main() -> None:
    signal.signal(signal.SIGTERM, power_cut)
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    subprocess.Popen(sys.argv[1:])
    reap()


if __name__ == "__main__":
    main()
