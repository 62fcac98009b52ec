"""A line now and then: what is done, the rate, the time left. Reads well in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from .types import Seconds

T = TypeVar("T")


def progress(
    items: Iterable[T],
    total: int,
    what: str,
    unit: str = "utt",
    size: Callable[[T], int] = lambda item: 1,
    every: Seconds = 5.0,
    before: float = 0.0,
) -> Iterator[T]:
    """Yield `items`; print a line to stderr every `every` seconds and one at the end.

    `size(item)` says how many units one item stands for (a batch of 8 utterances: 8).
    `before` units of `total` were done earlier: the pace is that of the others."""
    start = last = time.monotonic()
    done = int(before)
    for item in items:
        yield item
        done += size(item)
        now = time.monotonic()
        if now - last >= every:
            last = now
            _report(what, unit, done, total, now - start, before)
    _report(what, unit, done, total, time.monotonic() - start, before)


def _report(
    what: str, unit: str, done: int, total: int, elapsed: Seconds, before: float = 0.0
) -> None:
    rate = (done - before) / elapsed if elapsed > 0 else 0.0
    left = (total - done) / rate if rate > 0 else 0.0
    pace = f"{rate:.1f} {unit}/s" if rate >= 1 or rate == 0 else f"{1 / rate:.1f} s/{unit}"
    print(
        f"{what}: {done}/{total} {unit} ({pace}, {elapsed:.0f} s so far, {left:.0f} s left)",
        file=sys.stderr,
        flush=True,
    )
