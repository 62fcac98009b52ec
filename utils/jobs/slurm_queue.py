"""Slurm's controller, asked gently: submit, look, cancel. One that is away is waited for."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .contract import UserError

Seconds = float

RETRY: Seconds = 5.0
ENDING: Seconds = 60.0  # for cancelled jobs to be gone; the node of one may be dead
AWAY = re.compile(
    r"unable to contact|connect(ion)? (failure|refused|timed out)|timed out|zero bytes"
    r"|socket|communication|slurmctld|temporarily|try again|resolve|controller",
    re.IGNORECASE,
)
OPTIONS = re.compile(r"SLURM|(SBATCH|SRUN|SALLOC|SQUEUE|SCANCEL|SCONTROL|SINFO|SACCT)_")
OVER = {  # a state that does not change any more, in words
    "BOOT_FAIL": "its node did not start",
    "CANCELLED": "it was cancelled",
    "COMPLETED": "",
    "DEADLINE": "it could not end before its deadline",
    "FAILED": "",
    "NODE_FAIL": "its node failed",
    "OUT_OF_MEMORY": "it was killed for memory: more `mem` is needed",
    "PREEMPTED": "it was pre-empted",
    "TIMEOUT": "it reached its time limit: more `time` is needed",
}
WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "REQUEUE_FED")


class Refused(UserError):
    """Slurm's own sentence."""


@dataclass(frozen=True)
class Entry:
    """A job, or a member of an array, as the queue shows it."""

    id: str  # 12, 12_3
    number: int | None  # of the member; None: the job is no array
    state: str
    reason: str

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.state in OVER

    @property
    def waiting(self) -> bool:
        """Whether it has not begun."""
        return self.state in WAITING


class Queue:
    """The jobs of one name, which nobody else uses: it is made from what they do."""

    def __init__(self, name: str, patience: Seconds, note: Callable[[str], None]):
        self.name, self.patience, self.note = name, patience, note

    def submit(self, words: list[str]) -> str:
        """The job's number. Raises Refused; UserError when the controller stays away."""

        def once() -> str:
            done = slurm("sbatch", "--parsable", f"--job-name={self.name}", *words)
            return done.partition(";")[0].strip()

        def again() -> str:
            """The answer may have been lost, not the question."""
            here = [entry for entry in self.look() if not entry.over]
            return here[0].id.partition("_")[0] if here else once()

        return self.patiently(once, again)

    def look(self) -> list[Entry]:
        """All that is known of these jobs, the oldest first; an ended one for some minutes.
        Raises Refused: the controller is away."""
        out = slurm(
            "squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}",
            f"--name={self.name}", "--format=%A|%i|%K|%T|%r",
        )  # fmt: skip
        entries = []
        for line in out.splitlines():
            raw, name, number, state, reason = line.strip().split("|", 4)
            member = int(number) if number.isdigit() else None
            entries.append((int(raw), Entry(name, member, state, reason)))
        return [entry for _, entry in sorted(entries, key=lambda pair: pair[0])]

    def look_patiently(self) -> list[Entry]:
        """The entries; while the controller is away, wait for it."""
        return self.patiently(self.look, self.look)

    def cancel(self) -> None:
        """What waits or runs; comes back when it is out of the queue, or a minute later."""

        def cancelled() -> None:
            slurm("scancel", f"--user={os.getuid()}", f"--name={self.name}")
            deadline = time.monotonic() + ENDING
            while left := [entry for entry in self.look() if not entry.over]:
                if time.monotonic() > deadline:
                    self.note(
                        f"{len(left)} cancelled jobs have not ended in {ENDING:.0f} s (first: "
                        f"{left[0].id}, {left[0].state}): not waiting, a node may be dead; "
                        f"scontrol show job {left[0].id} says which"
                    )
                    return
                time.sleep(1.0)

        self.patiently(cancelled, cancelled)

    def patiently(self, first: Callable, again: Callable) -> Any:
        """Call; while the controller is away, call again. Other refusals are raised."""
        since = time.monotonic()
        noted = False
        call = first
        while True:
            try:
                return call()
            except Refused as refused:
                if not AWAY.search(str(refused)):
                    raise
                if time.monotonic() - since > self.patience:
                    raise UserError(
                        f"the Slurm controller has been away for {self.patience:.0f} s: {refused}; "
                        "what runs goes on, and the same command takes it up again"
                    ) from None
                if not noted:
                    self.note(f"the Slurm controller is away, waiting for it: {refused}")
                noted = True
                call = again
                time.sleep(RETRY)


def slurm(*words: str) -> str:
    """Output of one of Slurm's commands. Raises Refused with what it said."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UserError(f"no {words[0]} here: is this a login node of a Slurm cluster?") from None
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"{words[0]}: exit status {done.returncode}"
        raise Refused(said)
    return done.stdout


def forget_outer_settings() -> None:
    """Remove what Slurm's commands would take for options: the user's own (SQUEUE_STATES hides
    running jobs from us, SBATCH_TIMELIMIT is another limit than slurm.yaml's), and inside a job
    those of the job."""
    for name in list(os.environ):
        if OPTIONS.match(name) and name != "SLURM_CONF":
            del os.environ[name]
