#!/usr/bin/env python3
"""Run a command, or an array of jobs, on a Slurm cluster; keep a log of each.

--slurm_config FILE says how this cluster is asked (conf/slurm.yaml; $AUDIOLLM_SLURM_CONFIG).
Ctrl-C and SIGTERM cancel what was submitted. After SIGHUP, or when this process or what called it
is killed, the jobs run on, and the same command takes them up again.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path

from jobs import processes
from jobs.contract import Interrupted, Options, UserError, guarded, heed, parse
from jobs.logs import Failure, Follower, Screen, done_already, report
from jobs.ranks import RUN_AGAIN
from jobs.slurm_config import advice, load_config
from jobs.slurm_queue import OVER, Entry, Queue, Refused, forget_outer_settings
from jobs.state import Exit, State

Seconds = float

LOOK: Seconds = 0.5  # between two looks at logs and status files
DOUBTFUL: Seconds = 1.0  # between two at the queue, when a member may be started again
UTILS = Path(__file__).resolve().parent
ORPHANED = signal.SIGUSR1  # what called this has ended
AT_ONCE = 20  # logs
ASIDE = 5  # lines
VANISHED = 1  # exit status of a member that left none
STUCK = re.compile(
    r"Held|PartitionNodeLimit|PartitionTimeLimit|BadConstraints|AccountNotAllowed|launch failed"
    r"|QOS\w*(NotAllowed|MaxWall|MaxCpuPerJob|MinGRES)|Assoc\w*(MaxWall|PerJob)|DependencyNever"
)


class Runner:
    """Submits what is not done yet, watches it, and says what became of it."""

    def __init__(self, options: Options):
        self.options = options
        self.config = load_config(options.slurm_config, options.kind)
        self.total = len(options.numbers)
        self.screen = Screen(sys.stderr)
        self.state = State.beside_log(options)
        self.key = options.key()
        self.queue = self.queue_of(self.key)
        self.entries: dict[int, Entry] = {}  # the newest of each member
        self.looked: Seconds = 0.0  # at the queue
        self.failed: list[Failure] = []
        self.absent: dict[int, Seconds] = {}  # since when the queue does not show a member
        self.followed: dict[int, Seconds] = {}  # when a member's log was read
        self.noted: set[str] = set()

    def queue_of(self, key: str) -> Queue:
        """This call's jobs in Slurm's queue; an interrupted call with the same key finds them."""
        stem = re.sub(r"[^A-Za-z0-9_.-]+", "", Path(self.options.log).name)[:40]
        return Queue(f"{stem}-{key[:16]}", self.config.controller_wait, self.screen.note)

    def run(self) -> int:
        """Run everything; answer the exit status: 0, or 1 when any job failed."""
        self.refuse_other_work()
        self.state.take(self.key)
        done = self.state.done(self.options.numbers)
        self.open = set(self.options.numbers) - done
        if done:
            self.screen.note(done_already(len(done), sorted(self.open)))
        self.followers = {
            number: Follower(self.options.job(number), self.screen, self.total == 1)
            for number in sorted(self.open)
        }
        try:
            if self.open:
                self.submit_missing()
            while self.open:
                time.sleep(LOOK)
                self.look()
        except Interrupted as interruption:
            self.leave(interruption)
        self.state.clean(self.options.numbers)
        self.screen.clear()
        if self.failed:
            report(self.failed, self.total, sys.stderr)
        return 1 if self.failed else 0

    def refuse_other_work(self) -> None:
        """Two works would write the same logs."""
        other = self.state.key()
        if other in ("", self.key):
            return
        here = [entry for entry in self.queue_of(other).look_patiently() if not entry.over]
        if here:
            job = here[0].id.partition("_")[0]
            raise UserError(
                f"job {job}, of another command, is still to write {self.options.log}; "
                f"wait for it, or end it: scancel {job}"
            )

    def submit_missing(self) -> None:
        """What the queue does not hold already from an earlier call."""
        self.take_entries(self.queue.look_patiently())
        here = {number for number in self.open if self.active(number)}
        missing = sorted(self.open - here)
        if here:
            job = self.entries[min(here)].id.partition("_")[0]
            self.screen.note(f"job {job} of an earlier call goes on ({self.count(here)})")
            for number in here:
                self.followers[number].begin = 0
        if not missing:
            return
        for number in missing:
            self.state.forget(number)
        job = self.submit(missing)
        self.screen.note(f"job {job} submitted ({self.count(missing)}): {self.options.log}")

    def count(self, numbers: Collection[int]) -> str:
        """ "3 of 8 jobs", or the kind of a single one."""
        return f"{len(numbers)} of {self.total} jobs" if self.total > 1 else self.options.kind

    def submit(self, numbers: list[int]) -> str:
        """Submit these jobs, as an array where there are several; Slurm's id."""
        options = self.options
        words = self.config.options(options)
        if options.variable:
            limit = f"%{options.max_jobs_run}" if options.max_jobs_run else ""
            words.append(f"--array={ranges(numbers)}{limit}")
        aside = str(self.state.path / "slurm").replace("%", "%%")
        output = f"{aside}-%a.out" if options.variable else f"{aside}-{options.first}.out"
        spec = {
            "options": asdict(options),
            "state": str(self.state.path),
            "cpus": self.config.cpus(options),
            "directory": os.getcwd(),
            "python": sys.executable,
            "utils": str(UTILS),
        }
        self.state.write("spec.json", json.dumps(spec))
        try:
            return self.queue.submit([
                "--requeue", "--open-mode=append", "--export=ALL", f"--output={output}",
                f"--chdir={os.getcwd()}", *words,
                str(UTILS / "slurm_task.py"), str(self.state.path / "spec.json"),
            ])  # fmt: skip
        except Refused as refused:
            if not self.shown():
                self.state.clean(self.options.numbers)
            hint = advice(str(refused), self.config)
            raise UserError(f"the cluster refuses the job: {refused}\n{hint}") from None

    def look(self) -> None:
        """Read the exit statuses and logs, now and then the queue, and settle what has ended."""
        exits = self.state.exits(self.open)
        self.follow()
        doubtful = any(end.status for end in exits.values())
        pause = min(DOUBTFUL, self.config.poll) if doubtful else self.config.poll
        if time.monotonic() - self.looked > pause:
            self.ask_queue()
        for number in sorted(self.open):
            self.settle(number, exits.get(number))

    def follow(self) -> None:
        """The logs of some of those that may run; next time, of others: disks are shared."""
        begun = [n for n in self.open if not (n in self.entries and self.entries[n].waiting)]
        for number in sorted(begun, key=lambda n: self.followed.get(n, 0.0))[:AT_ONCE]:
            self.followed[number] = time.monotonic()
            self.followers[number].look()

    def ask_queue(self) -> None:
        """Show what runs and what waits, and why."""
        self.take_entries(self.queue.look_patiently())
        states = Counter("waiting" if e.waiting else "running" for e in self.shown())
        reasons = sorted({e.reason for e in self.shown() if e.waiting and e.reason != "None"})
        parts = [f"{states[name]} {name}" for name in ("running", "waiting") if states[name]]
        line = ", ".join(parts) + (f": {', '.join(reasons)}" if reasons else "")
        if line and (states["waiting"] or self.total > 1):
            self.screen.show(line)
        for reason in reasons:
            if STUCK.search(reason) and reason not in self.noted:
                self.noted.add(reason)
                self.screen.note(
                    f"a job waits for what may never come: {reason}; "
                    f"{advice(reason, self.config)} (Ctrl-C cancels it)"
                )

    def take_entries(self, entries: list[Entry]) -> None:
        """Keep the newest entry of every job."""
        self.looked = time.monotonic()
        self.entries = {}
        for entry in entries:
            number = self.options.first if entry.number is None else entry.number
            held = self.entries.get(number)
            if held is None or held.over or not entry.over:
                self.entries[number] = entry

    def shown(self) -> list[Entry]:
        """The entries of open jobs that are not over."""
        return [self.entries[number] for number in self.open if self.active(number)]

    def active(self, number: int) -> bool:
        """Whether Slurm still has this job."""
        entry = self.entries.get(number)
        return entry is not None and not entry.over

    def settle(self, number: int, end: Exit | None) -> None:
        """Has this member ended for good?

        A failure counts when the queue, asked after it, has no more to come of this member: Slurm
        starts those again that it pre-empted, or whose node it lost."""
        if end is not None and end.status == 0:
            self.open.discard(number)
        elif end is None and self.settled_elsewhere(number):
            self.open.discard(number)
        elif self.active(number):
            self.absent.pop(number, None)
        else:
            since = self.absent.setdefault(number, self.looked)
            if self.looked > since if end else self.looked - since > self.config.file_delay:
                self.fail(number, end)

    def settled_elsewhere(self, number: int) -> bool:
        """Whether another call of the same command, which follows the same job, has seen it end
        well and removed what is known of it."""
        entry = self.entries.get(number)
        gone = self.state.key() != self.key
        return gone and entry is not None and entry.state == "COMPLETED"

    def fail(self, number: int, end: Exit | None) -> None:
        """Settle a job that failed, with the cluster's reason."""
        self.open.discard(number)
        entry = self.entries.get(number)
        reason = OVER.get(entry.state, "") if entry else ""
        if end is None:
            reason = reason or "it left no exit status, and the queue does not know why"
        elif end.status == RUN_AGAIN:
            reason = f"{reason}; it saved: the same command goes on from there".removeprefix("; ")
        job, begin = self.options.job(number), self.followers[number].begin
        status = end.status if end else VANISHED
        self.keep_aside(number, job.log)
        self.failed.append(Failure(job, status, begin, reason))

    def keep_aside(self, number: int, log: str) -> None:
        """What Slurm itself said of a member goes to its log: of memory, of who cancelled it."""
        aside = self.state.path / f"slurm-{number}.out"
        if not aside.exists():
            return
        os.makedirs(os.path.dirname(log) or ".", exist_ok=True)
        with open(log, "a", encoding="utf-8") as out:
            for line in aside.read_text(errors="replace").splitlines()[-ASIDE:]:
                print(f"slurm: {line}", file=out)

    def leave(self, interruption: Interrupted) -> None:
        """End because of a signal: SIGINT and SIGTERM cancel the jobs, a lost terminal does not."""
        number = interruption.args[0]
        self.screen.clear()
        if number in (signal.SIGHUP, ORPHANED):
            raise Interrupted(number, "left; the jobs run on: the same command takes them up")
        for each in (signal.SIGHUP, ORPHANED):
            signal.signal(each, signal.SIG_IGN)
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_DFL)
        self.screen.note("interrupted; cancelling the jobs")
        self.queue.cancel()
        self.state.clean(self.options.numbers)
        raise Interrupted(signal.SIGINT, "interrupted; its jobs were cancelled")


def ranges(numbers: list[int]) -> str:
    """1-3,7 for 1, 2, 3, 7."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(f"{a}-{b}" if b > a else str(a) for a, b in parts)


def interrupt(number: int, frame: object) -> None:
    """A signal handler."""
    raise Interrupted(number, "interrupted")


def main() -> int:
    """Run the command; its exit status."""
    heed((signal.SIGINT, signal.SIGTERM, signal.SIGHUP, ORPHANED), interrupt)
    processes.die_with(os.getppid(), ORPHANED)
    forget_outer_settings()
    return Runner(parse(sys.argv[1:], __doc__)).run()


if __name__ == "__main__":
    sys.exit(guarded(main))
