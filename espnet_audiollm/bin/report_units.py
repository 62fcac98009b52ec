"""What sets of units are like, before a model is trained on them: rate, use, entropy, and how much
a unit tells of the words and of the voice (espnet_audiollm/score/units.py). Of several levels each
has a line, and is looked at by itself."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..data.kaldi_dir import count_lines, existing, side_by_side
from ..data.unit_tables import UNITS, UnitRow, iter_units, read_set
from .cli import add_bootstrap_options, check_bootstrap, new_parser, user_errors

HEADER = (
    "Units",
    "number",
    "used",
    "units/s",
    "frames a unit",
    "entropy (bits)",
    "bits/s",
    "tells the words % [95 % CI]",
    "tells the voice % [95 % CI]",
    "recordings",
    "voices",
)


def get_parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = new_parser(__doc__)
    add = parser.add_argument
    add("units", nargs="+", metavar="UNITS", help="directories of bin/extract_units")
    add("--data", required=True, help="whose recordings they are of: text, utt2spk")
    add("--output", help="also write it as JSON")
    add("--normalizer", default="basic", help="form of the words")
    add("--max_recordings", type=int, default=2000, help="look at so many, evenly spaced")
    add_bootstrap_options(parser)
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Print the table; its exit status."""
    args = get_parser().parse_args(argv)
    check_bootstrap(args)
    if args.max_recordings < 2:
        raise ValueError(f"--max_recordings {args.max_recordings}: give 2 or more")
    from ..report.tables import Table
    from ..store.json_files import write_json

    reports = {
        name: report_of(directory, level, args)
        for directory in args.units
        for name, level in levels_of(directory)
    }
    found = {name: report.as_dict() for name, report in reports.items()}
    if args.output:
        write_json(args.output, found)
    print(Table(HEADER, tuple(row(name, report) for name, report in reports.items())).screen())
    return 0


def levels_of(directory: str) -> list[tuple[str, int]]:
    """A name for each level's line, and the level."""
    levels = read_set(directory).levels
    if levels == 1:
        return [(directory, 1)]
    return [(f"{directory} level {level}", level) for level in range(1, levels + 1)]


def report_of(directory: str, level: int, args: argparse.Namespace):
    """The report on one level of a directory of units."""
    from ..score.units import report

    unit_set = read_set(directory)
    rate, size = unit_set.frames_per_second, unit_set.size
    return report(read_spoken(directory, level, args), size, rate, args.resamples, args.seed)


def read_spoken(directory: str, level: int, args: argparse.Namespace) -> list:
    """The recordings with their words and speakers, at most --max_recordings.

    Errors (ValueError): recordings that the data directory does not have."""
    from ..score.units import Spoken
    from ..text.normalize import normalizer

    form = normalizer(args.normalizer)
    every = -(-count_lines(existing(Path(directory) / UNITS)) // args.max_recordings)
    rows = [row for n, row in enumerate(iter_units(directory, level)) if n % every == 0]
    known = texts_and_speakers(args.data, rows)
    return [
        Spoken(row.id, row.frames, len(row.units), tuple(form(text).split()), speaker)
        for row, (text, speaker) in zip(rows, known, strict=True)
    ]


def texts_and_speakers(data: str, rows: list[UnitRow]) -> list[list[str]]:
    """Text and speaker of each row's recording. Errors (ValueError): the data does not have it."""
    wanted = {row.id for row in rows}
    tables = side_by_side(data, ("text", "utt2spk"))
    found = {id_: values for id_, values in tables if id_ in wanted}
    missing = [row.id for row in rows if row.id not in found]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(rows)} recordings with units (first: {missing[0]}) are not in "
            f"{data}: give the --data that the units were extracted from"
        )
    return [found[row.id] for row in rows]


def row(name: str, found) -> tuple[str, ...]:
    """A row of the table."""

    def share(share) -> str:
        low, high = share.ci95
        return f"{share.percent:.1f} [{low:.1f}, {high:.1f}]"

    return (
        name,
        str(found.size),
        str(found.used),
        f"{found.units_per_second:.1f}",
        f"{found.run_length:.2f}",
        f"{found.entropy:.2f}",
        f"{found.bits_per_second:.1f}",
        share(found.words),
        share(found.voice),
        str(found.recordings),
        str(found.speakers),
    )


if __name__ == "__main__":
    sys.exit(main())
