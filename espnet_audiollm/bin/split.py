"""What the mains share whose work is split into jobs: --job, --num_jobs, --merge."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from ..progress import progress
from ..store.parts import Parts
from ..store.shards import Record, Shard, Shards
from . import engine


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a stage that runs as several jobs."""
    add = parser.add_argument_group(
        "splitting",
        "Jobs fill shards, --merge makes the final files of them; a single job does both. The "
        "results do not depend on the number of jobs. Killed at any moment, the same command goes "
        "on from the last complete batch.",
    ).add_argument
    add("--job", type=int, default=1, help="this job's number, from 1")
    add("--num_jobs", type=int, default=1, help="number of jobs")
    add("--merge", action="store_true", help="only make the final files of finished shards")
    add("--shard_size", type=int, help="utterances in a shard (default: by their number)")


def check(args: argparse.Namespace) -> None:
    """ValueError for a job number or a shard size that cannot be."""
    if not 1 <= args.job <= args.num_jobs:
        raise ValueError(f"--job {args.job} is not one of 1 to --num_jobs {args.num_jobs}")
    if args.shard_size is not None and args.shard_size < 1:
        raise ValueError(f"--shard_size {args.shard_size} is not positive")


def merges(args: argparse.Namespace) -> bool:
    """Whether this process makes the final files."""
    return args.merge or args.num_jobs == 1


def options(args: argparse.Namespace) -> dict:
    """All options except those that say how and where the work is done and where it goes."""
    split = ("job", "num_jobs", "merge", "shard_size", "output", "device")
    kept = {name: value for name, value in vars(args).items() if name not in split}
    return engine.settings(kept)


@contextmanager
def named(args: argparse.Namespace) -> Iterator[None]:
    """Put the job's number before the errors of one job of several."""
    try:
        yield
    except ValueError as error:
        if args.merge or args.num_jobs == 1:
            raise
        raise ValueError(f"job {args.job} of {args.num_jobs}: {error}") from error


def nothing_left(args: argparse.Namespace, parts: Parts) -> bool:
    """Whether this job has nothing to do; it says so."""
    if parts.whole or not parts.shards.left(args.job, args.num_jobs):
        log(f"{args.output}: nothing left for job {args.job} of {args.num_jobs}")
        return True
    return False


def fill(
    args: argparse.Namespace,
    shards: Shards,
    items: Iterable,
    plan: Callable[[list], list[list]],
    answer: Callable[[Sequence], list[Record]],
    what: str,
    paths: Callable[..., Iterable[str]] | None = None,
) -> Iterator[list[Record]]:
    """Do this job's unfinished shards; yield the records batch by batch, progress shown.

    items: all of the set, in order of ids. plan: the items of a shard to its batches. answer: a
    batch to its records. what: what progress is called. paths: of an item's recordings, which are
    read while the batch before is answered."""

    def filled(shard: Shard) -> Iterator[list[Record]]:
        batches = plan(shard.items)
        if paths is None:
            return shard.fill(batches, answer)
        from ..infer.batches import reading_ahead

        return shard.fill(batches, reading_ahead(batches, answer, paths))

    windows = shards.windows(items, args.job, args.num_jobs)
    batches = (records for shard in windows for records in filled(shard))
    return progress(batches, shards.left(args.job, args.num_jobs), what, size=len)


def log(message: str) -> None:
    """Print to stderr at once."""
    print(message, file=sys.stderr, flush=True)
