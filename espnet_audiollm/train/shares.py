"""What a batch's terms count in all that is learned from together.

The losses of parts (of halves of a batch, of batches accumulated to an update, of processes) are
averaged by one weight, a model's response tokens, say. A term that is a mean over something else,
transcripts' tokens, say, would then count by the wrong number. A model with such terms says what
they count (`term_counts`), and is given a factor for each: what the terms of all parts together
come to is then the mean over all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .ranks import Ranks

Batch = Mapping[str, Any]  # what a model's forward pass is given
Counts = Mapping[str, float]  # of the weight, and of what the means of other terms are over
CountTerms = Callable[[Batch], Counts]
WEIGHT = "weight"


def shares(part: Counts, whole: Counts) -> dict[str, float]:
    """The factor of each term, by the name of the argument of the model's forward pass.

    Its mean over the part, averaged by weight, is to add up to the mean over the whole."""
    by_weight = {name: n * whole[WEIGHT] / part[WEIGHT] for name, n in part.items()}
    return {
        name: n / whole[name] if whole[name] else 1.0
        for name, n in by_weight.items()
        if name != WEIGHT
    }


class UpdateShares:
    """Of each batch of an update, in all processes.

    count_terms: the model's `term_counts`; it counts nothing where one weight does for all."""

    def __init__(self, count_terms: CountTerms, ranks: Ranks):
        self.count_terms, self.ranks = count_terms, ranks

    def __call__(self, batches: Sequence[Batch]) -> list[dict[str, float]]:
        """What the model is given beside each of this process's batches.

        Every process has as many, of the same kinds of data."""
        counts = [self.count_terms(batch) for batch in batches]
        names = list(counts[0]) if counts else []
        if not names:
            return [{} for _ in batches]
        here = [sum(of_batch[name] for of_batch in counts) for name in names]
        whole = dict(zip(names, self.ranks.sums(here), strict=True))
        return [shares(of_batch, whole) for of_batch in counts]
