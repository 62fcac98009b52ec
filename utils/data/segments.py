#!/usr/bin/env python3
"""Utterances that are parts of recordings: wav.scp names recordings, and the table `segments`
holds "utterance recording begin end [channel]" (seconds; end -1: the recording's end).

  list   one line of wav.scp for each utterance ("a.flac#t=1.5,3"); no audio is read or written
  cut    one audio file for each utterance, at its own rate
  join   the other way: utterances of a speaker behind each other, in long recordings, and segments

Stage 2 reads a directory with segments as it is; list and cut are for tools that do not."""

import argparse

import _start  # noqa: F401

from espnet_audiollm.bin.cli import user_errors
from espnet_audiollm.corpus import derived, joining
from espnet_audiollm.data import kaldi_dir, pipes, segments

EXAMPLE = "example: utils/data/segments.py cut data/calls data/calls_cut --nj 8"


def get_parser() -> argparse.ArgumentParser:
    """The command line's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("list", "cut", "join"))
    parser.add_argument("src", metavar="SRC", help="data directory, e.g. data/calls")
    parser.add_argument("dst", metavar="DST", help="directory to make")
    parser.add_argument("--nj", type=int, default=1, help="processes of cut (default: 1)")
    parser.add_argument(
        "--seconds", type=float, default=600.0, help="longest recording of join (default: 600)"
    )
    parser.add_argument(
        "--gap", type=float, default=0.5, help="silence between joined ones (default: 0.5 s)"
    )
    pipes.add_option(parser)
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Run the command; its exit status."""
    args = get_parser().parse_args(argv)
    allowed = args.allow_pipes == "true"
    if args.action == "join":
        made = joining.join(args.src, args.dst, args.seconds, args.gap, allowed)
    else:
        kaldi_dir.existing(segments.table(args.src))
        if args.action == "cut":
            made = derived.cut(args.src, args.dst, args.nj, allowed)
        else:
            made = derived.refer(args.src, args.dst)
    hours = f", {made.seconds / 3600:.2f} hours" if made.written else ""
    print(f"{args.dst}: {made.utterances:,} utterances; {made.written:,} recordings written{hours}")
    return 0


if __name__ == "__main__":
    main()
