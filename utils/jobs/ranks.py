"""The processes of a training on this node, as they describe themselves, and why they ended.

They write to a directory of this run: see espnet_audiollm.train.supervision.
"""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import processes

Seconds = float

FINISHED, BUG, USER, RUN_AGAIN, MAY_PASS = 0, 1, 2, 75, 76  # exit statuses
STATUS_OF = {"bug": BUG, "passing": MAY_PASS}
PREFIX = "audiollm_run_"
A_DAY: Seconds = 86_400.0
WORK: Seconds = 0.5  # of a processor: a process that uses as much is not hung
BATCHES = ("train", "valid")  # phases in which a batch follows a batch
STATES = {
    "T": "; it is stopped (SIGSTOP, or a debugger)",
    "D": "; it waits for a disk or a file server and cannot be interrupted",
}


@dataclass
class Rank:
    """What the launcher knows of one of its training processes."""

    number: int
    pid: int = 0  # 0: not known yet
    phase: str = "start"
    step: int = 0
    longest: Seconds = 0.0  # that a beat like this one was the last; 0: it is the first
    beat: tuple = ()
    since: Seconds = 0.0  # when the beat last changed, on the launcher's clock
    worked: Seconds = 0.0  # of a processor, when that was last looked at
    lost: Seconds | None = None  # when it was missed, or had left word of an error
    hung: str = ""  # how long for, and what the kernel says of it
    ended: bool = False  # by the launcher, because of another

    def note_work(self, now: Seconds) -> None:
        """A process that works is not hung, even if a batch takes long: the machine may be slow."""
        worked = processes.processor_time(self.pid)
        if worked - self.worked >= WORK:
            self.worked, self.since = worked, now

    def limit(self, stall: Seconds, slow: Seconds) -> Seconds:
        """How long it may be silent: `slow` when nobody knows yet how long this takes."""
        if self.longest == 0:
            return slow
        if self.phase in BATCHES:
            return max(stall, 2 * self.longest)
        return min(slow, max(4 * stall, 10 * self.longest))


class RunDirectory:
    """The files through which launcher and ranks talk."""

    def __init__(self) -> None:
        for old in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):  # of launchers that were killed
            if time.time() - _last_change(old) > A_DAY:
                shutil.rmtree(old, ignore_errors=True)
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX))

    def has(self, name: str) -> bool:
        """Whether somebody left this mark."""
        return (self.path / name).exists()

    def touch(self, name: str) -> None:
        """Leave a mark for the ranks."""
        (self.path / name).touch()

    def text(self, name: str) -> str:
        """Empty when there is no such file."""
        try:
            return (self.path / name).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def read_beat(self, rank: Rank, now: Seconds) -> None:
        """Read how far a rank is; `since` changes only when it moved."""
        path = self.path / f"rank{rank.number}"
        if not path.exists():
            return
        beat = (path.stat().st_mtime_ns, path.read_text())
        words = beat[1].split()
        if beat != rank.beat and len(words) == 4:
            rank.beat, rank.since = beat, now
            rank.pid, rank.phase, rank.step = int(words[0]), words[1], int(words[2])
            rank.longest = float(words[3])

    def supervised(self, rank: Rank) -> bool:
        """The rank knows of this directory, and leaves word when it ends."""
        return self.has(f"rank{rank.number}.stacks")

    def finished(self, rank: Rank) -> bool:
        """Whether this rank ended well."""
        return self.has(f"rank{rank.number}.done")

    def failed(self, rank: Rank) -> bool:
        """It left word of an error, or is gone without a word."""
        if self.has(f"rank{rank.number}.error"):
            return True
        gone = self.supervised(rank) and processes.state(rank.pid) in ("", "Z")
        # The last word comes before the end, so it is looked for after it.
        return gone and not self.finished(rank)

    def error(self, rank: Rank) -> dict[str, str]:
        """Its kind and text; empty when there was none."""
        return json.loads(self.text(f"rank{rank.number}.error") or "{}")

    def statuses(self) -> dict[int, int]:
        """Exit statuses of the ranks that failed, as torchrun saw them; negative: by a signal."""
        listed = json.loads(self.text("failures") or "{}")
        return {int(rank): status for rank, status in listed.items()}

    def remove(self) -> None:
        """With all files."""
        shutil.rmtree(self.path, ignore_errors=True)


def _last_change(directory: Path) -> float:
    try:
        return max(path.stat().st_mtime for path in (directory, *directory.iterdir()))
    except OSError:
        return time.time()  # another's


@dataclass(frozen=True)
class Cause:
    """Why one rank ended."""

    status: int  # what the job ends with because of it
    text: str
    first_hand: bool  # False: it may follow from the loss of another rank
    when: Seconds


def find_causes(
    ranks: list[Rank],
    directory: RunDirectory,
    statuses: dict[int, int],
    where: Callable[[int], str],
    memory_kills: int,
) -> list[Cause]:
    """Why the ranks of this node ended; what the others may follow from comes first.

    Args:
        statuses: exit statuses of those that failed.
        where: the name of a rank for the screen, by its number.
        memory_kills: how many processes the kernel killed for memory since the start."""
    found = []
    for rank in ranks:
        place = f"{where(rank.number)} ({rank.phase}, step {rank.step})"
        cause = _cause(rank, directory, statuses.get(rank.number), place, memory_kills)
        if cause:
            ended_by_torchrun = statuses.get(rank.number) == -signal.SIGTERM
            first_hand = directory.error(rank).get("kind") != "lost" and not ended_by_torchrun
            when = float("inf") if rank.lost is None else rank.lost
            found.append(Cause(*cause, first_hand, when))
    return sorted(found, key=lambda cause: (not cause.first_hand, cause.when))


def _cause(
    rank: Rank, directory: RunDirectory, status: int | None, place: str, memory_kills: int
) -> tuple[int, str] | None:
    """None: this rank did not fail, or was ended because of another."""
    error = directory.error(rank)
    if error.get("kind") == "lost":
        return MAY_PASS, f"{place} lost another: {error['text'].splitlines()[-1]}"
    if error.get("kind") == "user":
        return USER, error["text"]
    if error:
        return STATUS_OF[error["kind"]], f"{error['text']}\nThat ended {place}"
    if rank.hung:
        return MAY_PASS, f"{place} hung: {rank.hung}"
    if rank.ended or directory.finished(rank) or not status:
        return (MAY_PASS, f"{place} is gone without a word") if rank.lost is not None else None
    if status < 0:
        return MAY_PASS, f"{place} was {killed_by(-status, memory_kills)}"
    kept = status if status in (USER, RUN_AGAIN, MAY_PASS) else BUG
    return kept, f"{place} ended with exit status {status}"


def killed_by(number: int, memory_kills: int) -> str:
    """The signal in words, with what it may mean."""
    text = f"killed by signal {number} ({signal.Signals(number).name})"
    if number == signal.SIGKILL and memory_kills:
        return f"{text}: out of memory; the kernel killed {memory_kills} process(es) for it"
    if number == signal.SIGKILL:
        return f"{text}: out of memory? (the kernel's count of such kills has not changed)"
    if number == signal.SIGBUS:
        return f"{text}: is /dev/shm full?"
    return text
