#!/usr/bin/env python3
"""Take a part of a data directory: the first utterances, some by chance, some speakers, hours.

All tables come along. The same seed takes the same utterances."""

import argparse
from pathlib import Path

import _start  # noqa: F401

from espnet_audiollm.bin.cli import user_errors
from espnet_audiollm.corpus import dealing, selection
from espnet_audiollm.data import layout

EXAMPLE = "example: utils/data/subset.py data/train data/train_10h --hours 10"


def get_parser() -> argparse.ArgumentParser:
    """The command line's options."""
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE)
    parser.add_argument("src", type=Path, metavar="SRC", help="data directory, e.g. data/train")
    parser.add_argument("dst", type=Path, metavar="DST", help="directory to make")
    ways = parser.add_argument_group("which utterances (one of these)")
    way = ways.add_mutually_exclusive_group(required=True)
    way.add_argument("--first", type=int, metavar="N", help="the first N, in order of their ids")
    way.add_argument("--random", type=int, metavar="N", help="N by chance")
    way.add_argument("--hours", type=float, metavar="H", help="by chance, up to so many hours")
    way.add_argument("--speakers", metavar="A,B", help="all of these speakers")
    way.add_argument("--speaker_list", type=Path, metavar="FILE", help="speakers, one on each line")
    way.add_argument("--num_speakers", type=int, metavar="N", help="all of N speakers, by chance")
    way.add_argument("--ids", type=Path, metavar="FILE", help="ids, the first word of each line")
    parser.add_argument("--seed", type=int, default=0, help="of chance (default: 0)")
    return parser


def choose(args: argparse.Namespace) -> bytearray:
    """The mask of chosen rows, by the option that was given."""
    if args.first is not None:
        return selection.first(args.src, args.first)
    if args.random is not None:
        return selection.sample(args.src, args.random, args.seed)
    if args.hours is not None:
        return selection.by_hours(args.src, args.hours, args.seed)
    if args.num_speakers is not None:
        return selection.sample_speakers(args.src, args.num_speakers, args.seed)
    if args.ids is not None:
        return selection.by_ids(args.src, first_words(args.ids))
    listed = args.speaker_list
    return selection.by_speakers(
        args.src, args.speakers.split(",") if listed is None else first_words(listed)
    )


def first_words(path: Path) -> list[str]:
    """The first word of each line. ValueError for an empty file."""
    with open(path, encoding="utf-8-sig") as lines:
        words = [line.split(maxsplit=1)[0] for line in lines if line.strip()]
    if not words:
        raise ValueError(f"{path} is empty: write one name on each line")
    return words


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Run the command; its exit status."""
    args = get_parser().parse_args(argv)
    source = layout.of(args.src)
    labels = choose(args)
    (dealt,) = dealing.deal(source, labels, [args.dst])
    print(f"{args.dst}: {dealt} (of {len(labels)} utterances) {source.describe()}")
    return 0


if __name__ == "__main__":
    main()
