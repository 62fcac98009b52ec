#!/usr/bin/env python3
"""Split a data directory into training, validation and test data with no speaker in two of them.

A size is a share (0.9 or 90%), hours (2h), utterances (500), speakers (20spk), or "rest". The same
seed splits the same way; what came out is printed beside what was asked."""

import argparse
from pathlib import Path

import _start  # noqa: F401

from espnet_audiollm.bin.cli import user_errors
from espnet_audiollm.corpus import dealing, splitting
from espnet_audiollm.corpus import prepare as corpus
from espnet_audiollm.data import layout

EXAMPLE = (
    "example: utils/data/split_by_speaker.py data/all data/train=rest data/valid=2h data/test=2h"
)


def get_parser() -> argparse.ArgumentParser:
    """The command line's options."""
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE)
    parser.add_argument("src", type=Path, metavar="SRC", help="data directory, e.g. data/all")
    parser.add_argument("parts", nargs="+", metavar="DIR=SIZE", help="directories to make")
    parser.add_argument("--seed", type=int, default=0, help="of the speakers' order (default: 0)")
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Run the command; its exit status."""
    args = get_parser().parse_args(argv)
    source = layout.of(args.src)
    wanted = corpus.wanted_splits(args.parts)
    parts = [splitting.Part(directory, size) for directory, size in wanted.items()]
    labels, total = splitting.assign(args.src, parts, args.seed)
    for part, dealt in zip(parts, dealing.deal(source, labels, list(wanted)), strict=True):
        share = 100 * dealt.utterances / total.utterances
        print(f"{part.directory}: {dealt}, {share:.1f} % of the utterances (asked: {part.size})")
    if left := labels.count(0):
        print(f"{left} of {total.utterances} utterances are in no part")
    print(f"{source.describe()}")
    if len(total.speakers) == total.utterances:
        print(f"{args.src}: each utterance has a speaker of its own, so speakers separate nothing")
    return 0


if __name__ == "__main__":
    main()
