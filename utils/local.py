#!/usr/bin/env python3
"""Run a command, or an array of jobs, on this machine; keep a log of each.

    utils/local.py [--gpu N] [--num_threads N] [--mem G] [--time T] [--max_jobs_run N]
                   [JOB=1:N] LOG COMMAND...

With JOB=1:N the command runs N times; "JOB" in the log's name and in every word of the command
becomes 1 ... N. The command is executed as the words it is given as: no shell reads it, so ids
and paths with spaces, quotes or dollar signs arrive as they are. A log holds host, command,
start, output, end and exit code; a log that is there already is added to, so that of a training
that was killed and went on is whole. When a job fails, the end of its own log is shown: the cause
is on the screen. While jobs run, the progress lines of their logs are shown. --mem and --time are
for clusters and mean nothing here. Ctrl-C ends the jobs and all that they started.
"""

from __future__ import annotations

import ctypes
import glob
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import IO

Seconds = float

TAIL = 20  # lines of a failed job's log that go to the screen
POLL: Seconds = 0.1
GRACE: Seconds = 5.0  # between asking a job to end and killing it
PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>
LIBC = ctypes.CDLL(None)
EVERY: Seconds = 30.0  # between progress lines when the screen is a file
FOLLOWED = re.compile(
    r"^[^\[\]{}]*: \d+/\d+ "  # "responses: 80/300 utt (…)", of espnet_audiollm.progress
    r"|\b\d+/\d+epoch started"  # ESPnet's trainer
    r"|\b\d+epoch:train:\d+-\d+batch: "
    r"|\b\d+epoch results: "
)
RECORD = re.compile(r"# (host|command|threads|start|end|exit): ")
PRELUDE = re.compile(r"^.*?\(\w+:\d+\) [A-Z]+: ")  # "[host] date (module:line) INFO: "
MEASURE = re.compile(r"(\[train\]|\[valid\])|\b(\w*(?:loss|acc|wer|cer|ppl|nll))=([-+.\deE]+)")


class UserError(Exception):
    pass


@dataclass
class Options:
    gpu: int = 0
    num_threads: int = 0  # 0: the processors divided by the jobs that run at once
    mem: str = ""
    time: str = ""
    max_jobs_run: int = 0  # 0: as many as there are processors
    variable: str = ""  # "JOB" of JOB=1:N; empty: a single job
    first: int = 1
    last: int = 1
    log: str = ""
    command: list[str] = field(default_factory=list)

    def jobs(self) -> list[Job]:
        return [self.job(number) for number in range(self.first, self.last + 1)]

    def job(self, number: int) -> Job:
        def fill(word: str) -> str:
            return word.replace(self.variable, str(number)) if self.variable else word

        return Job(number, fill(self.log), [fill(word) for word in self.command])


@dataclass
class Job:
    number: int
    log: str
    command: list[str]
    gpus: list[str] = field(default_factory=list)  # as CUDA_VISIBLE_DEVICES names them
    process: subprocess.Popen | None = None
    started: Seconds = 0.0
    begin: int = 0  # where in the log, in bytes, the output of this run begins
    read: int = 0  # bytes of the log whose progress lines were shown


def parse(words: list[str]) -> Options:
    """The options, then the log, then the command. Raises UserError."""
    options = Options()
    words = list(words)
    while words:
        word = words.pop(0)
        array = re.fullmatch(r"([A-Za-z_]\w*)=(\d+)(?::(\d+))?", word)
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            if not equals:
                if not words:
                    raise UserError(f"{word} needs a value")
                value = words.pop(0)
            set_option(options, name.replace("-", "_"), value)
        elif array:
            options.variable = array[1]
            options.first, options.last = int(array[2]), int(array[3] or array[2])
        else:
            options.log, options.command = word, words
            break
    if not options.command:
        raise UserError(f"a log and a command are needed\n{__doc__}")
    if options.last < options.first:
        raise UserError(f"{options.variable}={options.first}:{options.last} is no job at all")
    if options.last > options.first and options.variable not in options.log:
        raise UserError(
            f"{options.last - options.first + 1} jobs would write the one log {options.log}; "
            f"put {options.variable} into its name"
        )
    return options


def set_option(options: Options, name: str, value: str) -> None:
    if name in ("mem", "time"):
        setattr(options, name, value)
    elif name in ("gpu", "num_threads", "max_jobs_run"):
        if not value.isdigit():
            raise UserError(f"--{name} takes a whole number, not '{value}'")
        setattr(options, name, int(value))
    else:
        raise UserError(
            f"unknown option --{name}; there are --gpu, --num_threads, --mem, --time "
            "and --max_jobs_run"
        )


def processors() -> int:
    return len(os.sched_getaffinity(0))


