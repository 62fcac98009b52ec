#!/usr/bin/env python3
"""Start a training as M x P processes, watch them, and end them all when one of them is lost.

    utils/launch.py [--num_nodes M] [--num_procs P] [--stall_limit S] [--slow_limit S] -- COMMAND...

Runs once on each of the M nodes (srun sees to that) and starts P processes of COMMAND there
through torchrun, with RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT in their
environment; a single process needs no torchrun. The processes say through files that they live.
One that dies, that is killed for memory, or in which no batch follows the last for --stall_limit
seconds (or for twice the longest batch so far) ends the job, and the cause is shown: which rank, on
which host, its traceback or what all its threads were doing. Saving and loading may take four times
--stall_limit (or ten times the longest so far), and what this run does for the first time
--slow_limit. Without --stall_limit, $AUDIOLLM_STALL_LIMIT counts, or 45. A single process, which
cannot wait for another, has 600, and only while it uses no processor. SIGUSR1 and SIGTERM ask for
saving and stopping. No process outlives this one, however it ends.

Exit status: 0 finished; 75 saved, run me again; 76 may pass, but nothing was saved since the start;
1 a bug; 2 something that the user can correct. Each node's launcher leaves its own in
$AUDIOLLM_VERDICTS, a directory that all nodes see; `verdict` makes one of them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

from jobs import processes
from jobs.contract import UserError
from jobs.nodes import Place, find_place, without_place
from jobs.ranks import (
    BUG,
    FINISHED,
    MAY_PASS,
    RUN_AGAIN,
    STATES,
    USER,
    Cause,
    Rank,
    RunDirectory,
    find_causes,
)

Seconds = float

INTERRUPTED = 130  # exit status
POLL: Seconds = 0.2
GRACE: Seconds = 4.0  # for the other ranks to say why they ended, once one is lost
AFTERMATH: Seconds = 8.0  # for torchrun to say what it saw, once its workers are gone
STACKS: Seconds = 2.0  # for a process to write down what its threads do
STALL: Seconds = 45.0  # --stall_limit: one process may wait for another for ever
STALL_OF_ONE: Seconds = 600.0  # of a single process
SUSPENDED: Seconds = 5.0  # between two looks: all of this node was stopped
ASKING = (signal.SIGUSR1, signal.SIGTERM)
VERDICTS = os.environ.get("AUDIOLLM_VERDICTS")
ME = [sys.executable, os.path.abspath(__file__)]


class Launcher:
    """Starts the training processes of this node, watches them, and ends them."""

    def __init__(self, place: Place, command: list[str], stall: Seconds, slow: Seconds):
        self.place, self.command, self.stall, self.slow = place, command, stall, slow
        self.directory = RunDirectory()
        self.ranks = [Rank(number, since=time.monotonic()) for number in place.ranks]
        self.child: subprocess.Popen | None = None
        self.asked: signal.Signals | None = None
        self.memory_kills = processes.memory_kills()

    def run(self) -> int:
        """Start, watch, end what is left; answer the exit status."""
        processes.adopt_orphans()
        for number in ASKING:
            signal.signal(number, self.ask)
        try:
            self.child = self.start()
            self.watch(self.child)
            returncode = self.child.poll()
            self.end_all()
            return self.judge(returncode)
        finally:
            for number in ASKING:  # there is nothing left to ask; Python's end would restore them
                signal.signal(number, signal.SIG_IGN)
            self.end_all()
            self.directory.remove()

    def ask(self, number: int, frame: object) -> None:
        """A signal handler: the processes are to save and to stop."""
        self.asked = signal.Signals(number)

    def start(self) -> subprocess.Popen:
        """Start the command: through torchrun where there is more than one process."""
        words = [*ME, "worker", *self.command]
        if self.place.world > 1:
            place = self.place
            where = (place.nodes, place.node, place.procs, place.address, place.port)
            words = [*ME, "torchrun", *map(str, where), *words]
        environment = {
            **without_place(os.environ),
            "AUDIOLLM_RUN_DIR": str(self.directory.path),
            "AUDIOLLM_PARENT": str(os.getpid()),
            "OMP_NUM_THREADS": str(self.threads()),
        }
        return subprocess.Popen(words, env=environment, stdin=subprocess.DEVNULL)

    def threads(self) -> int:
        """Those of this job, shared out among its processes here."""
        given = os.environ.get("OMP_NUM_THREADS", "")
        total = int(given) if given.isdigit() else len(os.sched_getaffinity(0))
        return max(1, total // self.place.procs)

    def watch(self, child: subprocess.Popen) -> None:
        """Until they have ended, or have to be ended."""
        passed_on = False
        last = time.monotonic()
        lost_at = None
        while child.poll() is None:
            time.sleep(POLL)
            now = time.monotonic()
            self.look(now, now - last)
            last = now
            if self.asked and not passed_on:
                passed_on = True
                self.pass_on(self.asked)
            if lost_at is None and (self.find_lost(now) or self.node_is_lost()):
                lost_at = now
            if lost_at is None and self.find_hung(now):
                return
            if lost_at is not None and now > lost_at + GRACE:
                self.end_workers()
            if lost_at is not None and now > lost_at + GRACE + AFTERMATH:
                return

    def look(self, now: Seconds, passed: Seconds) -> None:
        """Read every rank's beat; `passed` is long when the machine was suspended."""
        for rank in self.ranks:
            if passed > SUSPENDED:
                rank.since += passed
            self.directory.read_beat(rank, now)
            if self.place.world == 1:
                rank.note_work(now)

    def pass_on(self, asked: signal.Signals) -> None:
        """Ask the processes to save and to stop."""
        say(f"{asked.name}: the processes are asked to save and to stop")
        self.directory.touch("stop")
        for rank in self.ranks:
            if rank.pid and not self.directory.supervised(rank):  # it has not begun, or never looks
                processes.send(rank.pid, asked)

    def find_lost(self, now: Seconds) -> bool:
        """Whether a rank has failed; notes when."""
        for rank in self.ranks:
            if rank.lost is None and self.directory.failed(rank):
                rank.lost = now
        return any(rank.lost is not None for rank in self.ranks)

    def node_is_lost(self) -> bool:
        """The SIGTERM came because another node's launcher has ended badly: nobody can save now."""
        if self.asked != signal.SIGTERM or not VERDICTS:
            return False
        return any(path.read_text() not in ("", "0") for path in Path(VERDICTS).glob("node*"))

    def find_hung(self, now: Seconds) -> bool:
        """Those that wait for the hung one are as silent as it is: all of them are shown."""
        silence = {r.number: now - r.since for r in self.ranks if not self.directory.finished(r)}
        limits = {r.number: r.limit(self.stall, self.slow) for r in self.ranks}
        if not any(silence[number] > limits[number] for number in silence):
            return False
        for rank in self.ranks:
            if silence.get(rank.number, 0.0) > min(limits.values()) / 2:
                state = STATES.get(processes.state(rank.pid), "")
                rank.hung = f"nothing for {silence[rank.number]:.0f} s{state}"
        self.show_stacks([rank for rank in self.ranks if rank.hung])
        return True

    def show_stacks(self, ranks: list[Rank]) -> None:
        """Print what these ranks are doing."""
        for rank in ranks:
            if self.directory.supervised(rank):
                processes.send(rank.pid, signal.SIGUSR2)
        time.sleep(STACKS)
        for rank in ranks:
            stacks = self.directory.text(f"rank{rank.number}.stacks").rstrip()
            if stacks:
                say(f"what {self.name(rank.number)} was doing:\n{stacks}")

    def end_workers(self) -> None:
        """Those that are left wait for a rank that is gone, and torchrun waits for them."""
        for rank in self.ranks:
            if rank.pid and not rank.ended:
                rank.ended = rank.lost is None
                processes.send(rank.pid, signal.SIGKILL)

    def end_all(self) -> None:
        """End what the command started, whatever it is."""
        if not processes.end_descendants(AFTERMATH):
            say(f"these processes cannot be ended: {processes.descendants()}")

    def judge(self, returncode: int | None) -> int:
        """The exit status; its cause goes to the screen."""
        if returncode == 0 and not self.directory.has("stopped"):
            return FINISHED
        causes = self.causes(returncode) if returncode != 0 else []
        show(causes)
        status = causes[0].status if causes else MAY_PASS
        if status == MAY_PASS and self.directory.has("saved"):
            status = RUN_AGAIN
        if status in AFTERWARDS:
            say(AFTERWARDS[status])
        return status

    def causes(self, returncode: int | None) -> list[Cause]:
        """Why the processes of this node ended."""
        statuses = self.directory.statuses()
        if self.place.world == 1 and returncode is not None:
            statuses = {0: returncode}
        memory_kills = processes.memory_kills() - self.memory_kills
        return find_causes(self.ranks, self.directory, statuses, self.name, memory_kills)

    def name(self, rank: int) -> str:
        """Of a rank, for the screen."""
        host = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
        return f"rank {rank} of {self.place.world} on {host}"


