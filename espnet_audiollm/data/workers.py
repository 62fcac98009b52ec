"""Processes, or threads, that work through a long list: items in, results out, in order."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

CHUNK = 32  # items handed to a worker at once

T = TypeVar("T")
R = TypeVar("R")


def in_order(
    work: Callable[[T], R],
    items: Iterable[T],
    nj: int,
    threads: bool = False,
    chunk_size: int = CHUNK,
) -> Iterator[R]:
    """`work` over all items, in `nj` processes (or threads), a few chunks ahead of the reader:
    millions of items are never in memory at once. For processes `work` is picklable, and pickled
    with each chunk."""
    items = iter(items)
    chunks = iter(lambda: list(itertools.islice(items, chunk_size)), [])
    if nj == 1:
        for chunk in chunks:
            yield from _work_through(work, chunk)
        return
    pool = (
        ThreadPoolExecutor(nj) if threads else ProcessPoolExecutor(nj, initializer=_end_with_parent)
    )
    with pool:
        ahead: deque[Future[list[R]]] = deque()
        try:
            for chunk in chunks:
                ahead.append(pool.submit(_work_through, work, chunk))
                if len(ahead) > 4 * nj:
                    yield from ahead.popleft().result()
            while ahead:
                yield from ahead.popleft().result()
        except BrokenProcessPool as error:
            raise ValueError(
                "a worker process was killed (out of memory?); run again with a smaller --nj"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _work_through(work: Callable[[T], R], chunk: list[T]) -> list[R]:
    return [work(item) for item in chunk]


def _end_with_parent() -> None:
    """In a worker: a main process that is killed leaves no workers behind, waiting for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
