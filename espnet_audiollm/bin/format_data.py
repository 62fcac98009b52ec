"""Stage 2: 16 kHz mono audio of bounded length, durations, and what was dropped and why."""

from __future__ import annotations

import argparse

from ..data import pipes
from ..data.formatting import format_dir, format_parts, merge
from ..data.formatting.utterance import Limits
from .cli import add_flag, new_parser, user_errors


def get_parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("src", metavar="SRC", help="data directory, e.g. data/train")
    parser.add_argument("dst", metavar="DST", help="directory to make, e.g. dump/train")
    parser.add_argument("--min_audio", type=float, default=0.1, help="shortest kept (seconds)")
    parser.add_argument("--max_audio", type=float, default=20.0, help="longest kept (seconds)")
    parser.add_argument("--nj", type=int, default=1, help="processes")
    add_flag(
        parser,
        "--drop_bad_audio",
        "true: recordings that cannot be read are left out",
    )
    pipes.add_option(parser)
    group = parser.add_argument_group(
        "splitting",
        "Jobs make parts, --merge makes the tables of them; without these options one process does "
        "both. The result does not depend on the number of jobs.",
    )
    group.add_argument("--job", type=int, default=1, help="this job's number, from 1")
    group.add_argument("--num_jobs", type=int, default=1, help="number of jobs")
    group.add_argument(
        "--merge", action="store_true", help="only make the tables of complete parts"
    )
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Format the data directory, or this job's part of it."""
    args = get_parser().parse_args(argv)
    if args.nj < 1:
        raise ValueError(f"--nj {args.nj}: at least one process is needed")
    if not 1 <= args.job <= args.num_jobs:
        raise ValueError(f"--job {args.job} is not one of 1 to --num_jobs {args.num_jobs}")
    limits = Limits(args.min_audio, args.max_audio, args.allow_pipes == "true")
    drop = args.drop_bad_audio == "true"
    if args.merge:
        summary = str(merge(args.src, args.dst, limits, drop))
    elif args.num_jobs == 1:
        summary = str(format_dir(args.src, args.dst, limits, args.nj, drop))
    else:
        made = format_parts(
            args.src, args.dst, limits, args.nj, drop, job=args.job, num_jobs=args.num_jobs
        )
        summary = f"{made} parts made by job {args.job} of {args.num_jobs}"
    print(f"{args.dst}: {summary}")
    return 0


if __name__ == "__main__":
    main()