AFTERWARDS = {
    RUN_AGAIN: "what was saved is complete: the same command goes on from there (exit status 75)",
    MAY_PASS: "nothing was saved since the start; another start may fare better (exit status 76)",
}


def show(causes: list[Cause]) -> None:
    """What followed, then what it followed from: the end of a log is what is looked at."""
    texts = list(dict.fromkeys(cause.text for cause in causes))
    for text in reversed(texts[1:]):
        say(text)
    for cause in causes[:1]:
        say_once(cause.text) if cause.status == USER else say(cause.text)


def say(text: str) -> None:
    """Print to stderr at once."""
    print(f"launch.py: {text}", file=sys.stderr, flush=True)


def say_once(text: str) -> None:
    """Of all nodes, the first says it."""
    if VERDICTS:
        said = Path(VERDICTS) / f"said-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
        try:
            said.touch(exist_ok=False)
        except FileExistsError:
            return
    print(text, file=sys.stderr, flush=True)


def verdict(directory: str | Path, status: int) -> int:
    """One exit status of those that the nodes' launchers left in `directory`.

    `status` is what srun answered, which is the largest of them, or what it made of a launcher that
    was killed; it counts when there are no others."""
    found = {int(path.read_text()) for path in Path(directory).glob("node*")}
    if status == FINISHED or not found:
        return status
    for worst in (USER, BUG, INTERRUPTED, RUN_AGAIN):
        if worst in found:
            return worst
    return MAY_PASS


