"""Several runs of a command in one process, which imports and loads once: --run ends the options of
each, and what stands behind the last one is for all."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from .cli import explain

RUN = "--run"  # ends the options of a run


def parse_runs(parser: argparse.ArgumentParser, words: Sequence[str]) -> list[argparse.Namespace]:
    """The options of each run; of the only one where there is no --run."""
    groups: list[list[str]] = [[]]
    for word in words:
        if word == RUN:
            groups.append([])
        else:
            groups[-1].append(word)
    *own, shared = groups
    return [parser.parse_args([*shared, *each]) for each in own or [[]]]


@contextmanager
def whose(run: str, several: bool) -> Iterator[None]:
    """Put before an error whose it is, where there are several runs."""
    try:
        yield
    except (ValueError, OSError) as error:
        if not several:
            raise
        raise ValueError(f"{run}: {explain(error)}") from error
