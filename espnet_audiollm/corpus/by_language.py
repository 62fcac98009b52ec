"""Preparations of corpora that have a directory for each language, with a table for each split."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping

from . import prepare as corpus


def get_parser(
    description: str | None,
    holds: str,
    texts: Iterable[str],
    languages: Iterable[str] | None = None,
) -> argparse.ArgumentParser:
    """The options of all preparations, and --lang, --text (of `texts`, the first by default) and
    the splits; `languages`: the codes there are (None: the corpus's directories say)."""
    parser = corpus.get_parser(description, holds)
    texts = list(texts)
    parser.add_argument("--lang", choices=languages, default="en", help="its code in the corpus")
    parser.add_argument("--text", choices=texts, default=texts[0], help="form of transcripts")
    parser.add_argument("splits", nargs="+", metavar="DIR=TABLE", help="data/valid=dev ...")
    return parser


def prepare(
    args: argparse.Namespace,
    entries: Callable[[str, corpus.Faults], Iterable[corpus.Entry]],
    next_step: str,
    published: Mapping[str, int] | None = None,
) -> None:
    """Write the splits that `args` ask for, all of them or none.

    entries: of a table, (its name, where errors go). published: {table: number of utterances}.
    Raises one ValueError for everything that is wrong with the corpus."""
    faults = corpus.Faults(next_step, args.subset)
    wanted = corpus.wanted_splits(args.splits)
    corpus.write_splits(
        {directory: entries(table, faults) for directory, table in wanted.items()},
        faults,
        {(directory,): published[table] for directory, table in wanted.items()}
        if published
        else None,
    )