def leave_verdict(node: int, status: int) -> None:
    """Leave this node's exit status for the runner, where it asked for it."""
    if VERDICTS:
        (Path(VERDICTS) / f"node{node}").write_text(str(status))


def torchrun(words: list[str]) -> int:
    """`python -m torch.distributed.run`, which says which rank ended how to us, not to the screen.

    Signals that ask are none of its business: it would end its workers."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ASKING)
    processes.die_with(int(os.environ["AUDIOLLM_PARENT"]), signal.SIGKILL)
    os.environ["AUDIOLLM_PARENT"] = str(os.getpid())
    logging.disable(logging.CRITICAL)
    run = import_silent_torchrun()
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    nodes, node, procs, address, port = words[:5]
    options = ["--nnodes", nodes, "--node_rank", node, "--nproc_per_node", procs]
    options += ["--master_addr", address, "--master_port", port, "--max_restarts", "0"]
    try:
        run.run(run.parse_args([*options, "--no_python", *words[5:]]))
    except ChildFailedError as error:
        ended = {rank: failure.exitcode for rank, failure in error.failures.items()}
        out = Path(os.environ["AUDIOLLM_RUN_DIR"]) / "failures"
        out.with_suffix(".new").write_text(json.dumps(ended))
        os.replace(out.with_suffix(".new"), out)
        return BUG
    return FINISHED


def import_silent_torchrun() -> ModuleType:
    """torchrun's module; what its own processes warn of in C++ stays off the screen.

    When all ranks have finished, the first node's store may be gone before the others have read
    there that they may end: a stack that looks like a crash. The workers keep the user's level."""
    level = os.environ.get("TORCH_CPP_LOG_LEVEL")
    os.environ["TORCH_CPP_LOG_LEVEL"] = "ERROR"  # read when torch is imported
    from torch.distributed import run

    os.environ.pop("TORCH_CPP_LOG_LEVEL")
    if level is not None:
        os.environ["TORCH_CPP_LOG_LEVEL"] = level
    return run


def worker(command: list[str]) -> int:
    """Become the command; its end is bound to its parent's."""
    processes.die_with(int(os.environ["AUDIOLLM_PARENT"]), signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKING)
    beat = Path(os.environ["AUDIOLLM_RUN_DIR"]) / f"rank{os.environ.get('RANK', '0')}"
    beat.write_text(f"{os.getpid()} start 0 0\n")
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        return 127


def get_parser() -> argparse.ArgumentParser:
    """The command line's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num_nodes", type=int, default=1)
    parser.add_argument("--num_procs", type=int, default=1, help="on each node")
    stall = os.environ.get("AUDIOLLM_STALL_LIMIT")
    parser.add_argument("--stall_limit", type=float, default=stall, help="seconds")
    parser.add_argument("--slow_limit", type=float, default=1800.0, help="seconds")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    return parser


def stall_limit(place: Place, given: Seconds | None) -> Seconds:
    """How long a rank may be silent between two batches."""
    if given is not None:
        return given
    return STALL if place.world > 1 else STALL_OF_ONE


def launch(words: list[str]) -> int:
    """Run the command as a training; the exit status."""
    parser = get_parser()
    args = parser.parse_args(words)
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not command:
        parser.error("a command is needed")
    if args.num_nodes < 1 or args.num_procs < 1:
        parser.error("--num_nodes and --num_procs are 1 or more")
    try:
        place = find_place(args.num_nodes, args.num_procs)
        stall = stall_limit(place, args.stall_limit)
        status = Launcher(place, command, stall, args.slow_limit).run()
    except UserError as error:
        say(str(error))
        return USER
    except KeyboardInterrupt:
        say("interrupted; its processes were ended")
        return INTERRUPTED
    leave_verdict(place.node, status)
    return status


def main() -> int:
    """Run the command; its exit status."""
    role, words = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("", [])
    if role == "torchrun":
        return torchrun(words)
    if role == "worker":
        return worker(words)
    return launch(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
