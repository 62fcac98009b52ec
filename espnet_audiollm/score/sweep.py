"""Perplexity against word error rate, on a test set and its noisy copies (Table 2, under noise).

The cascade's word error rate is varied by its checkpoints and by noise; AudioLLM is given the same
noise. All cascades are points of one curve, which says at which word error rate a cascade would be
as good as AudioLLM. All test sets have the same utterances and references, and their bootstrap the
same draws, so what is compared across them is paired.

C points of the curve, R resamples
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .bootstrap import percentile_interval, two_sided_p
from .results import Results, Row

CLEAN = "no noise"


@dataclass(frozen=True)
class Condition:
    """A test set, or a noisy copy of it, with the systems of the sweep."""

    name: str  # "no noise", or "babble, 10 dB"
    results: Results

    @property
    def cascades(self) -> list[Row]:
        """Rows of cascades whose word error rate is known."""
        return [row for row in self.results.of("hypothesis") if row.prompt_wer is not None]

    @property
    def best(self) -> Row:
        """The cascade of the lowest perplexity."""
        return min(self.cascades, key=lambda row: row.perplexity.value)

    @property
    def audio(self) -> list[Row]:
        """Rows of systems that take audio."""
        return self.results.of("audio")

    def row(self, label: str) -> Row:
        """The row with this label."""
        return next(row for row in self.results.rows if row.label == label)

    def log_ppl(self, row: Row) -> np.ndarray:
        """(1 + R,): of all utterances, then of the resamples."""
        resampled_R = self.results.comparison.log_ppl_RS[:, self.results.rows.index(row)]
        return np.concatenate([[math.log(row.perplexity.value)], resampled_R])

    def wer(self, row: Row) -> np.ndarray:
        """(1 + R,), %: likewise of a cascade, from the same draws; nan: there are no words."""
        assert row.wer_R is not None
        return np.concatenate([[row.cascade_wer], row.wer_R])


@dataclass(frozen=True)
class Sweep:
    """A clean test set and its noisy copies."""

    name: str  # of the clean test set
    conditions: tuple[Condition, ...]  # without noise first, where it was scored


def sweeps(everything: Sequence[Results]) -> list[Sweep]:
    """One for each test set that was scored with cascades and AudioLLMs and has noisy copies.

    Raises ValueError where a copy's utterances, references or resamples are not the others'."""
    found: dict[str, list[Condition]] = {}
    for results in everything:
        noisy = results.test_set.noisy
        condition = Condition(str(noisy) if noisy else CLEAN, results)
        if condition.cascades and condition.audio:
            found.setdefault(noisy.of if noisy else results.test_set.name, []).append(condition)
    made = []
    for name, conditions in found.items():
        if any(condition.name != CLEAN for condition in conditions):
            conditions.sort(key=lambda condition: condition.name != CLEAN)
            _check(name, conditions)
            made.append(Sweep(name, tuple(conditions)))
    return made


def _check(name: str, conditions: list[Condition]) -> None:
    first = conditions[0].results
    for condition in conditions[1:]:
        other = condition.results
        same = first.test_set.references.ids == other.test_set.references.ids
        tokens = (first.test_set.references.tokens_N, other.test_set.references.tokens_N)
        resamples = [len(results.comparison.log_ppl_RS) for results in (first, other)]
        if not same or not np.array_equal(*tokens) or resamples[0] != resamples[1]:
            raise ValueError(
                f"{other.test_set.name}: not the utterances and responses of "
                f"{first.test_set.name}, of whose sweep ({name}) it is a part; give the clean "
                "set's responses as --references, and make the copy again (stage 2)"
            )


# --- the curve ----------------------------------------------------------------------------------


def curve(sweep: Sweep, conditions: Sequence[Condition]) -> tuple[np.ndarray, np.ndarray]:
    """The cascades of `conditions` by word error rate: %, and log perplexities that do not fall
    with it, both (C, 1 + R): of all utterances, then of the resamples. At 0 % stands the transcript
    itself, what a perfect recogniser says under any noise."""
    points = [(c.wer(row), c.log_ppl(row)) for c in conditions for row in c.cascades]
    for condition in sweep.conditions:
        texts = [condition.log_ppl(row) for row in condition.results.of("transcript")]
        points += [(np.zeros(len(log_ppl_R)), log_ppl_R) for log_ppl_R in texts]
    wer_CR, log_ppl_CR = (np.array(side) for side in zip(*points, strict=True))
    order_CR = np.argsort(wer_CR, axis=0, kind="stable")
    wer_CR, log_ppl_CR = (np.take_along_axis(x, order_CR, axis=0) for x in (wer_CR, log_ppl_CR))
    return wer_CR, np.column_stack([rising(column_C) for column_C in log_ppl_CR.T])


def rising(values_C: np.ndarray) -> np.ndarray:
    """The nearest sequence (least squares) that does not fall: neighbours that do are averaged."""
    pools: list[tuple[float, int]] = []  # mean, how many
    for value in values_C:
        mean, count = float(value), 1
        while pools and pools[-1][0] > mean:
            before, number = pools.pop()
            mean, count = (before * number + mean * count) / (number + count), number + count
        pools.append((mean, count))
    return np.concatenate([np.full(count, mean) for mean, count in pools])


def crossing(wer_C: np.ndarray, log_ppl_C: np.ndarray, target: float) -> float:
    """Where a curve that does not fall reaches `target`, %; -inf or inf: before or after its ends,
    where nothing was measured."""
    at = int(np.searchsorted(log_ppl_C, target))
    if at == len(wer_C):
        return math.inf
    if at == 0:
        return float(wer_C[0]) if log_ppl_C[0] == target else -math.inf
    share = (target - log_ppl_C[at - 1]) / (log_ppl_C[at] - log_ppl_C[at - 1])
    return float(wer_C[at - 1] + share * (wer_C[at] - wer_C[at - 1]))


@dataclass(frozen=True)
class EqualWer:
    """The word error rate (%) of a cascade that is as good as an AudioLLM."""

    value: float  # -inf or inf: beyond the measured range
    ci95: tuple[float, float]  # of the resamples; its ends may be beyond the range, too
    measured: tuple[float, float]  # the range

    def __str__(self) -> str:
        return f"{self._said(self.value)} [{', '.join(map(self._said, self.ci95))}]"

    def as_dict(self) -> dict:
        """None stands for what is beyond the range, above or below as `said` has it."""
        finite = [x if math.isfinite(x) else None for x in (self.value, *self.ci95)]
        return {
            "wer": finite[0],
            "wer_ci95": finite[1:],
            "measured_wer": list(self.measured),
            "said": str(self),
        }

    def _said(self, wer: float) -> str:
        if math.isfinite(wer):
            return f"{wer:.1f}"
        return f"< {self.measured[0]:.1f}" if wer < 0 else f"> {self.measured[1]:.1f}"


def equal_wer(sweep: Sweep, condition: Condition, row: Row, only_its: bool = False) -> EqualWer:
    """The cascade that equals the AudioLLM `row` of `condition`, on the curve of all conditions, or
    of only that one.

    In each resample the word error rates and perplexities of all are those of its utterances."""
    wer_CR, log_ppl_CR = curve(sweep, [condition] if only_its else sweep.conditions)
    targets = condition.log_ppl(row)
    of_all, *resampled = (
        crossing(wer_CR[:, r], log_ppl_CR[:, r], targets[r])
        for r in range(len(targets))
        if not np.isnan(wer_CR[:, r]).any()
    )
    ordered = np.sort(resampled)
    low, high = (ordered[int(share * (len(ordered) - 1))] for share in (0.025, 0.975))
    return EqualWer(of_all, (float(low), float(high)), (float(wer_CR[0, 0]), float(wer_CR[-1, 0])))


# --- what noise does ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Worse:
    """How many times a system's perplexity is that of without noise."""

    ratio: float
    ci95: tuple[float, float]
    p_value: float | None  # that it grows as the cascade's does. None: it is the cascade


def worse(sweep: Sweep, condition: Condition, label: str, cascade: str) -> Worse:
    """Of the system `label` under `condition`; `cascade` is the one it is compared with."""
    clean = sweep.conditions[0]
    grows, others = (
        condition.log_ppl(condition.row(of)) - clean.log_ppl(clean.row(of))
        for of in (label, cascade)
    )
    p = None if label == cascade else two_sided_p(grows[1:] - others[1:])
    return Worse(math.exp(grows[0]), percentile_interval(np.exp(grows[1:])), p)
