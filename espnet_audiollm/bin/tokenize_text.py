"""Stage 3: the token list of the training transcripts: SentencePiece, characters, words, or the
LLM's own tokens."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..data import kaldi_dir
from ..store.atomic import atomic_write
from ..store.tables import is_table
from ..text.pieces import train_pieces
from ..text.tokens import MODELS, TOKEN_TYPES, learn
from .cli import new_parser, user_errors


def get_parser() -> argparse.ArgumentParser:
    """The command line's options."""
    parser = new_parser(__doc__)
    parser.add_argument("--text", required=True, help="Kaldi text file, e.g. dump/train/text")
    parser.add_argument("--token_type", choices=TOKEN_TYPES, default="bpe")
    parser.add_argument("--llm", help="llm: Hugging Face id or directory whose tokens they are")
    parser.add_argument("--chat_template", help="llm: Jinja file, when the LLM has none")
    parser.add_argument(
        "--vocab_size",
        type=int,
        default=1500,
        help="lines of tokens.txt (the paper: 1500); not bpe: at most, 0 for no limit",
    )
    parser.add_argument(
        "--bpe_type", choices=("unigram", "bpe"), default="unigram", help="bpe: kind of pieces"
    )
    parser.add_argument("--min_count", type=int, default=1, help="not bpe: rarer ones become <unk>")
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
    """Run the command; its exit status."""
    args = get_parser().parse_args(argv)
    if not is_table(args.text):
        raise ValueError(f"{args.text} does not exist: run stage 2 first")
    lines, number = Transcripts(args.text), kaldi_dir.count_lines(args.text)
    if args.token_type == "llm":
        _save_tokenizer(args.llm, args.chat_template, args.output)
    if args.token_type != "bpe":
        learned = learn(lines, args.token_type, args.vocab_size, args.min_count, args.output)
        print(f"{args.output}: {args.token_type}: {learned}, in {number} transcripts")
        return 0
    made = train_pieces(lines, args.vocab_size, args.bpe_type, args.output)
    done = f"{args.vocab_size} {args.bpe_type} pieces from {number} transcripts"
    print(f"{args.output}: {done if made else 'already there, nothing to do'}")
    return 0


def _save_tokenizer(llm: str | None, chat_template: str | None, directory: str) -> None:
    """Put the LLM's tokenizer.json there."""
    from ..model.llm import load_tokenizer

    if not llm:
        raise ValueError("--token_type llm needs --llm, whose tokens they are")
    tokenizer = load_tokenizer(llm, chat_template)
    with atomic_write(Path(directory) / MODELS["llm"]) as out:
        out.write(tokenizer.backend_tokenizer.to_str())


if __name__ == "__main__":
    main()
