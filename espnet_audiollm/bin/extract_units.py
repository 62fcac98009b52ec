"""The units of a data directory's recordings, by a quantiser of bin/learn_units."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.kaldi_dir import count_utterances, iter_utterances
from ..data.unit_tables import (
    DURATIONS,
    FACTS,
    UNITS,
    UnitSet,
    merge_repeats,
    table_of_level,
    write_set,
)
from ..store.parts import Parts, hash_files
from . import split
from .cli import add_flag, new_parser, user_errors

if TYPE_CHECKING:
    from ..units.quantiser import QuantiserFacts


def get_parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = new_parser(__doc__)
    add = parser.add_argument
    add("--quantiser", required=True, help="directory of bin/learn_units, e.g. exp/units/ctc200")
    add("--encoder", help="where its encoder lies now (default: where it lay then)")
    add("--data", required=True, help="directory of stage 2, e.g. dump/test")
    add("--output", required=True, help="directory for the units, e.g. dump/test/units_ctc200")
    add_flag(parser, "--merge_repeats", "write repeats of a unit once, and durations beside them")
    add("--batch_seconds", type=float, default=120.0, help="audio in one batch (s)")
    add("--device", default="cpu", help="cpu or cuda")
    split.add_options(parser)
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Extract the units of the directory, or of this job's part of it."""
    args = get_parser().parse_args(argv)
    split.check(args)
    from ..units.quantiser import read_quantiser

    with split.named(args):
        facts = read_quantiser(args.quantiser)
        unit_set_of(args, facts)
        parts = open_parts(args, facts)
        if not args.merge:
            extract(args, parts)
        if split.merges(args):
            merge(args, facts, parts)
    return 0


def unit_set_of(args: argparse.Namespace, facts: QuantiserFacts) -> UnitSet:
    """What the units are. Errors (ValueError): merged repeats of several levels."""
    merged, rate = args.merge_repeats == "true", facts.frames_per_second
    return UnitSet(facts.fingerprint, facts.size, rate, merged, facts.levels)


def open_parts(args: argparse.Namespace, facts: QuantiserFacts) -> Parts:
    """The shards that belong to the quantiser and the recordings."""
    names = ("merge_repeats", "batch_seconds", "data")
    data = args.data.rstrip("/")  # .done: another one where the audio is, in it or beside it
    about = [f"{data}/{name}" for name in ("wav.scp", "utt2dur", ".done")] + [f"{data}.log/.done"]
    inputs = {
        "options": {name: getattr(args, name) for name in names},
        "quantiser": facts.fingerprint,
        "contents": hash_files(*about),
    }
    tables = [table_of_level(level + 1) for level in range(facts.levels)]
    made = [*tables, FACTS, *[DURATIONS] * (args.merge_repeats == "true")]
    number = count_utterances(args.data)
    return Parts(args.output, inputs, number, ("id", "levels"), "4", made, args.shard_size)


def extract(args: argparse.Namespace, parts: Parts) -> None:
    """Fill this job's shards."""
    if split.nothing_left(args, parts):
        return
    from ..infer.batches import audio_batches, audio_of, in_halves
    from ..infer.unit_levels import load_extractor

    levels_of = load_extractor(args.quantiser, args.encoder, args.device)
    parts.begin()

    def answer(batch):
        found = zip(batch, in_halves(levels_of, batch), strict=True)
        return [{"id": utt.id, "levels": levels} for utt, levels in found]

    plan = partial(audio_batches, seconds=args.batch_seconds)
    recordings = iter_utterances(args.data)
    what = "extract_units"
    for _ in split.fill(args, parts.shards, recordings, plan, answer, what, audio_of):
        pass


def merge(args: argparse.Namespace, facts: QuantiserFacts, parts: Parts) -> None:
    """The tables from the shards."""
    if not parts.whole:
        parts.shards.check_whole(args.num_jobs)
        unit_set = unit_set_of(args, facts)
        write_rows(args.output, parts, unit_set)
        write_set(args.output, unit_set)
    parts.finish()
    print(f"{args.output}: units of {parts.shards.num_items} recordings")


def write_rows(output: str | Path, parts: Parts, unit_set: UnitSet) -> None:
    """A table of units for each level, and `durations` where repeats are merged."""
    from ..store.tables import write_table

    def rows(level: int, column: int | None):
        for record in parts.shards.records():
            values = record["levels"][level]
            values = values if column is None else merge_repeats(values)[column]
            yield record["id"], " ".join(map(str, values))

    for old in [Path(output) / DURATIONS, *Path(output).glob(f"{UNITS}_*[0-9]")]:
        old.unlink(missing_ok=True)
    for level in range(unit_set.levels):
        table = Path(output) / table_of_level(level + 1)
        write_table(table, rows(level, 0 if unit_set.merged else None), presorted=True)
    if unit_set.merged:
        write_table(Path(output) / DURATIONS, rows(0, 1), presorted=True)


if __name__ == "__main__":
    sys.exit(main())
