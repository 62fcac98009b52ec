"""Stage 3: learn the SentencePiece vocabulary of the training transcripts."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..data import kaldi_dir
from ..text.pieces import train_pieces
from .cli import user_errors


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--text", required=True, help="Kaldi text file, e.g. dump/train/text")
    parser.add_argument(
        "--vocab_size", type=int, default=1500, help="lines of tokens.txt (the paper: 1500)"
    )
    parser.add_argument("--bpe_type", choices=("unigram", "bpe"), default="unigram")
    parser.add_argument("--output", required=True, help="directory, e.g. data/token_list/bpe_...")
    return parser


@dataclass(frozen=True)
class Transcripts:
    """The values of a table, read anew each time they are gone through."""

    table: str

    def __iter__(self) -> Iterator[str]:
        return (transcript for _, transcript in kaldi_dir.read_table(self.table))


@user_errors
def main(argv: list[str] | None = None) -> int:
    args = get_parser().parse_args(argv)
    if not Path(args.text).is_file():
        raise ValueError(f"{args.text} does not exist: run stage 2 first")
    made = train_pieces(Transcripts(args.text), args.vocab_size, args.bpe_type, args.output)
    number = kaldi_dir.count_lines(args.text)
    done = f"{args.vocab_size} {args.bpe_type} pieces from {number} transcripts"
    print(f"{args.output}: {done if made else 'already there, nothing to do'}")
    return 0


if __name__ == "__main__":
    main()
