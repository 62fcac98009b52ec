#!/usr/bin/env python3
"""Make a data directory from a list: TSV, CSV, JSON lines, lhotse cuts or a Hugging Face dataset.

The columns id, audio, text and speaker are taken where they are there; options name others.
Without ids utterances are named by their audio files; without speakers each is its own. A Hugging
Face dataset is a Parquet or Arrow file, a directory of them, or what save_to_disk wrote; audio
that is stored in it goes to files in DST/audio. Lhotse cuts that are parts of recordings become
`segments`. Commands in a list are never run."""

import argparse
from pathlib import Path

import _start  # noqa: F401

from espnet_audiollm.bin.cli import add_flag, user_errors
from espnet_audiollm.corpus import importing, manifests

EXAMPLES = """examples:
  utils/data/from_table.py clips.tsv data/train --audio path --text sentence --speaker client_id
  utils/data/from_table.py train.jsonl data/train --audio audio_filepath --extra utt2dur=duration
  utils/data/from_table.py saved_dataset data/test --split test --text transcription
  utils/data/from_table.py cuts.jsonl.gz data/train --extra utt2lang=language"""


def get_parser() -> argparse.ArgumentParser:
    """The command line's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("src", type=Path, metavar="SRC", help="the list (.gz too)")
    parser.add_argument("dst", type=Path, metavar="DST", help="directory to make")
    parser.add_argument("--id", metavar="COLUMN", help="of ids")
    parser.add_argument("--audio", metavar="COLUMN", help="of audio files (or stored audio)")
    parser.add_argument("--text", metavar="COLUMN", help="of transcripts ('': none)")
    parser.add_argument("--speaker", metavar="COLUMN", help="of speakers ('': none)")
    parser.add_argument(
        "--extra",
        nargs="+",
        default=[],
        metavar="TABLE=COLUMN",
        help="further tables, as in answers=answer utt2lang=language",
    )
    parser.add_argument("--format", choices=manifests.FORMATS, default="auto", help="(by its name)")
    parser.add_argument("--split", default="", help="of a Hugging Face dataset that has several")
    parser.add_argument(
        "--audio_root", type=Path, help="where relative paths start (default: SRC's directory)"
    )
    add_flag(
        parser,
        "--drop",
        "true: leave out rows without text or audio",
    )
    return parser


def extra_tables(given: list[str]) -> dict[str, str]:
    """{table: column} of --extra. ValueError for a pair that is none, or a table given twice."""
    tables = {}
    for pair in given:
        table, _, column = pair.partition("=")
        if not (table and column) or table in tables:
            raise ValueError(f"--extra {pair}: write each table once, as TABLE=COLUMN")
        tables[table] = column
    return tables


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Run the command; its exit status."""
    args = get_parser().parse_args(argv)
    columns = importing.Columns(
        args.id, args.audio, args.text, args.speaker, extra_tables(args.extra)
    )
    made = importing.make(
        args.src, args.dst, columns, args.format, args.split, args.audio_root, args.drop == "true"
    )
    for line in made.left_out:
        print(line)
    print(
        f"{args.dst}: {made.utterances} utterances of {len(made.speakers)} speakers with "
        f"{', '.join(made.tables)}"
    )
    return 0


if __name__ == "__main__":
    main()
