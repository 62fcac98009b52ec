"""The batches of an epoch, from any of them on, and what happens between two of them."""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ..types import SAMPLE_RATE, Seconds
from . import supervision
from .halving import size_of
from .session import Session
from .shares import UpdateShares
from .snapshot import Snapshot

Place = tuple[int, int]  # epoch, batches of it
# What Python reads, like lengths:
ON_HOST = {"prompt", "text_prompt", "recording_samples", "recording_tokens"}


class Watch:
    """Saves when it is time to, and says when training is to stop."""

    def __init__(self, session: Session, place: Place):
        self.session, self.ranks = session, session.ranks
        self.requests = supervision.install()
        self.every: Seconds = session.options.save_every_minutes * 60
        self.stopping = False
        self.saved(place)

    def saved(self, place: Place) -> None:
        """What `place` stands for is on disk."""
        self.place, self.last = place, time.monotonic()

    def pause(self, take: Callable[[], Snapshot]) -> bool:
        """Between two batches: save where `take()` says we are if need be. True: stop here."""
        due = self.ranks.first and 0 < self.every <= time.monotonic() - self.last
        self.stopping, due = self.ranks.any(self.requests.asked(), due)
        if self.stopping or due:
            snapshot = take()
            if (snapshot.epoch, snapshot.batches) != self.place:
                self.session.save(snapshot)
            self.saved((snapshot.epoch, snapshot.batches))
        return self.stopping


def sent(data: dict[str, torch.Tensor], device: str) -> dict[str, Any]:
    """A batch on its way to `device`; its lengths and prompts stay here, as numbers.

    ESPnet's loop would wait for each copy, and would take the lengths to where reading them waits
    for the GPU."""
    return {
        name: value.tolist()
        if name in ON_HOST or _is_length(name)
        else value.to(device, non_blocking=True)
        for name, value in data.items()
    }


@contextmanager
def without_signals() -> Iterator[None]:
    """Processes begun in here never see a request to stop: it may go to all that a training
    started, and a loader is needed until the trainer has saved."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, supervision.ASKING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _is_length(name: str) -> bool:
    return name.endswith("_lengths")


class Batches:
    """What ESPnet's loops iterate over. It ends early when `pause(batches so far)` says so; after
    the last one it is not asked.

    Args:
        phase: "train" or "valid".
        loader: of the rest of the epoch; `len(loader)` counts all of it.
        start: batches of the epoch that are not in it.
        step: `pause` is asked before the first batch and after every `step` of them.
        device: where the model reads them.
        prepare: what chance decides of a batch, for the model; None: nothing.
        shares: what the model is given beside each batch, of the `step` batches of an update, which
            are then read before the first of them is learned from. None: nothing.
    """

    def __init__(
        self,
        phase: str,
        loader,
        pause: Callable[[int], bool],
        start: int = 0,
        step: int = 1,
        device: str = "cpu",
        shares: UpdateShares | None = None,
        prepare: Callable[[dict], dict[str, Any]] | None = None,
    ):
        self.prepare = prepare or (lambda batch: {})
        self.shares, self.together = shares, step if shares else 1
        self.phase, self.loader, self.pause, self.device = phase, loader, pause, device
        self.start, self.done, self.step = start, start, step
        self.amount, self.unit = 0.0, "s of audio"  # what this rank has read
        self.largest: dict[str, Any] = {}  # the shapes of its largest batch, as the model has it

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator:
        batches = iter(self.loader)
        while not (self.may_pause() and self.pause(self.done)):
            with without_signals():  # the loader's processes are begun with its first batch
                read = list(itertools.islice(batches, self.together))
            if not read:
                break
            more = [self.prepare(data) for _, data in read]
            if self.shares:
                whole = [data | beside for (_, data), beside in zip(read, more, strict=True)]
                more = [a | b for a, b in zip(more, self.shares(whole), strict=True)]
            for (ids, data), beside in zip(read, more, strict=True):
                yield ids, sent(data, self.device) | beside
                self._count(data)
                self.done += 1
                supervision.beat(self.phase, self.done)

    def _count(self, data: dict[str, torch.Tensor]) -> None:
        if not self.largest or size_of(data) > size_of(self.largest):
            self.largest = sent(data, "meta")
        if "speech_lengths" in data:
            self.amount += data["speech_lengths"].sum().item() / SAMPLE_RATE
            return
        self.unit = "tokens"
        self.amount += sum(of.sum().item() for name, of in data.items() if _is_length(name))

    def may_pause(self) -> bool:
        """Between two updates, and not at the end of the epoch."""
        return self.done < len(self) and (self.done - self.start) % self.step == 0
