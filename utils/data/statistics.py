#!/usr/bin/env python3
"""What is in a data directory: durations, speakers, words, sample rates, and what sticks out.

Writes statistics.txt (which it prints), statistics.json and statistics.png."""

import argparse
from pathlib import Path

import _start  # noqa: F401

from espnet_audiollm.bin.cli import user_errors
from espnet_audiollm.corpus import statistics, statistics_report
from espnet_audiollm.data import pipes
from espnet_audiollm.store.atomic import atomic_write
from espnet_audiollm.store.json_files import write_json

EXAMPLE = "example: utils/data/statistics.py data/train --output data/train/statistics"


def get_parser() -> argparse.ArgumentParser:
    """The command line's options."""
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE)
    parser.add_argument("directory", metavar="DIR", help="data directory, e.g. data/train")
    parser.add_argument("--output", help="where to write the three files (default: DIR/statistics)")
    pipes.add_option(parser)
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Run the command; its exit status."""
    args = get_parser().parse_args(argv)
    output = Path(args.output or Path(args.directory) / "statistics")
    found = statistics.collect(args.directory, args.allow_pipes == "true")
    text = statistics_report.as_text(found)
    with atomic_write(output / "statistics.png", "wb") as out:
        statistics_report.plot(found, out)
    write_json(output / "statistics.json", statistics_report.as_dict(found))
    with atomic_write(output / "statistics.txt") as out:
        out.write(text)
    print(f"{text}\nwritten: {output}/statistics.{{txt,json,png}}")
    return 0


if __name__ == "__main__":
    main()
