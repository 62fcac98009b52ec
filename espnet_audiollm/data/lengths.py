"""Stages 4 and 8: how long every utterance and its target are, for batches of one size.

Stage 2 counted the samples, so nothing is decoded here: one pass over the tables, side by side, in
constant memory.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from ..progress import progress
from ..store.atomic import atomic_write, remove_asides
from ..store.tables import outer_join
from ..text.tokens import UNKNOWN, Tokenizer, TokenType, read_token_list
from .kaldi_dir import count_lines, read_table
from .recordings import total

CHUNK = 4096  # transcripts encoded at once

Count = Callable[[list[str]], Iterable[int]]  # how many tokens each value has


class CountTokens:
    """Tokens of transcripts; says afterwards how many of them the token list does not have.

    Pieces are counted by their model, in as many threads as this process has processors,
    unless given; characters and words by their list."""

    def __init__(
        self,
        token_type: TokenType,
        token_list: str | Path | None = None,
        bpemodel: str | Path | None = None,
        num_threads: int | None = None,
    ):
        self.total, self.unknown = 0, 0
        tokens = read_token_list(token_list) if token_list else []
        self.tokenizer = Tokenizer(token_type, tokens, bpemodel)
        self.threads = num_threads or len(os.sched_getaffinity(0))

    def __call__(self, texts: list[str]) -> list[int]:
        if self.tokenizer.token_type == "bpe":
            processor = self.tokenizer.processor
            unknown, rows = processor.unk_id(), processor.encode(texts, num_threads=self.threads)
        else:
            unknown, rows = self.tokenizer.id_of[UNKNOWN], map(self.tokenizer.ids, texts)
        lengths = []
        for row in rows:
            lengths.append(len(row))
            self.unknown += row.count(unknown)
        self.total += sum(lengths)
        return lengths

    def __str__(self) -> str:
        share = 100 * self.unknown / self.total
        return f"{self.unknown} of {self.total} tokens unknown ({share:.2f} %)"


def count_words(values: list[str]) -> Iterator[int]:
    """Numbers of a table of token ids."""
    return (len(value.split()) for value in values)


def write_lengths(
    samples: str | Path, targets: str | Path, count: Count, output: str | Path, name: str
) -> int:
    """Write output/speech_shape (samples of each utterance, or of all recordings of an example) and
    output/<name>_shape (tokens of its target); returns the number of utterances.

    Raises ValueError where the two tables do not hold the same ids, or a target is empty."""
    for path in (samples, targets):
        if not Path(path).is_file():
            raise ValueError(f"{path} does not exist: run the stages before this one first")
    rows = progress(_pairs(samples, targets), count_lines(samples), f"lengths of {targets}")
    done = 0
    with ExitStack() as stack:
        speech, target = (
            stack.enter_context(atomic_write(Path(output) / f"{kind}_shape"))
            for kind in ("speech", name)
        )
        while chunk := list(itertools.islice(rows, CHUNK)):
            tokens = list(count([value for _, _, value in chunk]))
            for (id_, length, _), number in zip(chunk, tokens, strict=True):
                if not number:
                    raise ValueError(f"{targets}: {id_} is empty; run the stage that made it again")
                speech.write(f"{id_} {total(length)}\n")
                target.write(f"{id_} {number}\n")
            done += len(chunk)
        if not done:
            raise ValueError(f"{samples} is empty: run stage 2 again")
    remove_asides(output, "speech_shape", f"{name}_shape")
    return done


def _pairs(samples: str | Path, targets: str | Path) -> Iterator[tuple[str, str, str]]:
    """(id, samples, value of the target) of every utterance."""
    for id_, (length, value) in outer_join(read_table(samples), read_table(targets)):
        if length is None or value is None:
            lacking = samples if length is None else targets
            raise ValueError(f"{id_} is missing in {lacking}; run the stages that make it again")
        yield id_, length, value
