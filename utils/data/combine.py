#!/usr/bin/env python3
"""Combine data directories into one, with all their tables.

Ids and speakers that two of them have are an error, unless prefixes keep them apart."""

import argparse

import _start  # noqa: F401

from espnet_audiollm.bin.cli import add_flag, user_errors
from espnet_audiollm.corpus import combining
from espnet_audiollm.data import layout

EXAMPLE = "example: utils/data/combine.py data/all data/read data/spoken --prefixes read- spoken-"


def get_parser() -> argparse.ArgumentParser:
    """The command line's options."""
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE)
    parser.add_argument("dst", metavar="DST", help="directory to make")
    parser.add_argument("src", nargs="+", metavar="SRC", help="data directories")
    parser.add_argument(
        "--prefixes", nargs="+", metavar="P", help="what goes before the ids and speakers of each"
    )
    add_flag(
        parser,
        "--same_speakers",
        "true: a speaker of several directories is one person",
    )
    add_flag(
        parser,
        "--common_tables",
        "true: tables that not all have are left out",
    )
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Run the command; its exit status."""
    args = get_parser().parse_args(argv)
    prefixes = args.prefixes or [""] * len(args.src)
    if len(prefixes) != len(args.src):
        raise ValueError(
            f"--prefixes: {len(prefixes)} for {len(args.src)} directories; give one for each"
        )
    sources = [
        combining.Source(layout.of(directory), prefix)
        for directory, prefix in zip(args.src, prefixes, strict=True)
    ]
    count, names = combining.combine(
        sources, args.dst, args.same_speakers == "true", args.common_tables == "true"
    )
    left = sorted({name for source in sources for name in source.layout.left})
    print(
        f"{args.dst}: {count} utterances of {len(sources)} directories with {', '.join(names)}"
        + (f"; not carried: {', '.join(left)}" if left else "")
    )
    return 0


if __name__ == "__main__":
    main()
