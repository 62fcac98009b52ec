"""Bootstrap over utterances, paired: one resample serves all systems.

Each utterance is drawn with replacement as often as there are utterances. All systems are summed
over the same draw, so what makes an utterance hard for everybody cancels in their difference.

Utterances of one speaker are alike, and an interval that takes them for independent is too narrow
for unseen speakers. With `units` (the speaker of each utterance, say) those of one unit are
drawn together, as many units as there are.

N utterances, R resamples, S columns (a statistic of a system)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000
BLOCK = 2**21  # numbers held of draws at once: 16 MB


Units = Sequence[str] | None  # the unit of each row. None: each row is one by itself


def bootstrap_sums(
    stats_NS: np.ndarray, resamples: int = RESAMPLES, seed: int = 0, units: Units = None
) -> np.ndarray:
    """Column sums (R, S) of each resample of the N rows.

    A draw is kept as how often each row came, and a few draws at a time are multiplied with the
    rows: memory does not grow with R, and the time hardly with S."""
    stats_NS = _by_unit(np.asarray(stats_NS, dtype=np.float64), units)
    n = len(stats_NS)
    rng = np.random.default_rng(seed)
    sums_RS = np.empty((resamples, stats_NS.shape[1]))
    block = max(1, min(resamples, BLOCK // n))
    times_BN = np.empty((block, n))
    for start in range(0, resamples, block):
        stop = min(start + block, resamples)
        for row_N in times_BN[: stop - start]:
            row_N[:] = np.bincount(rng.integers(n, size=n), minlength=n)
        sums_RS[start:stop] = times_BN[: stop - start] @ stats_NS
    return sums_RS


def _by_unit(stats_NS: np.ndarray, units: Units) -> np.ndarray:
    """The rows of each unit summed, units in the order of their names."""
    if units is None:
        return stats_NS
    names, unit_N = np.unique(np.asarray(units), return_inverse=True)
    sums_US = np.zeros((len(names), stats_NS.shape[1]))
    np.add.at(sums_US, unit_N, stats_NS)
    return sums_US


def resampled_rates(
    counts: Sequence[np.ndarray], resamples: int = RESAMPLES, seed: int = 0, units: Units = None
) -> list[np.ndarray]:
    """Several systems' rates, %, in each resample (R,), from the same draws.

    counts: of each system (N, 2), errors and the size that they are counted against. A resample
    without any size has the rate nan."""
    if not counts:
        return []
    sums_RS = bootstrap_sums(np.column_stack(counts), resamples, seed, units)
    return [
        100.0 * errors_R / np.where(size_R > 0, size_R, np.nan)
        for errors_R, size_R in zip(sums_RS.T[::2], sums_RS.T[1::2], strict=True)
    ]


def rate_intervals(
    counts: Sequence[np.ndarray], resamples: int = RESAMPLES, seed: int = 0, units: Units = None
) -> list[tuple[float, float]]:
    """The 95 % intervals of `resampled_rates`; resamples without any size are left out."""
    rates = resampled_rates(counts, resamples, seed, units)
    return [percentile_interval(rate_R[~np.isnan(rate_R)]) for rate_R in rates]


def percentile_interval(values_R: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The middle `level` of the resampled values."""
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(values_R, [tail, 100.0 - tail])
    return float(low), float(high)


def two_sided_p(differences_R: np.ndarray) -> float:
    """p-value of "no difference": twice the share of resamples on the rarer side of zero.

    One is added to both counts, so that R resamples never claim less than 2 / (R + 1)."""
    below, above = (differences_R <= 0).sum(), (differences_R >= 0).sum()
    return min(1.0, float(2 * (min(below, above) + 1) / (len(differences_R) + 1)))
