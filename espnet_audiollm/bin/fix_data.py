"""Mend data directories: sort, mend line ends, keep the utterances that all tables have."""

from __future__ import annotations

import argparse

from ..data import repair
from .cli import user_errors


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directories", nargs="+", metavar="DIR", help="e.g. data/train data/test")
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    args = get_parser().parse_args(argv)
    for directory in args.directories:
        changes = repair.fix(directory)
        listed = "; ".join(f"{count} {what}" for what, count in changes.items())
        print(f"{directory}: {listed or 'nothing to mend'}")
    return 0


if __name__ == "__main__":
    main()
