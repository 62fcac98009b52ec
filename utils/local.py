#!/usr/bin/env python3
"""Run a command, or an array of jobs, on this machine; keep a log of each.

--max_jobs_run: as many at once as there are processors, when not given. --mem, --time and --kind
are for clusters and mean nothing here. A training that saved and ends with status 75 is started
again, and goes on. Ctrl-C, or the end of what called this, ends the jobs and all that they
started.
"""

from __future__ import annotations

import glob
import os
import signal
import sys
import time
from dataclasses import dataclass

from jobs import processes
from jobs.contract import Interrupted, Job, Options, UserError, guarded, heed, parse, processors
from jobs.logs import Failure, Follower, Screen, done_already, report
from jobs.member import Member, Setting
from jobs.ranks import RUN_AGAIN
from jobs.state import Exit, State

Seconds = float

POLL: Seconds = 0.1
GRACE: Seconds = 5.0  # between asking a job to end and killing it
SAVING: Seconds = 60.0  # the same, for a training
INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def visible_gpus() -> list[str]:
    """The values for CUDA_VISIBLE_DEVICES that this process may hand on."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [gpu for gpu in visible.split(",") if gpu]
    return [str(i) for i in range(len(glob.glob("/dev/nvidia[0-9]*")))]


@dataclass
class Running:
    """A job in progress."""

    job: Job
    keeper: int  # the process that runs the member
    gpus: list[str]  # as CUDA_VISIBLE_DEVICES names them
    follower: Follower


class Runner:
    """Starts the jobs, watches them, and ends them all when it is ended itself."""

    def __init__(self, options: Options):
        if options.num_nodes > 1:
            raise UserError(
                f"{options.num_nodes} nodes, and this is one machine: --cmd_backend slurm has more"
            )
        self.options = options
        self.total = len(options.numbers)
        self.free_gpus = visible_gpus() if options.gpu else []
        self.at_once = min(self.total, options.max_jobs_run or processors())
        if options.gpu:
            if len(self.free_gpus) < options.gpu:
                raise UserError(
                    f"a job asks for {options.gpu} GPU(s) and this machine shows "
                    f"{len(self.free_gpus)}; use --ngpu 0, or another machine"
                )
            self.at_once = min(self.at_once, len(self.free_gpus) // options.gpu)
        self.threads = options.num_threads or max(1, processors() // self.at_once)
        self.screen = Screen(sys.stderr)
        self.running: list[Running] = []
        self.failed: list[Failure] = []
        self.state = State.beside_log(options)
        self.state.take(options.key())
        done = self.state.done(options.numbers)
        self.waiting = [options.job(number) for number in options.numbers if number not in done]
        if done:
            self.screen.note(done_already(len(done), [job.number for job in self.waiting]))

    def run(self) -> int:
        """Run everything; answer the exit status: 0, or 1 when any job failed."""
        try:
            while self.waiting or self.running:
                while self.waiting and len(self.running) < self.at_once:
                    self.start(self.waiting.pop(0))
                time.sleep(POLL)
                for running in list(self.running):
                    self.watch(running)
        finally:
            self.end_all()
            self.state.clean(self.options.numbers)
        self.screen.clear()
        if self.failed:
            report(self.failed, self.total, sys.stderr)
        return 1 if self.failed else 0

    def start(self, job: Job) -> None:
        """Start a job in a process of its own, which ends with the runner."""
        gpus = [self.free_gpus.pop(0) for _ in range(self.options.gpu)]
        follower = Follower(job, self.screen, self.total == 1)
        self.state.forget(job.number)
        signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)
        runner = os.getpid()
        keeper = os.fork()
        if keeper == 0:
            self.keep(job, gpus, runner)
        self.running.append(Running(job, keeper, gpus, follower))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPTS)

    def keep(self, job: Job, gpus: list[str], runner: int) -> None:
        """In a process of its own, which outlives a killed runner to end what the job started."""
        status = 1
        try:
            os.setsid()
            os.environ.update(
                OMP_NUM_THREADS=str(self.threads),
                CUDA_VISIBLE_DEVICES=",".join(gpus),
                PYTHONUNBUFFERED="1",
            )
            training = bool(self.options.num_procs)
            grace = SAVING if training else GRACE
            setting = Setting(self.threads, ",".join(gpus), grace, group=not training)
            member = Member(Job(job.number, job.log, self.options.started(job.command)), setting)
            for number in INTERRUPTS:
                signal.signal(number, member.ask)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPTS)
            processes.die_with(runner, signal.SIGTERM)
            status = member.run()
            if status == 0:
                self.state.finish(job.number, Exit(0))
        except BaseException as error:
            print(f"{job.log}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(status)

    def watch(self, running: Running) -> None:
        """Show the job's progress; when it has ended, free its GPUs and note a failure."""
        running.follower.look()
        ended, status = os.waitpid(running.keeper, os.WNOHANG)
        if ended:
            self.running.remove(running)
            self.free_gpus += running.gpus
            status = os.waitstatus_to_exitcode(status)
            status = status if status >= 0 else 128 - status
            if status == RUN_AGAIN and self.options.num_procs:
                self.screen.note(f"exit status {status}: it saved, and is started again from there")
                self.waiting.append(running.job)
            elif status:
                self.failed.append(Failure(running.job, status, running.follower.begin))

    def end_all(self) -> None:
        """End what still runs, each with all its descendants: ask first, then kill."""
        for running in self.running:
            processes.send(running.keeper, signal.SIGTERM)
        for running in self.running:
            os.waitpid(running.keeper, 0)
        self.running = []


def interrupt(number: int, frame: object) -> None:
    """A signal handler: end the jobs and stop."""
    raise Interrupted(signal.SIGINT, "interrupted; its jobs were ended")


def main() -> int:
    """Run the command; its exit status."""
    heed(INTERRUPTS, interrupt)
    processes.die_with(os.getppid(), signal.SIGTERM)
    return Runner(parse(sys.argv[1:], __doc__)).run()


if __name__ == "__main__":
    sys.exit(guarded(main))
