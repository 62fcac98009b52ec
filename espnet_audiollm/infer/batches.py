"""Utterances in batches of like length, bounded by the size of the padded batch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import Protocol, TypeVar

import numpy as np
import torch

from ..data.audio import read_mono_16k
from ..types import Seconds, Utterance


class HasId(Protocol):
    """A dialogue, an utterance, ..."""

    @property
    def id(self) -> str:
        """For messages."""


T = TypeVar("T")
R = TypeVar("R")
N = TypeVar("N", bound=HasId)


def by_length(
    items: Iterable[T], length, max_padded: float, max_items: int = 256
) -> Iterator[list[T]]:
    """Yield lists of `items`, longest first; items times the longest stays within `max_padded`.

    An item that is larger than that on its own gets a batch to itself."""
    batch: list[T] = []
    for item in sorted(items, key=length, reverse=True):
        longest = length(batch[0]) if batch else 0
        if batch and (longest * (len(batch) + 1) > max_padded or len(batch) == max_items):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def audio_batches(utterances: Iterable[Utterance], seconds: Seconds) -> list[list[Utterance]]:
    """Batches of at most `seconds` of audio, padding counted."""
    return list(by_length(utterances, lambda u: u.duration or 0.0, seconds))


class ReadAhead:
    """Recordings that a thread reads while a model computes. What is wrong with one is said by
    `read`, where it would have been said otherwise."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "read_ahead")
        self._begun: dict[str, Future[np.ndarray]] = {}

    def begin(self, paths: Iterable[str]) -> None:
        """Read these in the thread: somebody will ask for each of them."""
        for path in paths:
            if path not in self._begun:
                self._begun[path] = self._thread.submit(read_mono_16k, path)

    def read(self, path: str) -> np.ndarray:
        """As `read_mono_16k`: what was begun, or read now."""
        begun = self._begun.pop(path, None)
        return read_mono_16k(path) if begun is None else begun.result()


AHEAD = ReadAhead()  # of this process


def reading_ahead(
    batches: Sequence[Sequence[T]],
    answer: Callable[[Sequence[T]], R],
    paths: Callable[[T], Iterable[str]],
) -> Callable[[Sequence[T]], R]:
    """`answer`, for one of `batches` after the other; meanwhile the recordings of the next one, the
    `paths` of its items, are read."""
    following = {id(batch): later for batch, later in pairwise(batches)}

    def answer_one(batch: Sequence[T]) -> R:
        AHEAD.begin(path for item in following.get(id(batch), ()) for path in paths(item))
        return answer(batch)

    return answer_one


def audio_of(utterance: Utterance) -> list[str]:
    """The paths of `reading_ahead`, of batches of recordings."""
    return [utterance.audio]


def read_batch(utterances: Sequence[Utterance], device: str = "cpu"):
    """(B, N) samples, zero-padded, and (B,) lengths."""
    return pad_waves([AHEAD.read(u.audio) for u in utterances], device)


def pad_waves(waves: Sequence[np.ndarray], device: str = "cpu"):
    """(B, N) samples, zero-padded, and (B,) lengths."""
    lengths_B = torch.tensor([len(w) for w in waves], device=device)
    rows = [torch.from_numpy(w) for w in waves]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(device), lengths_B


def in_halves(run: Callable[[Sequence[N]], list[R]], batch: Sequence[N]) -> list[R]:
    """`run(batch)`, one result an item; where the GPU's memory does not hold it, one half after
    the other. Results may then differ by float rounding.

    Errors (ValueError): a single item does not fit."""
    try:
        return run(batch)
    except torch.OutOfMemoryError as error:
        if len(batch) == 1:
            raise ValueError(
                f"{batch[0].id} by itself does not fit into the GPU's memory: take a smaller "
                "--beam, --dtype bfloat16, or leave out long utterances in stage 2 (--max_audio)"
            ) from error
    torch.cuda.empty_cache()  # here the tensors of the failed run are free
    print(
        f"warning: a batch of {len(batch)} (first: {batch[0].id}) does not fit into the GPU's "
        "memory: done in halves; smaller batches would spare the attempt",
        file=sys.stderr,
        flush=True,
    )
    middle = len(batch) // 2
    return in_halves(run, batch[:middle]) + in_halves(run, batch[middle:])
