"""Response perplexity under the frozen LLM (AudioChatLlama, section 4.2).

Nats and tokens are summed over the corpus, then divided: a mean of per-utterance perplexities
lets one short answer dominate. The end-of-turn token is included; prompt tokens are not counted.

N utterances, R resamples, S systems
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .bootstrap import RESAMPLES, bootstrap_sums, percentile_interval, two_sided_p


@dataclass(frozen=True)
class Perplexity:
    nats: float
    tokens: int
    ci95: tuple[float, float]  # paired bootstrap over utterances

    @property
    def value(self) -> float:
        return float(np.exp(self.nats / self.tokens))


@dataclass(frozen=True)
class PerplexityTable:
    """The perplexities of all systems, from the same resamples."""

    perplexities: tuple[Perplexity, ...]
    log_ppl_RS: np.ndarray  # of each resample

    def p_value(self, a: int, b: int) -> float:
        """Two-sided paired-bootstrap p-value of the difference of systems `a` and `b`."""
        return two_sided_p(self.log_ppl_RS[:, a] - self.log_ppl_RS[:, b])


def compare(
    nats: Sequence[np.ndarray], tokens_N: np.ndarray, resamples: int = RESAMPLES, seed: int = 0
) -> PerplexityTable:
    """Perplexities of S systems.

    `nats` holds, for each system, the summed nats of each utterance's response (N,); `tokens_N`
    the response tokens, which all systems share, utterances in one order."""
    tokens_N = np.asarray(tokens_N)
    if len(tokens_N) == 0 or tokens_N.min() < 1:
        raise ValueError("perplexity needs utterances, each with at least one response token")
    sums_RS = bootstrap_sums(np.column_stack([*nats, tokens_N]), resamples, seed)
    log_ppl_RS = sums_RS[:, :-1] / sums_RS[:, -1:]
    total = int(tokens_N.sum())
    perplexities = tuple(
        Perplexity(float(np.sum(nats_N)), total, percentile_interval(np.exp(log_ppl_R)))
        for nats_N, log_ppl_R in zip(nats, log_ppl_RS.T, strict=True)
    )
    return PerplexityTable(perplexities, log_ppl_RS)
