"""Differences of systems of several experiments, with paired bootstrap intervals and p-values.

N utterances, S systems of all experiments, R resamples, C columns that are summed
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..bootstrap import RESAMPLES, bootstrap_sums, percentile_interval, two_sided_p
from .experiments import Experiment, in_order, other_measure, why_not


@dataclass(frozen=True)
class Entry:
    """A system of an experiment."""

    experiment: Experiment
    place: int  # in its results.json

    @property
    def system(self) -> dict:
        """Its item in results.json."""
        return self.experiment.results["systems"][self.place]

    @property
    def label(self) -> str:
        """ "experiment: system"."""
        return f"{self.experiment.name}: {self.system['label']}"


@dataclass(frozen=True)
class Difference:
    """Of b from a, over the same utterances."""

    value: float
    ci95: tuple[float, float]
    p_value: float

    def as_dict(self) -> dict:
        """For compare.json."""
        return {"value": self.value, "ci95": list(self.ci95), "p_value": self.p_value}


@dataclass(frozen=True)
class Pair:
    """None: one of them has not what it takes, or counts it in another way; WER: no words."""

    a: Entry
    b: Entry
    perplexity: Difference  # ratio b / a
    success: Difference | None  # b - a, percentage points
    wer: Difference | None  # b - a, percentage points


def entries(experiments: Sequence[Experiment]) -> list[Entry]:
    """All systems of the experiments, in order."""
    return [Entry(x, place) for x in experiments for place in range(len(x.results["systems"]))]


class Comparison:
    """The systems of experiments that have the same utterances and reference responses."""

    def __init__(
        self, experiments: Sequence[Experiment], resamples: int = RESAMPLES, seed: int = 0
    ):
        first = experiments[0]
        self.entries = entries(experiments)
        orders = {x.name: in_order(first, x) for x in experiments}
        columns = [first.kept.tokens_N, *(x.kept.words_N[orders[x.name]] for x in experiments)]
        for entry in self.entries:
            kept, order = entry.experiment.kept, orders[entry.experiment.name]
            for stats_SN in (kept.nats_SN, kept.right_SN, kept.errors_SN):
                columns.append(stats_SN[entry.place][order])
        stats_NC = np.column_stack(columns).astype(float)
        whole_C = stats_NC.sum(axis=0, keepdims=True)
        sums_RC = np.concatenate([whole_C, bootstrap_sums(stats_NC, resamples, seed)])
        self._utterances = len(stats_NC)
        self._tokens_R = sums_RC[:, 0]
        self._words_R = {x.name: sums_RC[:, 1 + i] for i, x in enumerate(experiments)}
        start = 1 + len(experiments)
        self._nats_RS, self._right_RS, self._errors_RS = (
            sums_RC[:, start + i :: 3] for i in range(3)
        )

    def pair(self, a: Entry, b: Entry) -> Pair:
        """The differences b - a, from the same resamples for every pair."""
        i, j = self.entries.index(a), self.entries.index(b)
        log_ratio_R = (self._nats_RS[:, j] - self._nats_RS[:, i]) / self._tokens_R
        ratio = _difference(np.exp(log_ratio_R), log_ratio_R[1:])
        success = None
        if self._judged(a) and self._judged(b) and not other_measure(*_of(a, b), "success_rule"):
            success = _difference(
                100.0 * (self._right_RS[:, j] - self._right_RS[:, i]) / self._utterances
            )
        return Pair(a, b, ratio, success, self._wer(a, b))

    def _wer(self, a: Entry, b: Entry) -> Difference | None:
        """Over the words of the experiment of `a`; resamples without words are left out."""
        if not (self._reads(a) and self._reads(b)) or other_measure(*_of(a, b), "normalizer"):
            return None
        words_R = self._words_R[a.experiment.name]
        known_R = words_R > 0
        if not known_R[1:].any():
            return None
        i, j = self.entries.index(a), self.entries.index(b)
        errors_R = self._errors_RS[:, j] - self._errors_RS[:, i]
        return _difference(100.0 * errors_R[known_R] / words_R[known_R])

    @staticmethod
    def _judged(entry: Entry) -> bool:
        return bool((entry.experiment.kept.right_SN[entry.place] >= 0).all())

    @staticmethod
    def _reads(entry: Entry) -> bool:
        return bool((entry.experiment.kept.errors_SN[entry.place] >= 0).all())


def _of(a: Entry, b: Entry) -> tuple[Experiment, Experiment]:
    return a.experiment, b.experiment


def _difference(values_R: np.ndarray, signed_R: np.ndarray | None = None) -> Difference:
    """`values_R`: of all utterances, then of the resamples; `signed_R`: 0 is "no difference"."""
    resampled_R = values_R[1:]
    p = two_sided_p(resampled_R if signed_R is None else signed_R)
    return Difference(float(values_R[0]), percentile_interval(resampled_R), p)


def groups(
    experiments: Sequence[Experiment],
) -> tuple[list[list[Experiment]], list[tuple[Experiment, Experiment, str]]]:
    """Experiments whose utterances are pairs, and (first of a group, other, why not)."""
    found: list[list[Experiment]] = []
    reasons = []
    for experiment in experiments:
        for group in found:
            reason = why_not(group[0], experiment)
            if reason is None:
                group.append(experiment)
                break
            reasons.append((group[0], experiment, reason))
        else:
            found.append([experiment])
    return found, reasons


def counterparts(a: Experiment, b: Experiment) -> list[tuple[Entry, Entry]]:
    """Systems of both that are called the same, or are the only ones of their kind left."""
    left = {id(x): [Entry(x, i) for i in range(len(x.results["systems"]))] for x in (a, b)}
    pairs = []
    for key in ("label", "name"):
        ours, theirs = left[id(a)], left[id(b)]
        for one in list(ours):
            alike = [
                [e for e in side if e.system[key] == one.system[key]] for side in (ours, theirs)
            ]
            if list(map(len, alike)) == [1, 1]:
                pairs.append((one, alike[1][0]))
                ours.remove(one)
                theirs.remove(alike[1][0])
    return sorted(pairs, key=lambda pair: pair[0].place)
