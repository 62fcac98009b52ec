"""Bootstrap over utterances, paired: one resample serves all systems.

Each utterance is drawn with replacement as often as there are utterances. All systems are summed
over the same draw, so what makes an utterance hard for everybody cancels in their difference.

N utterances, R resamples, S columns (a statistic of a system)
"""

from __future__ import annotations

import numpy as np

RESAMPLES = 2000
BLOCK = 2**21  # numbers held of draws at once: 16 MB


def bootstrap_sums(stats_NS: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Column sums (R, S) of each resample of the N rows.

    A draw is kept as how often each row came, and a few draws at a time are multiplied with the
    rows: memory does not grow with R, and the time hardly with S."""
    stats_NS = np.asarray(stats_NS, dtype=np.float64)
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
