"""One job, or one member of an array: runs the command, keeps its log, leaves no process behind."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import IO

from . import locks, processes
from .contract import Job
from .logs import now, shown_environment
from .nodes import without_place

Seconds = float

POLL: Seconds = 0.1
KILLED: Seconds = 10.0  # for what was killed to be gone
FORWARDED = (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT)
CANNOT_RUN = 127


@dataclass
class Setting:
    """How a member is run."""

    threads: int
    gpus: str  # for the log: "0,1"
    grace: Seconds  # between asking the command to end and killing it
    group: bool  # whether all that the command started is asked, or only the command itself
    through_srun: bool = False  # which ends a step on SIGTERM, but hands SIGUSR1 on
    job_id: str = ""  # Slurm's


class Member:
    """One job on this machine: its log, its process, and the signals for it."""

    def __init__(self, job: Job, setting: Setting):
        self.job, self.setting = job, setting
        self.asked: list[int] = []
        self.deadline: Seconds | None = None  # then it is killed
        self.child: subprocess.Popen | None = None

    @property
    def ending(self) -> bool:
        """It was asked to end (SIGUSR1 asks for saving; that it ends is its own decision)."""
        return any(number != signal.SIGUSR1 for number in self.asked)

    def run(self) -> int:
        """The exit status; that of a signal is 128 and its number."""
        for number in FORWARDED:
            signal.signal(number, self.ask)
        processes.adopt_orphans()
        os.makedirs(os.path.dirname(self.job.log) or ".", exist_ok=True)
        with open(self.job.log, "a", encoding="utf-8") as log:
            if not self.lock(log):
                return 128 + signal.SIGTERM
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            start = time.time()
            self.write_head(log)
            status = self.execute(log)
            processes.end_descendants(KILLED)
            print(f"# end: {now()} (after {time.time() - start:.0f} s)", file=log)
            print(f"# exit: {status}", file=log)
        return status

    def ask(self, number: int, frame: object) -> None:
        """A signal handler: pass the signal on to the command."""
        self.asked.append(number)
        if self.child is not None:
            self.forward(self.child, number)

    def lock(self, log: IO[str]) -> bool:
        """Wait for what is left of an earlier run; the command inherits the lock with the log."""

        def waiting() -> None:
            print(f"an earlier run still writes {self.job.log}: waiting", file=sys.stderr)

        return locks.take(log, waiting, given_up=lambda: self.ending)

    def write_head(self, log: IO[str]) -> None:
        """The first lines of the log: where, what, with what."""
        setting = self.setting
        print(f"# host: {socket.gethostname()}", file=log)
        if setting.job_id:
            print(f"# job: {setting.job_id}", file=log)
        print(f"# command: {shlex.join(self.job.command)}", file=log)
        print(f"# threads: {setting.threads}, GPUs: {setting.gpus or 'none'}", file=log)
        if environment := shown_environment():
            print(f"# environment: {environment}", file=log)
        print(f"# start: {now()}", file=log, flush=True)

    def execute(self, log: IO[str]) -> int:
        """Run the command; its exit status, 128 + the number of a signal."""
        try:
            child = subprocess.Popen(
                self.job.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=without_place(os.environ),
                start_new_session=True,
            )
        except OSError as error:
            print(f"{self.job.command[0]}: {error.strerror}", file=log, flush=True)
            return CANNOT_RUN
        self.child = child
        for number in list(self.asked):
            self.forward(child, number)
        while (status := child.poll()) is None:
            if self.deadline is not None and time.monotonic() > self.deadline:
                processes.send(child.pid, signal.SIGKILL)
            time.sleep(POLL)
        return status if status >= 0 else 128 - status

    def forward(self, child: subprocess.Popen, number: int) -> None:
        """Send the command a signal: SIGUSR1 to save, else SIGTERM, and SIGKILL once its grace is
        over."""
        if number != signal.SIGUSR1:
            number = signal.SIGTERM
            self.deadline = time.monotonic() + self.setting.grace
        if self.setting.through_srun:
            number = signal.SIGUSR1
        try:
            if self.setting.group:
                os.killpg(child.pid, number)
            else:
                child.send_signal(number)
        except ProcessLookupError:
            pass