def visible_gpus() -> list[str]:
    """The values for CUDA_VISIBLE_DEVICES that this process may hand on."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [gpu for gpu in visible.split(",") if gpu]
    return [str(i) for i in range(len(glob.glob("/dev/nvidia[0-9]*")))]


class Runner:
    """Starts the jobs, watches them, and ends them all when it is ended itself."""

    def __init__(self, options: Options):
        self.options = options
        self.waiting = options.jobs()
        self.total = len(self.waiting)
        self.running: list[Job] = []
        self.failed: list[tuple[Job, int]] = []  # with exit status
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

    def run(self) -> int:
        """Run everything; answer the exit status: 0, or 1 when any job failed."""
        try:
            while self.waiting or self.running:
                while self.waiting and len(self.running) < self.at_once:
                    self.start(self.waiting.pop(0))
                time.sleep(POLL)
                for job in list(self.running):
                    self.watch(job)
        finally:
            self.end_all()
        self.screen.clear()
        if self.failed:
            self.report()
        return 1 if self.failed else 0

    def start(self, job: Job) -> None:
        os.makedirs(os.path.dirname(job.log) or ".", exist_ok=True)
        job.gpus = [self.free_gpus.pop(0) for _ in range(self.options.gpu)]
        environment = dict(
            os.environ,
            OMP_NUM_THREADS=str(self.threads),
            CUDA_VISIBLE_DEVICES=",".join(job.gpus),
            PYTHONUNBUFFERED="1",
        )
        job.started = time.time()
        with open(job.log, "a", encoding="utf-8") as log:
            print(f"# host: {socket.gethostname()}", file=log)
            print(f"# command: {shlex.join(job.command)}", file=log)
            print(f"# threads: {self.threads}, GPUs: {','.join(job.gpus) or 'none'}", file=log)
            print(f"# start: {time.strftime('%Y-%m-%d %H:%M:%S %z')}", file=log, flush=True)
            job.begin = job.read = log.tell()
            try:
                job.process = subprocess.Popen(
                    job.command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    start_new_session=True,
                    preexec_fn=die_with_parent,
                )
            except OSError as error:
                print(f"{job.command[0]}: {error.strerror}", file=log)
                self.finish(job, 127)
                return
        self.running.append(job)

    def watch(self, job: Job) -> None:
        job.read = self.show_progress(job)
        status = job.process.poll()
        if status is not None:
            self.running.remove(job)
            self.finish(job, status if status >= 0 else 128 - status)

    def finish(self, job: Job, status: int) -> None:
        self.free_gpus += job.gpus
        with open(job.log, "a", encoding="utf-8") as log:
            print(
                f"# end: {time.strftime('%Y-%m-%d %H:%M:%S %z')} "
                f"(after {time.time() - job.started:.0f} s)",
                file=log,
            )
            print(f"# exit: {status}", file=log)
        if status:
            self.failed.append((job, status))

    def show_progress(self, job: Job) -> int:
        """Show the newest progress line in what the log got since; answer how far it was read."""
        with open(job.log, "rb") as log:
            log.seek(job.read)
            new = log.read()
        whole = new[: new.rfind(b"\n") + 1]
        lines = [line for line in whole.decode("utf-8", "replace").splitlines() if line]
        shown = [line for line in map(shorten, lines) if line]
        if shown:
            self.screen.show(shown[-1] if self.total == 1 else f"job {job.number}: {shown[-1]}")
        return job.read + len(whole)

    def report(self) -> None:
        """The end of the first failed job's log, and which others failed."""
        job, status = min(self.failed, key=lambda failure: failure[0].number)
        print("".join(tail(job.log, job.begin)), end="", file=sys.stderr)
        which = f"job {job.number} of {self.total}" if self.total > 1 else "the command"
        print(
            f"{os.path.basename(sys.argv[0])}: {which} failed with exit status {status}; "
            f"its log, of which the end is above: {job.log}",
            file=sys.stderr,
        )
        if len(self.failed) > 1:
            others = sorted(other.number for other, _ in self.failed if other is not job)
            numbers = ", ".join(map(str, others[:10])) + (", ..." if len(others) > 10 else "")
            print(
                f"{len(self.failed)} of {self.total} jobs failed (also {numbers})", file=sys.stderr
            )

    def end_all(self) -> None:
        """End what still runs, each with all its descendants: ask first, then kill."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for job in self.running:
                try:
                    os.killpg(job.process.pid, number)
                except ProcessLookupError:
                    pass
            deadline = time.monotonic() + GRACE
            while any(job.process.poll() is None for job in self.running):
                if time.monotonic() > deadline:
                    break
                time.sleep(POLL)
        for job in self.running:
            self.finish(job, 128 + signal.SIGINT)
        self.running = []


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

    def clear(self) -> None:
        if self.dirty:
            print("\r\033[K", end="", file=self.out, flush=True)


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
    """The last lines of a log from byte `begin` on, our own record left out."""
    with open(path, "rb") as log:
        log.seek(begin)
        lines = log.read().decode("utf-8", "replace").splitlines(keepends=True)
    return [line for line in lines if not RECORD.match(line)][-TAIL:]


def die_with_parent() -> None:
    """In the child, before exec: get SIGTERM should the runner be killed (Linux)."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def interrupt(number, frame):
    raise KeyboardInterrupt


def main() -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    try:
        return Runner(parse(sys.argv[1:])).run()
    except (UserError, OSError) as error:
        print(f"{os.path.basename(sys.argv[0])}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{os.path.basename(sys.argv[0])}: interrupted; its jobs were ended", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
