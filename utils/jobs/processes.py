"""Processes of this machine (Linux): who descends from whom, their states, ending them."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path

Seconds = float

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # of <linux/prctl.h>
LIBC = ctypes.CDLL(None)
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")  # a second
POLL: Seconds = 0.05


def die_with(parent: int, number: signal.Signals) -> None:
    """Get the signal when `parent`, by whom this process was started, ends; now, if it has."""
    LIBC.prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def adopt_orphans() -> None:
    """Descendants whose parents end become children of this process, not of process 1."""
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def state(pid: int) -> str:
    """The kernel's letter (R running, S sleeping, D, T stopped, Z dead); empty: no such process."""
    return _stat(pid)[0]


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal; a process that is gone already is no error."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def descendants() -> list[int]:
    """Everything that was started by this process, or by what it started."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            children.setdefault(_stat(int(entry))[1], []).append(int(entry))
    found, waiting = [], [os.getpid()]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def end_descendants(limit: Seconds) -> bool:
    """Kill them until none is left. False: some are after `limit` (stuck in the kernel).

    To be called after `adopt_orphans`; their exit statuses are lost."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        for pid in descendants():
            send(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return True
        time.sleep(POLL)
    return False


def memory_kills() -> int:
    """How many processes the kernel of this machine has killed for memory since it started."""
    for line in Path("/proc/vmstat").read_text().splitlines():
        if line.startswith("oom_kill "):
            return int(line.split()[1])
    return 0


def processor_time(pid: int) -> Seconds:
    """That the process has used so far, all its threads together; 0: no such process."""
    return _stat(pid)[2] / CLOCK_TICKS


def _stat(pid: int) -> tuple[str, int, int]:
    """State, parent, and processor time in ticks."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return "", 0, 0
    return words[0], int(words[1]), int(words[11]) + int(words[12])
