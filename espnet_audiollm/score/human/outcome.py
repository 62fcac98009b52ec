"""From ratings to numbers: success rates, paired differences, agreement, and what is missing.

The unit is the item, not the rating: two raters of one answer do not make two answers. An item's
success is the share of its raters who said yes, so with one rater it is 0 or 1."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from statistics import median

import numpy as np

from ...types import Seconds
from ..bootstrap import bootstrap_sums, percentile_interval
from ..success import wilson95
from .ratings import Ratings
from .study import Study


@dataclass(frozen=True)
class Rate:
    """A system's success at a level."""

    successes: float  # sum over items of the share of raters who said yes
    items: int  # that somebody rated
    ratings: int

    @property
    def rate(self) -> float:
        """%"""
        return 100.0 * self.successes / self.items

    @property
    def ci95(self) -> tuple[float, float]:
        """Wilson's 95 % interval over items, %. With several raters it is wider than it need be:
        shares vary less than zeros and ones."""
        return wilson95(self.successes, self.items)


@dataclass(frozen=True)
class Paired:
    """Two systems on the items that have ratings of both."""

    first: str
    second: str
    better: int  # items where more raters accepted the first
    worse: int
    equal: int
    difference: float  # success of the first minus that of the second, percentage points
    ci95: tuple[float, float]  # paired bootstrap over items
    p_value: float


@dataclass(frozen=True)
class Agreement:
    """Between raters, on the answers that two or more of them rated."""

    alpha: float | None  # Krippendorff's, nominal. None: `reason` says why
    reason: str
    answers: int
    pairs: int  # of ratings of one answer by two raters
    same: int  # pairs that agree


@dataclass(frozen=True)
class RaterSummary:
    """What one rater did, and how it agrees with the others."""

    rater: str
    yes: int
    ratings: int
    wanted: int  # answers of the page
    same: int  # comparisons with other raters that agree
    compared: int
    seconds: Seconds | None  # median per item rated completely. None: there is no such item
    missing: tuple[int, ...]  # items not rated, or not completely


def items_of(study: Study, level: int | None) -> list[int]:
    """Indices of the items of a level; None: of all."""
    return [i for i, item in enumerate(study.items) if level in (None, item.level)]


def shares(study: Study, raters: Sequence[Ratings], system: str) -> list[Fraction | None]:
    """For each item the share of raters who accepted the system's answer; None: nobody rated it."""
    found = (_verdicts(raters, i, item.answer_of(system)) for i, item in enumerate(study.items))
    return [Fraction(sum(verdicts), len(verdicts)) if verdicts else None for verdicts in found]


def success(study: Study, raters: Sequence[Ratings], system: str, level: int | None) -> Rate | None:
    """None: nobody has rated anything of it."""
    of_items = shares(study, raters, system)
    rated = {i: share for i in items_of(study, level) if (share := of_items[i]) is not None}
    if not rated:
        return None
    ratings = sum(len(_verdicts(raters, i, study.items[i].answer_of(system))) for i in rated)
    return Rate(float(sum(rated.values())), len(rated), ratings)


def paired(
    study: Study,
    raters: Sequence[Ratings],
    first: str,
    second: str,
    level: int | None,
    resamples: int,
    seed: int,
) -> Paired | None:
    """None: no item has ratings of both."""
    ones, others = (shares(study, raters, system) for system in (first, second))
    both = ((ones[i], others[i]) for i in items_of(study, level))
    differences = [a - b for a, b in both if a is not None and b is not None]
    if not differences:
        return None
    values_N1 = np.array([[float(d)] for d in differences])
    sums_R = bootstrap_sums(values_N1, resamples, seed)[:, 0]
    low, high = percentile_interval(100.0 * sums_R / len(differences))
    return Paired(
        first,
        second,
        sum(d > 0 for d in differences),
        sum(d < 0 for d in differences),
        sum(d == 0 for d in differences),
        100.0 * float(sum(differences)) / len(differences),
        (low, high),
        sign_flip_p(differences),
    )


def sign_flip_p(differences: Sequence[Fraction]) -> float:
    """Exact two-sided p-value of "as likely in favour of one as of the other", over items.

    The share of all 2^N ways to flip the signs of the differences whose sum is as far from zero as
    ours. With one rater this is McNemar's exact test."""
    unit = math.lcm(1, *(d.denominator for d in differences))
    steps = [abs(int(d * unit)) for d in differences if d]
    probability = np.ones(1)  # of each sum, from -total to +total
    for step in steps:
        longer = np.zeros(len(probability) + 2 * step)
        longer[2 * step :] += 0.5 * probability
        longer[: len(probability)] += 0.5 * probability
        probability = longer
    distance = np.abs(np.arange(len(probability)) - sum(steps))
    return min(1.0, float(probability[distance >= abs(int(sum(differences) * unit))].sum()))


def agreement(study: Study, raters: Sequence[Ratings], level: int | None) -> Agreement:
    """Between raters of the same answers, at a level (None: at all levels)."""
    units = [verdicts for _, verdicts in _judged(study, raters, level) if len(verdicts) > 1]
    pairs = [pair for unit in units for pair in combinations(unit.values(), 2)]
    same = sum(one == other for one, other in pairs)
    reason = ""
    if len(raters) < 2:
        reason = "it takes two raters"
    elif not units:
        reason = "no answer was rated by two raters"
    elif len({verdict for unit in units for verdict in unit.values()}) == 1:
        reason = "all ratings are the same"
    alpha = None if reason else krippendorff_alpha(units)
    return Agreement(alpha, reason, len(units), len(pairs), same)


def krippendorff_alpha(units: Sequence[Mapping[str, object]]) -> float:
    """Nominal alpha of [{rater: value}], each unit with two values or more, not all the same."""
    from nltk.metrics.agreement import AnnotationTask

    rows = [(rater, u, value) for u, unit in enumerate(units) for rater, value in unit.items()]
    return float(AnnotationTask(rows).alpha())


def summarise(study: Study, raters: Sequence[Ratings]) -> list[RaterSummary]:
    """A summary for each rater."""
    return [_summary(study, raters, ratings) for ratings in raters]


def _summary(study: Study, raters: Sequence[Ratings], own: Ratings) -> RaterSummary:
    judged = [verdicts for _, verdicts in _judged(study, raters, None)]
    mine = [verdicts[own.rater] for verdicts in judged if own.rater in verdicts]
    compared = [
        verdicts[own.rater] == verdict
        for verdicts in judged
        if own.rater in verdicts
        for rater, verdict in verdicts.items()
        if rater != own.rater
    ]
    complete = [i for i, rated in own.items.items() if None not in rated.answers]
    return RaterSummary(
        own.rater,
        sum(mine),
        len(mine),
        len(judged),
        sum(compared),
        len(compared),
        median(own.items[i].seconds for i in complete) if complete else None,
        tuple(sorted(set(range(len(study.items))) - set(complete))),
    )


def _judged(
    study: Study, raters: Sequence[Ratings], level: int | None
) -> Iterator[tuple[int, dict[str, bool]]]:
    """(item, {rater: verdict}) of every answer of the page; identical answers are one."""
    for i in items_of(study, level):
        for answer in range(len(study.items[i].answers)):
            found = ((ratings.rater, ratings.verdict(i, answer)) for ratings in raters)
            yield i, {rater: verdict for rater, verdict in found if verdict is not None}


def _verdicts(raters: Sequence[Ratings], item: int, answer: int) -> list[bool]:
    found = (ratings.verdict(item, answer) for ratings in raters)
    return [verdict for verdict in found if verdict is not None]
