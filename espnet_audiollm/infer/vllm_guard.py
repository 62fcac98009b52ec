"""Run a command until it ends, or until the process that started this one does, whatever ends it.

    python vllm_guard.py COMMAND...

Standard input is a pipe that the starting process holds open: its end is the sign, also after
kill -9. The command and all that it starts are of this process's session, and end with it. Needs no
package.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys

GRACE = 10.0  # seconds for the command to end by itself
POLL = 0.2  # seconds between two looks at the command


def main(command: list[str]) -> None:
    """Run it; the end of this process is the end of its session."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: end(child))
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    while child.poll() is None:
        if select.select([sys.stdin], [], [], POLL)[0] and not os.read(0, 1):
            break
    end(child)


def end(child: subprocess.Popen) -> None:
    """End the command, and then what is left of the session, this process as well. How a command
    ended that was not asked to is the last line on standard output."""
    if (status := child.poll()) is not None:
        print(f"vllm_guard: the server ended by itself, {ending(status)}", flush=True)
    else:
        child.terminate()
        try:
            child.wait(GRACE)
        except subprocess.TimeoutExpired:
            pass
    os.killpg(0, signal.SIGKILL)


def ending(status: int) -> str:
    """What an exit status means."""
    if status == -signal.SIGKILL:
        return "killed by signal 9: out of memory?"
    return f"killed by signal {-status}" if status < 0 else f"with exit status {status}"


if __name__ == "__main__":
    main(sys.argv[1:])
