"""Stage 2: 16 kHz mono audio of bounded length, durations, and what was dropped and why."""

from __future__ import annotations

import argparse

from ..data.formatting import Limits, format_dir
from .cli import user_errors


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("src", metavar="SRC", help="data directory, e.g. data/train")
    parser.add_argument("dst", metavar="DST", help="directory to make, e.g. dump/train")
    parser.add_argument("--min_audio", type=float, default=0.1, help="shortest kept (seconds)")
    parser.add_argument("--max_audio", type=float, default=20.0, help="longest kept (seconds)")
    parser.add_argument("--nj", type=int, default=1, help="processes")
    parser.add_argument(
        "--drop_bad_audio",
        choices=("true", "false"),
        default="false",
        help="true: recordings that cannot be read are left out; false: they are an error",
    )
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    args = get_parser().parse_args(argv)
    if args.nj < 1:
        raise ValueError(f"--nj {args.nj}: at least one process is needed")
    summary = format_dir(
        args.src,
        args.dst,
        Limits(args.min_audio, args.max_audio),
        args.nj,
        drop_bad_audio=args.drop_bad_audio == "true",
    )
    print(f"{args.dst}: {summary}")
    return 0


if __name__ == "__main__":
    main()
