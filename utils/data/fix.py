#!/usr/bin/env python3
"""Fix data directories where that needs no guessing: sort, fix line ends, drop blank lines,
identical duplicates and empty transcripts, keep the utterances that all tables have."""

import argparse

import _start  # noqa: F401

from espnet_audiollm.bin.cli import user_errors
from espnet_audiollm.corpus import repair

EXAMPLE = "example: utils/data/fix.py data/train data/valid"


def get_parser() -> argparse.ArgumentParser:
    """The command line's options."""
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE)
    parser.add_argument("directories", nargs="+", metavar="DIR", help="e.g. data/train data/test")
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Run the command; its exit status."""
    args = get_parser().parse_args(argv)
    for directory in args.directories:
        changes = repair.fix(directory)
        listed = "; ".join(f"{count} {what}" for what, count in changes.items())
        print(f"{directory}: {listed or 'nothing to fix'}")
    return 0


if __name__ == "__main__":
    main()
