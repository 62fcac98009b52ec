"""`--accum_grad`: several batches learned from as if they were one.

ESPnet divides the mean loss of each batch by their number, so that a token of a batch with few of
them weighs more. Here the gradient after each batch is the mean over all tokens (or whatever a
model's weight counts) since the last update: what one large batch gives.

Of several processes each keeps the gradients of its own batches, and DDP reduces them once, with
the last batch of an update. Those of too few batches at an epoch's end are never reduced: nothing
is learned from them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch

from .ranks import Ranks


class AccumulatedMean(torch.nn.Module):
    """Around the model: scales each loss, and the gradients that are there already.

    ESPnet's loop divides the loss by `accum_grad` afterwards.

    no_sync: DDP's, around the forward passes after which gradients stay in this process."""

    def __init__(
        self,
        module: torch.nn.Module,
        accum_grad: int,
        ranks: Ranks,
        no_sync: Callable[[], AbstractContextManager] = nullcontext,
    ):
        super().__init__()
        self.module, self.accum_grad, self.ranks = module, accum_grad, ranks
        self.no_sync = no_sync
        self.begin()

    def begin(self) -> None:
        """The next batch is the first one after an update."""
        self.batches, self.weight = 0, 0.0

    def train(self, mode: bool = True) -> AccumulatedMean:
        """ESPnet's loop calls this before an epoch; what was left over is forgotten."""
        self.begin()
        return super().train(mode)

    def forward(self, **batch):
        """ESPnet's (loss, stats, weight); in training the batch's share of the update's loss."""
        if not self.training:
            return self.module(**batch)
        last = self.batches + 1 == self.accum_grad
        with nullcontext() if last else self.no_sync():
            loss, stats, weight = self.module(**batch)
        return loss * self.share(weight), stats, weight

    def share(self, weight: torch.Tensor) -> float:
        """The factor of this batch's loss; what was gathered before makes room for it."""
        here = self.ranks.sum(weight.sum().item())
        if self.batches:
            before = self.weight / (self.weight + here)
            torch._foreach_mul_([p.grad for p in self.parameters() if p.grad is not None], before)
        self.batches, self.weight = self.batches + 1, self.weight + here
        share = self.accum_grad * here / self.weight
        if self.batches == self.accum_grad:
            self.begin()
        return share
