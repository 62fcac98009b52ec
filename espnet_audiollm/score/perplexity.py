"""Response perplexity under the frozen LLM (AudioChatLlama, section 4.2).

Nats and tokens are summed over the corpus, then divided: a mean of per-utterance perplexities
lets one short answer dominate. The end-of-turn token is included; prompt tokens are not counted.

N utterances, R resamples, S systems, E bands of positions
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .bootstrap import RESAMPLES, Units, bootstrap_sums, percentile_interval, two_sided_p

EDGES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256)  # where a band of positions begins


@dataclass(frozen=True)
class Perplexity:
    """Of the reference responses under a system, over the corpus."""

    nats: float
    tokens: int
    ci95: tuple[float, float]  # paired bootstrap over utterances

    @property
    def value(self) -> float:
        """exp(nats / tokens)."""
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
    nats: Sequence[np.ndarray],
    tokens_N: np.ndarray,
    resamples: int = RESAMPLES,
    seed: int = 0,
    units: Units = None,
) -> PerplexityTable:
    """Perplexities of S systems.

    `nats` holds, for each system, the summed nats of each utterance's response (N,); `tokens_N`
    the response tokens, which all systems share, utterances in one order."""
    tokens_N = np.asarray(tokens_N)
    if len(tokens_N) == 0 or tokens_N.min() < 1:
        raise ValueError("perplexity needs utterances, each with at least one response token")
    sums_RS = bootstrap_sums(np.column_stack([*nats, tokens_N]), resamples, seed, units)
    log_ppl_RS = sums_RS[:, :-1] / sums_RS[:, -1:]
    total = int(tokens_N.sum())
    perplexities = tuple(
        Perplexity(float(np.sum(nats_N)), total, percentile_interval(np.exp(log_ppl_R)))
        for nats_N, log_ppl_R in zip(nats, log_ppl_RS.T, strict=True)
    )
    return PerplexityTable(perplexities, log_ppl_RS)


@dataclass(frozen=True)
class PositionPerplexity(Perplexity):
    """Of the response tokens at the positions `first` to `last`, from 0."""

    first: int
    last: int | None  # None: all that follow


def compare_positions(
    systems: Sequence[Mapping[str, np.ndarray]],
    edges: Sequence[int] = EDGES,
    resamples: int = RESAMPLES,
    seed: int = 0,
    units: Units = None,
) -> list[list[PositionPerplexity]]:
    """Of each system, the perplexity in each band of positions [edge, next edge).

    `systems`: {id: nats of each response token}, of the same utterances and tokens. Bands that no
    response reaches are left out. All systems are drawn together, as in `compare`."""
    ids = list(systems[0])
    if not ids or list(edges) != sorted(set(edges)) or edges[0] != 0:
        raise ValueError("positions need utterances, and edges that rise from 0")
    lengths_N = _lengths(systems, ids)
    bands = [(a, b) for a, b in zip(edges, [*edges[1:], None], strict=True) if a < lengths_N.max()]
    cell_X = _cells(lengths_N, [first for first, _ in bands])
    shape = len(ids), len(bands)
    tokens_NE = np.bincount(cell_X, minlength=len(ids) * len(bands)).reshape(shape)
    stats = [
        np.bincount(
            cell_X, np.concatenate([nats[id] for id in ids]), minlength=len(ids) * len(bands)
        ).reshape(shape)
        for nats in systems
    ]
    sums_RX = bootstrap_sums(np.column_stack([tokens_NE, *stats]), resamples, seed, units)
    tokens_RE, *nats_RE = np.split(sums_RX, len(systems) + 1, axis=1)
    return [
        [
            PositionPerplexity(
                float(nats_NE[:, e].sum()),
                int(tokens_NE[:, e].sum()),
                _interval(resampled_RE[:, e], tokens_RE[:, e]),
                first,
                end and end - 1,
            )
            for e, (first, end) in enumerate(bands)
        ]
        for nats_NE, resampled_RE in zip(stats, nats_RE, strict=True)
    ]


def _lengths(systems: Sequence[Mapping[str, np.ndarray]], ids: list[str]) -> np.ndarray:
    first, *others = ([len(nats[id]) for id in ids] for nats in systems)
    if any(lengths != first for lengths in others):
        raise ValueError("the systems were not scored on the same response tokens; rerun stage 10")
    return np.array(first)


def _cells(lengths_N: np.ndarray, starts: Sequence[int]) -> np.ndarray:
    """Of every token, laid end to end, utterance x number of bands + band."""
    firsts_N = np.cumsum(lengths_N) - lengths_N
    position_X = np.arange(lengths_N.sum()) - np.repeat(firsts_N, lengths_N)
    band_X = np.searchsorted(starts, position_X, side="right") - 1
    return np.repeat(np.arange(len(lengths_N)) * len(starts), lengths_N) + band_X


def _interval(nats_R: np.ndarray, tokens_R: np.ndarray) -> tuple[float, float]:
    """Of the resamples in which the band has tokens at all."""
    some = tokens_R > 0
    return percentile_interval(np.exp(nats_R[some] / tokens_R[some]))
