#!/usr/bin/env python3
"""Copies of a data directory at other speeds, as Kaldi makes them: tempo and pitch change.

With speeds 0.9 1.0 1.1 DST has three times the utterances: those of SRC, whose recordings stay
where they are, and copies, whose ids and speakers begin with sp0.9- and sp1.1- and whose
recordings are written to DST/audio. All tables come along; utt2uniq names the original of each."""

import argparse

import _start  # noqa: F401

from espnet_audiollm.bin.cli import user_errors
from espnet_audiollm.corpus import derived
from espnet_audiollm.data import pipes

EXAMPLE = "example: utils/data/speed_perturb.py data/train data/train_sp --nj 8"


def get_parser() -> argparse.ArgumentParser:
    """The command line's options."""
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE)
    parser.add_argument("src", metavar="SRC", help="data directory, e.g. data/train")
    parser.add_argument("dst", metavar="DST", help="directory to make")
    parser.add_argument(
        "--speeds",
        nargs="+",
        default=["0.9", "1.0", "1.1"],
        metavar="SPEED",
        help="1 is the utterances as they are (default: 0.9 1.0 1.1)",
    )
    parser.add_argument("--nj", type=int, default=1, help="processes (default: 1)")
    pipes.add_option(parser)
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Run the command; its exit status."""
    args = get_parser().parse_args(argv)
    allowed = args.allow_pipes == "true"
    made = derived.perturb_speed(args.src, args.dst, args.speeds, args.nj, allowed)
    print(
        f"{args.dst}: {made.utterances:,} utterances at speeds {', '.join(args.speeds)}; "
        f"{made.written:,} recordings written, {made.seconds / 3600:.2f} hours"
    )
    return 0


if __name__ == "__main__":
    main()
