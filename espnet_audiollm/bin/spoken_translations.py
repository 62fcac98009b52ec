"""A data directory of the spoken translations of another one's utterances, under the same ids: its
table translation_audio becomes wav.scp, translation becomes text."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .cli import new_parser, user_errors


def get_parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = new_parser(__doc__)
    add = parser.add_argument
    add("src", metavar="SRC", help="data directory with translation_audio, e.g. data/train")
    add("dst", metavar="DST", help="directory to make; bin/format_data reads it")
    add(
        "--speaker",
        default="",
        help="one name for the voice of all of them (default: each is its utterance's speaker)",
    )
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Write the directory; the exit status."""
    args = get_parser().parse_args(argv)
    from ..data import kaldi_dir
    from ..store.atomic import new_directories
    from ..store.tables import write_table

    if len(args.speaker.split()) > 1:
        raise ValueError(f"--speaker '{args.speaker}': a name has no blanks")
    source = Path(args.src)
    names = ("translation_audio", "translation", "utt2spk")
    tables = {name: kaldi_dir.read_dict(kaldi_dir.existing(source / name)) for name in names}
    spoken = tables["translation_audio"]
    for name in names[1:]:
        if lacking := [id_ for id_ in spoken if id_ not in tables[name]]:
            raise ValueError(
                f"{source}: {len(lacking)} of {len(spoken)} spoken translations are not in {name} "
                f"(first: {lacking[0]}); run stage 1 of the recipe again"
            )
    with new_directories(args.dst) as (aside,):
        speakers = {id_: args.speaker or tables["utt2spk"][id_] for id_ in spoken}
        texts = {id_: tables["translation"][id_] for id_ in spoken}
        for name, table in (("utt2spk", speakers), ("text", texts), ("wav.scp", spoken)):
            write_table(aside / name, table.items())
    print(f"{args.dst}: {len(spoken)} spoken translations of {len(set(speakers.values()))} voices")
    return 0


if __name__ == "__main__":
    sys.exit(main())
