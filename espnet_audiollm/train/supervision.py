"""What a training process tells the launcher that watches it (utils/launch.py), and learns from it.

They talk through small files in a directory that the launcher makes, AUDIOLLM_RUN_DIR:

    rank<R>         "pid phase step longest", written at every batch: the beat
    rank<R>.error   {"kind": "user"|"passing"|"lost"|"bug", "text": ...}: why the process ended
    rank<R>.stacks  what every thread is doing, after SIGUSR2
    rank<R>.done    the process ended as it should
    saved, stopped  a checkpoint is complete; training saved and ended because it was asked to
    stop            the launcher asks for that

Without that variable nothing is written, and training is as it would be.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..store.atomic import MAY_PASS
from ..types import Seconds

if TYPE_CHECKING:
    pass

ASKING = (signal.SIGUSR1, signal.SIGTERM)  # "save and stop": Slurm's before the time is up, and at
# a pre-emption
RUN_AGAIN = 75  # exit status: saved and stopped, to be continued
PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>
# In messages of RuntimeError:
LOST = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer")  # another rank
PASSING = ("DataLoader worker", "uncorrectable", "unspecified launch failure")  # a process, a GPU


def _directory() -> Path | None:
    name = os.environ.get("AUDIOLLM_RUN_DIR")
    return Path(name) if name else None


def rank() -> int:
    """This process's number among those of the training."""
    return int(os.environ.get("RANK", "0"))


class Pulse:
    """The file whose changes say that this process is alive."""

    def __init__(self):
        self.file: int | None = None  # its descriptor
        self.phase, self.last = "", 0.0
        self.longest: dict[str, Seconds] = {}  # phase: silence after a beat in it

    def write(self, directory: Path, phase: str, step: int) -> None:
        """The process, its phase and step, and the longest silence of the phase so far."""
        if self.file is None:
            self.file = os.open(directory / f"rank{rank()}", os.O_WRONLY | os.O_CREAT, 0o600)
        now = time.monotonic()
        if self.phase:
            self.longest[self.phase] = max(self.longest.get(self.phase, 0.0), now - self.last)
        self.phase, self.last = phase, now
        line = f"{os.getpid()} {phase} {step} {self.longest.get(phase, 0.0):.3f}"
        os.pwrite(self.file, line.ljust(80).encode() + b"\n", 0)  # at once: never seen half-written


pulse = Pulse()


def beat(phase: str, step: int) -> None:
    """Say that this rank is alive, and at what. To be called by every rank.

    After every batch, with "train" or "valid" as the phase: from the second batch on, silence for
    the launcher's --stall_limit is a hang. Before anything slow that follows (saving, waiting for
    the rank that saves, averaging, building an iterator) with another word: it may take longer.
    """
    directory = _directory()
    if directory:
        pulse.write(directory, phase, step)


def saved() -> None:
    """A checkpoint is complete. To be called by every rank, once the writing rank renamed it."""
    _mark("saved")


def stopped() -> None:
    """Training saved and ends early because it was asked to. To be called by every rank."""
    requests.obeyed = True
    _mark("stopped")


def _mark(name: str) -> None:
    directory = _directory()
    if directory:
        (directory / name).touch()


class StopRequest:
    """Whether training was asked to save and stop: by a signal, or by the launcher's file."""

    def __init__(self) -> None:
        self.signalled = self.obeyed = False

    def ask(self, *_) -> None:
        """As a signal handler, or called."""
        self.signalled = True

    def asked(self) -> bool:
        """This process was asked."""
        directory = _directory()
        return self.signalled or (directory is not None and (directory / "stop").exists())


requests = StopRequest()
_ours = False  # this process is a training and nothing else: its signals are ours


def install() -> StopRequest:
    """The requests to stop; from now on SIGUSR1 and SIGTERM are among them.

    They are left as they are in a process that is not inside `report_errors` (a test, a notebook).
    Under a launcher, which gets and passes on what is meant for the training, SIGTERM is
    ignored: torchrun sends it to all ranks when one is lost, and that is no time to save."""
    if _ours:
        signal.signal(signal.SIGUSR1, requests.ask)
        signal.signal(signal.SIGTERM, signal.SIG_IGN if _directory() else requests.ask)
    return requests


@contextlib.contextmanager
def report_errors(explain: Callable[[Exception], str] = str) -> Iterator[None]:
    """Around all the work of a training process: end as the launcher expects.

    What went wrong is left for the launcher, which shows it once, and the process ends at once:
    destructors of a broken process group may wait for ranks that are gone. Training that stopped on
    request ends with status RUN_AGAIN when there is no launcher to tell. Without a launcher errors
    pass through.

    Args:
        explain: the sentence of an error that the user can correct."""
    global _ours
    _ours = True
    directory = _directory()
    if directory:
        _be_watched(directory)
    try:
        yield
    except BaseException as error:
        if directory is None or (isinstance(error, SystemExit) and not error.code):
            raise
        _leave_word(directory, error, explain)
        _flush()
        os._exit(1)
    finally:
        _ours = False
    if directory:
        (directory / f"rank{rank()}.done").touch()
    elif requests.obeyed:
        sys.exit(RUN_AGAIN)


def _be_watched(directory: Path) -> None:
    beat("start", 0)
    stacks = open(directory / f"rank{rank()}.stacks", "w")  # open as long as the process lives
    faulthandler.register(signal.SIGUSR2, file=stacks, all_threads=True)
    by_main: list[bool] = []

    def before() -> None:
        by_main[:] = [threading.current_thread() is threading.main_thread()]

    def in_child() -> None:
        """Loaders of data die with their trainer, and with it only."""
        signal.pthread_sigmask(signal.SIG_BLOCK, ASKING)
        if by_main[0]:  # the kernel means the end of the thread that forked
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    os.register_at_fork(before=before, after_in_child=in_child)


def _leave_word(directory: Path, error: BaseException, explain: Callable) -> None:
    kind, text = classify(error, explain)
    aside = directory / f".rank{rank()}.error"
    aside.write_text(json.dumps({"kind": kind, "text": text, "time": time.time()}))
    os.replace(aside, directory / f"rank{rank()}.error")


def classify(error: BaseException, explain: Callable[[Exception], str] = str) -> tuple[str, str]:
    """Who can do something about it, and what to show.

    user: a sentence. lost: another rank or the network is gone. passing: may be gone at the next
    start. bug: everything else; all three with the traceback."""
    import torch

    story = "".join(traceback.format_exception(error)).rstrip()
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        where = "the GPU's" if isinstance(error, torch.cuda.OutOfMemoryError) else "this node's"
        return "user", (
            f"{story}\n{where} memory is full: lower --batch_bins and raise --accum_grad by as much"
        )
    if isinstance(error, ConnectionError | TimeoutError | torch.distributed.DistError):
        return "lost", story
    if isinstance(error, OSError) and error.errno in MAY_PASS:
        return "passing", story
    for kind, signs in (("lost", LOST), ("passing", PASSING)):
        if isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs):
            return kind, story
    if isinstance(error, ValueError | OSError) and not os.environ.get("AUDIOLLM_DEBUG"):
        return "user", explain(error)
    return "bug", story


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
