"""The logs of jobs: their records, their progress on the screen, their ends after a failure."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO

from .contract import Job

Seconds = float

TAIL = 20  # lines of a failed job's log that go to the screen
LOOK_BACK = 65_536  # bytes: more than these lines
EVERY: Seconds = 30.0  # between progress lines when the screen is a file
FOLLOWED = re.compile(
    r"^[^\[\]{}]*: \d+/\d+ "  # "responses: 80/300 utt (…)", of espnet_audiollm.progress
    r"|\b\d+/\d+epoch started"  # ESPnet's trainer
    r"|\b\d+epoch:train:\d+-\d+batch: "
    r"|\b\d+epoch results: "
)
RECORD = re.compile(r"# (host|job|command|threads|environment|start|end|exit): ")
PRELUDE = re.compile(r"^.*?\(\w+:\d+\) [A-Z]+: ")  # "[host] date (module:line) INFO: "
MEASURE = re.compile(r"(\[train\]|\[valid\])|\b(\w*(?:loss|acc|wer|cer|ppl|nll))=([-+.\deE]+)")
TOLD = re.compile(r"(HF_|TRANSFORMERS_|CUDA_|NCCL_|GLOO_|TORCH_|SLURM_CONF$|(?i:\w+_proxy)$)")
SECRET = re.compile(r"TOKEN|KEY|SECRET|PASS", re.IGNORECASE)


@dataclass
class Failure:
    """A job that ended badly."""

    job: Job
    status: int
    begin: int = 0  # where in the log, in bytes, the output of this run begins
    reason: str = ""  # what the cluster says of it


def now() -> str:
    """The time for a log."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z")


def size(path: str) -> int:
    """In bytes; 0 where there is no such file."""
    try:
        return os.path.getsize(path)
    except FileNotFoundError:
        return 0


def shown_environment() -> str:
    """Of the environment, what decides how a job runs; no secrets."""
    found = {
        name: without_password(name, value)
        for name, value in sorted(os.environ.items())
        if TOLD.match(name) and not SECRET.search(name)
    }
    return ", ".join(f"{name}={value}" for name, value in found.items())


def without_password(name: str, value: str) -> str:
    """The value of a variable, "***" in place of user and password of an address. These may hold
    "/" and "@" themselves, and the address of a proxy may lack its "http://"."""
    if "://" in value or name.lower().endswith("_proxy"):
        return re.sub(r"^([\w+.-]+://)?.*@", r"\1***@", value, flags=re.DOTALL)
    return value


class Follower:
    """Shows the newest progress line of a log that grows."""

    def __init__(self, job: Job, screen: Screen, single: bool):
        self.job, self.screen, self.single = job, screen, single
        self.begin = self.read = size(job.log)  # bytes

    def look(self) -> None:
        """Show the newest line that the job has written since the last look."""
        if size(self.job.log) <= self.read:
            return
        with open(self.job.log, "rb") as log:
            log.seek(self.read)
            new = log.read()
        complete = new[: new.rfind(b"\n") + 1]
        self.read += len(complete)
        lines = [line for line in complete.decode("utf-8", "replace").splitlines() if line]
        shown = [line for line in map(shorten, lines) if line]
        if shown:
            self.screen.show(shown[-1] if self.single else f"job {self.job.number}: {shown[-1]}")


class Screen:
    """Progress lines: one that is written over on a terminal, one now and then in a file.

    What a training says of its pace, once an epoch, is repeated behind the lines that follow."""

    def __init__(self, out: IO[str]):
        self.out = out
        self.terminal = out.isatty()
        self.last: Seconds = -EVERY
        self.dirty = False
        self.pace = ""

    def show(self, line: str) -> None:
        """Show progress: on a terminal in one line, in a file from time to time."""
        if line.startswith("training: "):
            self.pace = f" | {line}"
        else:
            line += self.pace
        if self.terminal:
            width = os.get_terminal_size(self.out.fileno()).columns
            print(f"\r\033[K{line[: width - 1]}", end="", file=self.out, flush=True)
            self.dirty = True
        elif time.monotonic() - self.last >= EVERY:
            self.last = time.monotonic()
            print(line, file=self.out, flush=True)

    def note(self, line: str) -> None:
        """A line that stays."""
        self.clear()
        print(f"{os.path.basename(sys.argv[0])}: {line}", file=self.out, flush=True)

    def clear(self) -> None:
        """Remove the line of progress from a terminal."""
        if self.dirty:
            print("\r\033[K", end="", file=self.out, flush=True)
            self.dirty = False


def shorten(line: str) -> str:
    """A progress line fit for the screen; empty when the line is none.

    Of ESPnet's lines, which hold every figure of the epoch, losses and error rates are kept."""
    if not FOLLOWED.search(line):
        return ""
    text = PRELUDE.sub("", line)
    if "epoch results:" in text or "batch: " in text:
        head = text.split(": ", 1)[0]
        measures = [
            part or f"{name} {float(value):.4g}" for part, name, value in MEASURE.findall(text)
        ]
        return f"{head}: {' '.join(measures)}"
    return text


def tail(path: str, begin: int) -> list[str]:
    """The last lines of the last run in a log from byte `begin` on, our own record left out."""
    if size(path) <= begin:
        return []
    with open(path, "rb") as log:
        log.seek(max(begin, size(path) - LOOK_BACK))
        text = log.read().decode("utf-8", "replace")
    lines = text[text.rfind("\n# host: ") + 1 :].splitlines(keepends=True)
    return [line for line in lines if not RECORD.match(line)][-TAIL:]


def report(failures: list[Failure], total: int, out: IO[str]) -> None:
    """The end of the first failed job's log, and which others failed."""
    failures = sorted(failures, key=lambda failure: failure.job.number)
    first = failures[0]
    lines = "".join(tail(first.job.log, first.begin))
    print(lines, end="" if not lines or lines.endswith("\n") else "\n", file=out)
    which = f"job {first.job.number} of {total}" if total > 1 else "the command"
    where = "its log, of which the end is above" if lines else "its log, which says nothing"
    reason = f" ({first.reason})" if first.reason else ""
    name = os.path.basename(sys.argv[0])
    print(
        f"{name}: {which} failed with exit status {first.status}{reason}; {where}: {first.job.log}",
        file=out,
    )
    if len(failures) > 1:
        also = some(failure.job.number for failure in failures[1:])
        print(f"{len(failures)} of {total} jobs failed (also {also})", file=out)
    elsewhere = sorted({f.reason for f in failures[1:]} - {first.reason, ""})
    for reason in elsewhere:
        those = some(failure.job.number for failure in failures if failure.reason == reason)
        print(f"job {those}: {reason}", file=out)


def done_already(done: int, left: list[int]) -> str:
    """What a call says that finds the work of an earlier one."""
    if not left:
        return "all is done already: an earlier call was killed while the jobs ended"
    return f"{done} of {done + len(left)} jobs are done already; now job {some(left)}"


def some(numbers: Iterable[int]) -> str:
    """The first ten numbers, for a message."""
    listed = sorted(numbers)
    return ", ".join(map(str, listed[:10])) + (", ..." if len(listed) > 10 else "")
