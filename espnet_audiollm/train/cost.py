"""How long a training took, and what it needed, over all calls of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ..model.usage import machine, peak_gpu_memory, peak_memory
from ..store.training_cost import TrainingCost, read_cost
from ..types import Seconds
from .ranks import Ranks


@dataclass
class CostMeter:
    """Runs from when it is made."""

    began: Seconds = field(default_factory=time.monotonic)
    before: TrainingCost | None = None  # of earlier calls. None: this is the first one
    predicted: int = 0  # bytes of the GPU's tensors in the largest batch; 0: not known

    def go_on(self, directory: str | Path) -> None:
        """Add what a directory says of earlier calls."""
        self.before = read_cost(directory)
        self.predicted = self.before.predicted if self.before else 0

    def so_far(self, model: torch.nn.Module, ranks: Ranks) -> TrainingCost:
        """Up to now, of all ranks; every rank calls it."""
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        device = weights[0].device.type if weights else "cpu"
        here = (peak_memory(), peak_gpu_memory(device) or 0)
        of_ranks = ranks.gather(here)
        if self.before:
            of_ranks.append((self.before.memory, self.before.gpu_memory))
        return TrainingCost(
            (self.before.seconds if self.before else 0.0) + time.monotonic() - self.began,
            sum(weight.numel() for weight in weights),
            max(memory for memory, _ in of_ranks),
            max(gpu for _, gpu in of_ranks),
            ranks.number,
            machine(device),
            self.predicted,
        )
