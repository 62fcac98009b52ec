"""How well scores tell pairs of recordings of one speaker from pairs of two: EER and minDCF.

The equal error rate is where as large a share of the pairs of one speaker is refused as of the
pairs of two accepted; between two thresholds both change linearly. The detection cost weighs both
errors as if `p_target` of all pairs were of one speaker, and is divided by that of who looks at
nothing; the smallest of all thresholds counts (NIST's, as VoxCeleb's challenges have it).

Intervals are over speakers: of each draw a pair of one speaker counts as often as the speaker was
drawn, a pair of two as often as the product of both.
"""

# N trials, K thresholds, S speakers

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from .bootstrap import RESAMPLES, percentile_interval

P_TARGET = 0.01


@dataclass(frozen=True)
class Verification:
    """Error rates of a set of trials."""

    eer: float  # %
    eer_ci95: tuple[float, float]
    min_dcf: float
    min_dcf_ci95: tuple[float, float]
    p_target: float
    trials: int
    targets: int  # of one speaker
    speakers: int

    def as_dict(self) -> dict:
        """For a JSON file."""
        return asdict(self)


class ErrorCurve:
    """Both kinds of errors at every threshold, for any weights of the trials."""

    def __init__(self, scores_N: np.ndarray, same_N: np.ndarray):
        self._order_N = np.argsort(-scores_N, kind="stable")
        sorted_N = scores_N[self._order_N]
        self._same_N = same_N[self._order_N]
        self._ends_K = np.flatnonzero(np.append(np.diff(sorted_N) != 0, True))  # of equal scores

    def __call__(self, weight_N: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(K + 1,) shares of pairs of one speaker refused and of pairs of two accepted, from the
        strictest threshold on; nan where a kind has no weight."""
        weight_N = np.ones(len(self._order_N)) if weight_N is None else weight_N[self._order_N]
        shares = []
        for kind_N in (self._same_N, ~self._same_N):
            sums_N = np.cumsum(weight_N * kind_N)
            total = sums_N[-1] if sums_N[-1] > 0 else np.nan
            shares.append(np.append(0.0, sums_N[self._ends_K]) / total)
        return 1 - shares[0], shares[1]


def equal_error_rate(misses_K: np.ndarray, accepted_K: np.ndarray) -> float:
    """%, of an ErrorCurve's shares; nan where they are."""
    apart_K = misses_K - accepted_K
    if np.isnan(apart_K).any():
        return float("nan")
    at = int(np.argmax(apart_K <= 0))  # the first threshold beyond the crossing
    part = apart_K[at - 1] / (apart_K[at - 1] - apart_K[at])
    return float(100 * (misses_K[at - 1] + part * (misses_K[at] - misses_K[at - 1])))


def min_detection_cost(
    misses_K: np.ndarray, accepted_K: np.ndarray, p_target: float = P_TARGET
) -> float:
    """1: no better than to refuse (or to accept) everything."""
    costs_K = p_target * misses_K + (1 - p_target) * accepted_K
    return float(costs_K.min() / min(p_target, 1 - p_target))


def verify(
    scores: Sequence[float],
    same: Sequence[bool],
    speakers: Sequence[tuple[str, str]],
    p_target: float = P_TARGET,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Verification:
    """EER and minDCF of trials. speakers: of both recordings of each.

    Draws in which one kind of pairs does not come are left out."""
    same_N = np.asarray(same, bool)
    curve = ErrorCurve(np.asarray(scores, np.float64), same_N)
    names = sorted({name for pair in speakers for name in pair})
    number_of = {name: number for number, name in enumerate(names)}
    first_N, second_N = np.array([[number_of[name] for name in pair] for pair in speakers]).T
    rng, found = np.random.default_rng(seed), []
    for _ in range(resamples):
        times_S = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
        times_N = times_S[first_N]
        found.append(_rates(*curve(times_N * np.where(same_N, 1, times_S[second_N])), p_target))
    rates_R2 = np.array(found)
    rates_R2 = rates_R2[~np.isnan(rates_R2).any(1)]
    eer, cost = _rates(*curve(), p_target)
    intervals = [(0.0, 100.0), (0.0, 1.0)]  # where no draw has both kinds
    if len(rates_R2):
        intervals = [percentile_interval(rate_R) for rate_R in rates_R2.T]
    return Verification(
        eer, intervals[0], cost, intervals[1], p_target, len(same_N), int(same_N.sum()), len(names)
    )


def _rates(misses_K: np.ndarray, accepted_K: np.ndarray, p_target: float) -> tuple[float, float]:
    return (
        equal_error_rate(misses_K, accepted_K),
        min_detection_cost(misses_K, accepted_K, p_target),
    )
