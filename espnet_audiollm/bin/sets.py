"""Options of the commands that read test sets and the runs on them (stage 11)."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..score.test_set import TestSet


def add_options(parser: argparse.ArgumentParser) -> None:
    """--sets, --references, --runs."""
    parser.add_argument(
        "--sets",
        nargs="+",
        required=True,
        metavar="SET",
        help="data directories (dump/test, with text, answers, category, utt2dur if any) and files "
        "of dialogues (.jsonl)",
    )
    parser.add_argument(
        "--references",
        nargs="+",
        default=[],
        metavar="DIR",
        help="the response store of each set, in their order (default: DIR/responses)",
    )
    parser.add_argument(
        "--runs",
        nargs="+",
        required=True,
        metavar="DIR",
        help="where the runs of stage 10 are: directories of runs, or any directory above them",
    )


def read(
    args: argparse.Namespace,
    rule: str = "contains",
    normalize: str = "basic",
    target_lang: str | None = None,
    resample_by: str | None = None,
) -> list[TestSet]:
    """The test sets; arguments as for `read_test_set`.

    Errors (ValueError): not a store for each set, two sets of one name, a damaged set."""
    from ..score.test_set import read_test_set

    stores = args.references or [None] * len(args.sets)
    if len(stores) != len(args.sets):
        raise ValueError(
            f"{len(args.sets)} --sets but {len(stores)} --references; give one for each, or none"
        )
    found = [
        read_test_set(*each, rule, normalize, target_lang, resample_by)
        for each in zip(args.sets, stores, strict=True)
    ]
    names = [test_set.name for test_set in found]
    twice = [path for path, name in zip(args.sets, names, strict=True) if names.count(name) > 1]
    if twice:
        raise ValueError(f"{len(twice)} --sets have the same name (first: {twice[0]}); rename one")
    return found
