"""What the job runners share: the words of their command line, and what these ask for.

    RUNNER [--gpu N] [--num_threads N] [--mem G] [--time T] [--max_jobs_run N] [--num_nodes M]
           [--num_procs P] [--kind cpu|gpu|train] [JOB=1:N] LOG COMMAND...

With JOB=1:N the command runs N times; JOB in the log's name and in every argument of the command
becomes 1 ... N where it is a word by itself: in job.JOB.log, parts/JOB and "test JOB = 2", but not
in JOBS/in.txt, JOB_2 or MYJOB. A directory that is called JOB is refused. The command is executed
as the words it is given as: no shell reads it, so ids and paths with spaces, quotes or dollar signs
arrive as they are. --num_procs P makes it a training of P processes on each of --num_nodes M nodes,
which utils/launch.py starts and watches. A log holds host, command, start, output, end and exit
code; a log that is there already is added to. When a job fails, the end of its own log is shown:
the cause is on the screen. While jobs run, the progress lines of their logs are shown. Of an array
in which some failed, the same command runs only those again; JOB_KEY in the environment, a hash of
what the command reads, says what "the same" is.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

KINDS = ("cpu", "gpu", "train")
NUMBERS = ("gpu", "num_threads", "max_jobs_run", "num_nodes", "num_procs")
WORDS = ("mem", "time", "kind", "slurm_config")
LAUNCHER = Path(__file__).resolve().parents[1] / "launch.py"


class UserError(Exception):
    """What the user can correct; shown without a traceback."""


class Interrupted(Exception):
    """By a signal: its number."""


@dataclass
class Options:
    """What a call of a runner asks for."""

    gpu: int = 0
    num_threads: int = 0  # 0: the runner decides
    mem: str = ""  # of a job; a bare number is GB
    time: str = ""  # as Slurm reads it: minutes, H:MM:SS, D-HH
    max_jobs_run: int = 0  # 0: as many as the runner likes
    num_nodes: int = 1
    num_procs: int = 0  # on each node; 0: the command is no training
    kind: str = ""  # empty: train, gpu or cpu, by what is asked for
    slurm_config: str = ""
    variable: str = ""  # "JOB" of JOB=1:N; empty: a single job
    first: int = 1
    last: int = 1
    log: str = ""
    command: list[str] = field(default_factory=list)

    @property
    def numbers(self) -> range:
        """Of all jobs."""
        return range(self.first, self.last + 1)

    def job(self, number: int) -> Job:
        """The job of this number, its number put into the log's name and the command."""
        command = [self.fill(word, number) for word in self.command]
        return Job(number, self.fill(self.log, number), command)

    def fill(self, word: str, number: int) -> str:
        """The argument with the job's number in place of the variable."""
        return re.sub(rf"\b{self.variable}\b", str(number), word) if self.variable else word

    def varies(self, word: str) -> bool:
        """Whether the argument is another one for each job."""
        return self.fill(word, 0) != word

    def started(self, command: list[str]) -> list[str]:
        """What is executed on each node: the command, or the launcher of its processes."""
        if not self.num_procs:
            return command
        sizes = ["--num_nodes", str(self.num_nodes), "--num_procs", str(self.num_procs)]
        return [sys.executable, str(LAUNCHER), *sizes, "--", *command]

    def key(self) -> str:
        """A hash: two calls that have the same one are the same piece of work."""
        where = [os.getcwd(), self.log, self.variable, self.first, self.last]
        what = [*where, self.command, os.environ.get("JOB_KEY", "")]
        return hashlib.sha256(json.dumps(what).encode()).hexdigest()


@dataclass
class Job:
    """One command with its log."""

    number: int
    log: str
    command: list[str]


def parse(words: list[str], usage: str = "") -> Options:
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
        raise UserError(f"a log and a command are needed\n{usage}{__doc__}")
    options.kind = options.kind or kind_of(options)
    check(options)
    return options


def set_option(options: Options, name: str, value: str) -> None:
    """Set an option from its text. UserError for an unknown one, or no number."""
    if name in NUMBERS:
        if not value.isdigit():
            raise UserError(f"--{name} takes a whole number, not '{value}'")
        setattr(options, name, int(value))
    elif name in WORDS:
        setattr(options, name, value)
    else:
        known = ", ".join(f"--{known}" for known in (*NUMBERS, *WORDS))
        raise UserError(f"unknown option --{name}; there are {known}")


def kind_of(options: Options) -> str:
    """The section of slurm.yaml that fits what is asked for."""
    if options.num_procs:
        return "train"
    return "gpu" if options.gpu else "cpu"


def check(options: Options) -> None:
    """UserError for options that contradict each other."""
    if options.kind not in KINDS:
        raise UserError(f"--kind is one of {', '.join(KINDS)}, not '{options.kind}'")
    if options.last < options.first:
        raise UserError(f"{options.variable}={options.first}:{options.last} is no job at all")
    if options.last > options.first and not options.varies(options.log):
        raise UserError(
            f"{len(options.numbers)} jobs would write the one log {options.log}; "
            f"put {options.variable} into its name"
        )
    for word in (options.log, *options.command) if options.variable else ():
        check_directories(options.variable, word)
    if options.num_nodes < 1:
        raise UserError(f"--num_nodes is 1 or more, not {options.num_nodes}")
    if options.num_nodes > 1 and not options.num_procs:
        raise UserError(f"--num_nodes {options.num_nodes} needs --num_procs: those of each node")


def check_directories(variable: str, word: str) -> None:
    """UserError: the argument leads through a directory that is called like the variable."""
    for found in re.finditer(rf"\b{variable}(?=/)", word):
        directory = word[: found.end()]
        if os.path.isdir(directory):
            raise UserError(
                f"{directory} is a directory, and {variable} in its name would become the job's "
                "number: give the directory another name"
            )


def processors() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))


def heed(numbers: Iterable[signal.Signals], handler: Callable) -> None:
    """Handle these signals; SIGHUP not if nohup(1) had it ignored."""
    for number in numbers:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def guarded(run: Callable[[], int]) -> int:
    """Run a runner; what goes wrong becomes a sentence and an exit status."""
    name = os.path.basename(sys.argv[0])
    try:
        return run()
    except (UserError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except Interrupted as interruption:
        number, text = interruption.args
        print(f"{name}: {text}", file=sys.stderr)
        return 128 + number
