"""Stage 1, second half: everything that is wrong with data directories, in one report."""

from __future__ import annotations

import argparse

from ..data import kaldi_dir, validation
from .cli import user_errors


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directories", nargs="+", metavar="DIR", help="e.g. data/train data/test")
    parser.add_argument(
        "--require_text",
        choices=("true", "false"),
        default="false",
        help="true: a directory without transcripts is an error (training needs them)",
    )
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    args = get_parser().parse_args(argv)
    problems = []
    for directory in args.directories:
        found = validation.validate(directory, args.require_text == "true")
        problems += found
        if not found:
            names = kaldi_dir.tables(directory)
            count = kaldi_dir.count_lines(f"{directory}/wav.scp")
            print(f"{directory}: {count} utterances with {', '.join(names)}: no fault found")
    if problems:
        report = "".join(f"\n  {problem}" for problem in problems)
        raise ValueError(f"{len(problems)} kinds of fault in the data:{report}")
    return 0


if __name__ == "__main__":
    main()
