"""Stage 6: a language model of n-grams over the recogniser's tokens, as an ARPA file, from
transcripts or from sentences.

A token that the recogniser's list lacks counts as its `<unk>`, as in a recogniser's training.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..data.kaldi_dir import read_table
from ..store.atomic import atomic_write
from ..store.tables import is_table
from ..text.arpa import NGrams, write_arpa
from ..text.ngrams import witten_bell
from ..text.tokens import BLANK, END, TOKEN_TYPES, UNKNOWN, Tokenizer, read_token_list
from .cli import new_parser, user_errors


def get_parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = new_parser(__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--text", help="Kaldi text file, e.g. dump/train/text")
    source.add_argument("--sentences", help="text, one sentence a line")
    parser.add_argument(
        "--valid_text", help="Kaldi text file: say the perplexity of its transcripts"
    )
    parser.add_argument("--order", type=int, required=True, help="tokens of the longest n-grams")
    parser.add_argument("--token_type", choices=TOKEN_TYPES, default="bpe")
    parser.add_argument("--token_list", required=True, help="tokens.txt of stage 3")
    parser.add_argument("--bpemodel", help="bpe: its bpe.model; llm: its tokenizer.json")
    parser.add_argument("--output", required=True, help="the ARPA file")
    return parser


class Counted:
    """Sentences of tokens of the list; counts what it goes through."""

    def __init__(self, tokenizer: Tokenizer, sentences: Iterable[str]):
        self._tokenizer, self._sentences = tokenizer, sentences
        self.sentences = self.tokens = self.unknown = 0
        self.first_unknown = ""

    def __iter__(self) -> Iterator[list[str]]:
        known = self._tokenizer.id_of
        for sentence in self._sentences:
            tokens = self._tokenizer.tokens(sentence)
            strange = [token for token in tokens if token not in known or token == UNKNOWN]
            self.first_unknown = self.first_unknown or next(iter(strange), "")
            self.sentences += bool(tokens)
            self.tokens += len(tokens)
            self.unknown += len(strange)
            yield [token if token in known else UNKNOWN for token in tokens]


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Estimate the model, write it, and say what it is of."""
    args = get_parser().parse_args(argv)
    token_list = read_token_list(args.token_list)
    tokenizer = Tokenizer(args.token_type, token_list, args.bpemodel)
    source = args.text or args.sentences
    lines = transcripts(args.text) if args.text else sentences(args.sentences)
    text = Counted(tokenizer, lines)
    try:
        model = witten_bell(text, args.order, set(token_list) - {BLANK, END})
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    if 2 * text.unknown > text.tokens:
        raise ValueError(
            f"{source}: {text.unknown} of {text.tokens} tokens (first: {text.first_unknown!r}) are "
            f"none of {args.token_list}: write the text in the form of the training transcripts "
            "(casing, script, numbers)"
        )
    with atomic_write(args.output) as out:
        write_arpa(model, out)
    print(f"{args.output}: {described(model, text)}")
    if args.valid_text:
        valid = Counted(tokenizer, transcripts(args.valid_text))
        print(f"{args.output}: perplexity {perplexity(model, valid):.2f} of {args.valid_text}")
    return 0


def transcripts(table: str) -> Iterator[str]:
    """Those of a Kaldi text file. Errors (ValueError): there is none."""
    if not is_table(table):
        raise ValueError(f"{table} does not exist: run stage 2 first")
    return (transcript for _, transcript in read_table(table))


def sentences(path: str) -> Iterator[str]:
    """The lines of a file. Errors (ValueError): there is none, or it is no text."""
    if not Path(path).is_file():
        raise ValueError(f"{path} does not exist: give a text of one sentence a line")
    with open(path, encoding="utf-8") as lines:
        try:
            yield from (line.strip() for line in lines)
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is no UTF-8 text ({error}): convert it") from error


def described(model: NGrams, text: Counted) -> str:
    """ "4-gram of 120 sentences, 800 tokens (unknown: 0, 0.00 %); 1-grams: 30, 2-grams: ..."."""
    share = 100 * text.unknown / text.tokens
    kinds = ", ".join(f"{n}-grams: {len(each.word_N)}" for n, each in enumerate(model.levels, 1))
    known = f"(unknown: {text.unknown}, {share:.2f} %)"
    return (
        f"{model.order}-gram of {text.sentences} sentences, {text.tokens} tokens {known}; {kinds}"
    )


def perplexity(model: NGrams, text: Counted) -> float:
    """exp of the mean nats of a token, ends of sentences among them.

    Errors (ValueError): there are no sentences."""
    nats = -sum(model.sentence_log_p(tokens) for tokens in text if tokens)
    if not text.sentences:
        raise ValueError("--valid_text has no transcripts with words: give one that has")
    return math.exp(nats / (text.tokens + text.sentences))


if __name__ == "__main__":
    sys.exit(main())
