"""How many positions of the LLM a batch may have.

`batch_bins` counts samples and response tokens alike, and no prompt. In a packed batch it is the
LLM's positions (prompt, audio, response) that take its memory: they lie end to end, so their sum
bounds it. Counted from the lengths of stage 8, before anything is encoded: a recording may come to
fewer positions (an adapter that drops blanks), never to more, and so may a prompt (what all prompts
begin with is read once).
"""

from __future__ import annotations

import itertools
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from .index import state_of
from .kaldi_dir import read_table
from .prompt import AUDIO_SLOT


@dataclass(frozen=True)
class PositionBound:
    """The bound, and what an example costs.

    most: positions of a batch, of all processes together.
    per_sample: audio positions of a sample.
    rounding: how many more a recording may have.
    prompt: tokens of the training prompt, its one audio slot counted.
    prompts: the table of the examples' own prompts, if they have some.
    """

    most: int
    per_sample: float
    rounding: int
    prompt: int
    prompts: str = ""

    def state(self) -> str:
        """What batches depend on."""
        return repr(astuple(self)) + (state_of(self.prompts) if self.prompts else "")

    def positions(self, samples_N: np.ndarray, tokens_N: np.ndarray) -> np.ndarray:
        """Positions (N,) of examples, at most."""
        audio_N = np.floor(samples_N * self.per_sample).astype(np.int64)
        return audio_N + tokens_N + self._prompts(len(samples_N))

    def check(self, positions_N: np.ndarray, table: str | Path, processes: int) -> None:
        """ValueError: an example has more positions than a batch may have, or the longest ones do
        not fit side by side, one for each process."""
        wrong = np.flatnonzero(positions_N > self.most)
        if len(wrong):
            first, most = int(wrong[0]), positions_N.max()
            raise ValueError(
                f"{len(wrong)} of {len(positions_N)} utterances have more positions than "
                f"--max_positions {self.most} of the LLM (first: {_id(table, first)}, "
                f"{positions_N[first]}): give {most} or more, or leave long utterances out in "
                "stage 2 (--max_audio)"
            )
        longest = int(positions_N.argmax())
        needed = processes * int(positions_N[longest])
        if needed > self.most:
            raise ValueError(
                f"--max_positions {self.most} is of all {processes} processes together, and the "
                f"longest utterance ({_id(table, longest)}) has {positions_N[longest]}: give "
                f"{needed} or more"
            )

    def _prompts(self, number: int) -> np.ndarray:
        """(N,) tokens of the prompts, and the rounding of each of their recordings."""
        if not self.prompts:
            return np.full(number, self.prompt + self.rounding)
        rows = (value.split() for _, value in read_table(self.prompts))
        slot = str(AUDIO_SLOT)
        costs = (len(row) + self.rounding * row.count(slot) for row in rows)
        found = np.fromiter(costs, np.int64)
        if len(found) != number:
            raise ValueError(
                f"{self.prompts} has {len(found)} prompts, and there are lengths of {number} "
                "utterances: rerun stages 7 and 8"
            )
        return found


def _id(table: str | Path, row: int) -> str:
    return next(itertools.islice(read_table(table), row, None))[0]
