"""Where a training stands between two batches of an epoch, besides weights and optimisers."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from espnet2.train.reporter import Average, SubReporter, WeightedAverage

State = dict[str, Any]  # of tensors and plain values


@dataclass(frozen=True)
class Snapshot:
    """A position in the data, and what goes with it.

    batches: those of the epoch that were learned from, by all ranks together.
    statistics: what the reporter has gathered in this epoch. random: this rank's generators;
    None when they are to begin anew."""

    epoch: int
    batches: int
    statistics: State
    random: State | None

    @classmethod
    def take(cls, epoch: int, batches: int, reporter: SubReporter) -> Snapshot:
        """Of this moment."""
        return cls(epoch, batches, statistics_of(reporter), random_state())


def random_state() -> State:
    """Of Python's, numpy's, torch's and this GPU's generators, as plain values and tensors."""
    legacy: Any = np.random.get_state()
    kind, words, position, has_gauss, gauss = legacy
    cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
    return {
        "python": random.getstate(),
        "numpy": (kind, words.tolist(), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if cuda else None,
    }


def set_random_state(state: State) -> None:
    """Put all generators where `random_state` found them."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def statistics_of(reporter: SubReporter) -> State:
    """What ESPnet's reporter has gathered since the epoch began: a value for each batch."""
    values = {
        key: [
            torch.tensor([v.value for v in reported], dtype=torch.float64),
            torch.tensor([v.weight for v in reported], dtype=torch.float64)
            if isinstance(reported[0], WeightedAverage)
            else None,
        ]
        for key, reported in reporter.stats.items()
    }
    return {
        "values": values,
        "count": reporter.count,
        "total_count": reporter.total_count,
        "elapsed": time.perf_counter() - reporter.start_time,
    }


def restore_statistics(reporter: SubReporter, state: State) -> None:
    """Give ESPnet's reporter back what `statistics_of` took from it."""
    for key, (values, weights) in state["values"].items():
        if weights is None:
            reporter.stats[key] = [Average(v) for v in values.tolist()]
        else:
            pairs = zip(values.tolist(), weights.tolist(), strict=True)
            reporter.stats[key] = [WeightedAverage(v, w) for v, w in pairs]
    reporter.count, reporter.total_count = state["count"], state["total_count"]
    reporter.start_time = time.perf_counter() - state["elapsed"]
