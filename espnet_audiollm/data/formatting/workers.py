"""Stage 2's processes: utterances in, what became of them out, in order."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from ...types import Utterance
from . import utterance
from .utterance import Formatted, Limits

CHUNK = 32  # utterances handed to a worker at once


def run(
    utterances: Iterable[Utterance], audio_dir: Path, limits: Limits, nj: int
) -> Iterator[Formatted]:
    """`format_utterance` over all, in order, in `nj` processes, a few chunks ahead of the reader:
    millions of utterances are never in memory at once."""
    utterances = iter(utterances)
    chunks = iter(lambda: list(itertools.islice(utterances, CHUNK)), [])
    if nj == 1:
        for chunk in chunks:
            yield from _format_chunk(chunk, audio_dir, limits)
        return
    with ProcessPoolExecutor(nj, initializer=_end_with_parent) as pool:
        ahead = deque()
        try:
            for chunk in chunks:
                ahead.append(pool.submit(_format_chunk, chunk, audio_dir, limits))
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


def _format_chunk(chunk: list[Utterance], audio_dir: Path, limits: Limits) -> list[Formatted]:
    return [utterance.format_utterance(utt, audio_dir, limits) for utt in chunk]


def _end_with_parent() -> None:
    """In a worker: a main process that is killed leaves no workers behind, waiting for ever."""

    def wait() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
