#!/usr/bin/env python3
"""Everything that is wrong with data directories, in one report, each with how to fix it."""

import argparse

import _start  # noqa: F401

from espnet_audiollm.bin.cli import add_flag, user_errors
from espnet_audiollm.data import kaldi_dir, layout, pipes, validation

EXAMPLE = "example: utils/data/validate.py --require_text true data/train data/valid"


def get_parser() -> argparse.ArgumentParser:
    """The command line's options."""
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE)
    parser.add_argument("directories", nargs="+", metavar="DIR", help="e.g. data/train data/test")
    add_flag(
        parser,
        "--require_text",
        "true: training needs transcripts",
    )
    pipes.add_option(parser)
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Run the command; its exit status."""
    args = get_parser().parse_args(argv)
    problems = []
    for directory in args.directories:
        found = validation.validate(
            directory, args.require_text == "true", args.allow_pipes == "true"
        )
        problems += found
        if not found:
            names = kaldi_dir.tables(directory)
            names += [name for name in layout.of(directory).tables if name not in names]
            count = kaldi_dir.count_lines(f"{directory}/utt2spk")
            print(f"{directory}: {count} utterances with {', '.join(names)}: no error found")
    if problems:
        report = "".join(f"\n  {problem}" for problem in problems)
        raise ValueError(f"{len(problems)} kinds of error in the data:{report}")
    return 0


if __name__ == "__main__":
    main()
