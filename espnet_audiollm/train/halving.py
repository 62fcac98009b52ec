"""A batch that memory does not hold is learned from in parts, and the training goes on.

The parts' losses are weighted so that the gradient is the batch's own. An attempt that failed
leaves no trace: random numbers begin again where it began, and its gradients are thrown away. The
size that did not fit is remembered, in checkpoints too: batches as large are taken in parts without
another attempt. So a training that was interrupted does what one that was not did.

One process only: with several, the others would wait for sums that never come.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..types import SAMPLE_RATE
from .shares import Batch, CountTerms, shares
from .snapshot import random_state, set_random_state

LENGTHS = "_lengths"
CPU_IS_FULL = "DefaultCPUAllocator: can't allocate memory"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a GPU's memory, or this node's, was asked for more than there is."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and CPU_IS_FULL in str(error)


# --- batches ------------------------------------------------------------------------------------


def rows_of(batch: Batch) -> int:
    """Examples in a batch."""
    return len(next(value for name, value in batch.items() if name.endswith(LENGTHS)))


def size_of(batch: Batch) -> int:
    """Elements of the padded arrays that have lengths: `batch_bins` of `--batch_type numel`, where
    all data have shape files."""
    names = (name.removesuffix(LENGTHS) for name in batch if name.endswith(LENGTHS))
    rows = rows_of(batch)
    return sum(rows * int(max(batch[f"{name}{LENGTHS}"])) for name in names)


def part_of(batch: Batch, begin: int, end: int) -> dict[str, Any]:
    """Examples `begin` to `end`, without padding that only the others need. Numbers of the entire
    batch are left out."""
    rows = {name: value for name, value in batch.items() if not isinstance(value, float)}
    part = {name: value[begin:end] for name, value in rows.items()}
    for name, lengths in batch.items():
        data = part.get(name.removesuffix(LENGTHS))
        if name.endswith(LENGTHS) and isinstance(data, torch.Tensor):
            part[name.removesuffix(LENGTHS)] = data[:, : int(max(lengths[begin:end]))]
    return part


def halves(batch: Batch) -> list[dict[str, Any]]:
    """The batch's first and second half."""
    rows = rows_of(batch)
    return [part_of(batch, 0, rows // 2), part_of(batch, rows // 2, rows)]


def describe(batch: Batch) -> str:
    """The first example of a batch, and how long it is."""
    name = (batch.get("utt_id") or ["the example"])[0]
    facts = [
        f"{int(lengths[0]) / SAMPLE_RATE:.1f} s of audio"
        if key == f"speech{LENGTHS}"
        else f"{int(lengths[0])} in '{key.removesuffix(LENGTHS)}'"
        for key, lengths in batch.items()
        if key.endswith(LENGTHS)
    ]
    return f"{name} ({', '.join(facts)})"


# --- what is known of the memory ----------------------------------------------------------------


@dataclass
class MemoryLimit:
    """The smallest batch that is known not to fit (None: all did), as `size_of` counts."""

    too_large: int | None = None

    def allows(self, batch: Batch) -> bool:
        """Whether the batch may be tried as it is. One example always is."""
        return self.too_large is None or size_of(batch) < self.too_large or rows_of(batch) == 1

    def learn(self, batch: Batch) -> None:
        """The batch did not fit.

        Errors (ValueError): it is a single example."""
        rows, size = rows_of(batch), size_of(batch)
        if rows == 1:
            raise ValueError(
                f"{describe(batch)} by itself does not fit into the memory: leave out long "
                "utterances in stage 2 (--max_audio), or give "
                "--encoder_conf activation_checkpointing=true"
            )
        self.too_large = min(size, self.too_large or size)
        logging.warning(
            f"A batch of {rows} (first: {describe(batch)}) does not fit into the memory: it is "
            f"done in halves, and from now on every batch of {self.too_large} elements or more in "
            f"parts; --batch_bins below {self.too_large} would spare that"
        )


# --- around the model ---------------------------------------------------------------------------


class Halving(torch.nn.Module):
    """Around the model: in training, what does not fit is done in halves, and halves of these.

    Args:
        module: gives ESPnet's (loss, statistics, weight), the loss a mean over what the weight
            counts.
        limit: what is known of the memory; changed here.
        count_terms: the model's `term_counts`, where a loss has terms that are means over
            something else.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        limit: MemoryLimit,
        count_terms: CountTerms | None = None,
    ):
        super().__init__()
        self.module, self.limit = module, limit
        self.count_terms: CountTerms = count_terms or (lambda batch: {})

    def forward(self, **batch):
        """The module's (loss, statistics, weight); the loss's gradient is that of the batch."""
        if not self.training:
            return self.module(**batch)
        before = random_state()
        if not self.limit.allows(batch):
            return self.in_parts(batch, before).as_result()
        try:
            loss, stats, weight = self.module(**batch)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        else:
            run = _Run(self, batch, before, loss, _autocast_now())
            return _Backward.apply(_anchor(loss), loss.detach(), run), stats, weight
        self.limit.learn(batch)
        return self.in_parts(batch, before).as_result()

    @property
    def trained(self) -> list[torch.nn.Parameter]:
        """The parameters that have gradients."""
        return [p for p in self.module.parameters() if p.requires_grad]

    def in_parts(self, batch: Batch, before: dict) -> Gathered:
        """Learn from parts that fit. before: the random numbers' state where the batch begins."""
        _free()
        set_random_state(before)
        gathered = Gathered(self.trained)
        for part in self._parts(batch):
            self._add(part, batch, gathered)
        return gathered

    def _parts(self, batch: Batch) -> Iterator[Batch]:
        for part in halves(batch):
            if self.limit.allows(part):
                yield part
            else:
                yield from self._parts(part)

    def _shares(self, part: Batch, batch: Batch) -> dict[str, float]:
        """Those of a part in its batch, times those of the batch in an update."""
        within = shares(self.count_terms(part), self.count_terms(batch))
        return {name: share * batch.get(name, 1.0) for name, share in within.items()}

    def _add(self, part: Batch, batch: Batch, gathered: Gathered) -> None:
        before = random_state()
        try:
            loss, stats, weight = self.module(**part, **self._shares(part, batch))
            grads = gradients_of(loss, torch.ones_like(loss), gathered.parameters)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        else:
            gathered.add(loss.detach(), stats, weight, grads)
            return
        self.limit.learn(part)
        _free()
        set_random_state(before)
        for smaller in self._parts(part):
            self._add(smaller, batch, gathered)


class Gathered:
    """The mean of the parts that were learned from, by weight."""

    def __init__(self, parameters: list[torch.nn.Parameter]):
        self.parameters = parameters
        self.grads: list[torch.Tensor | None] = [None] * len(parameters)
        self.parts: list[tuple[torch.Tensor, dict, torch.Tensor]] = []
        self.weight = 0.0

    def add(self, loss: torch.Tensor, stats: dict, weight: torch.Tensor, grads: Sequence) -> None:
        """One more part; what was gathered before makes room for it."""
        here = float(weight.sum())
        old, new = self.weight / (self.weight + here), here / (self.weight + here)
        for number, grad in enumerate(grads):
            if (gathered := self.grads[number]) is not None:
                gathered.mul_(old)
            if grad is not None:
                self.grads[number] = new * grad if gathered is None else gathered.add_(new * grad)
        self.weight += here
        self.parts.append((loss, stats, weight))

    def as_result(self) -> tuple[torch.Tensor, dict, torch.Tensor]:
        """ESPnet's (loss, statistics, weight); going back from the loss gives the gradients."""
        weights = torch.stack([weight for *_, weight in self.parts]).double()
        total = weights.sum(0)

        def mean(values: list[torch.Tensor]) -> torch.Tensor:
            return ((torch.stack(values) * weights).sum(0) / total).to(values[0].dtype)

        loss = mean([loss for loss, *_ in self.parts])
        names = self.parts[0][1]
        of_name = {name: [stats[name] for _, stats, _ in self.parts] for name in names}
        known = {n: of for n, of in of_name.items() if all(value is not None for value in of)}
        stats = {name: mean(values) for name, values in known.items()}
        weight = total.to(self.parts[0][2].dtype)
        return _Backward.apply(_anchor(loss), loss, self), stats, weight

    def gradients(self, upstream: torch.Tensor) -> list[torch.Tensor | None]:
        """Of the loss's own gradient."""
        return [grad if grad is None else grad * upstream.sum() for grad in self.grads]


@dataclass
class _Run:
    """A forward pass whose backward pass is still to come, and may not fit."""

    halving: Halving
    batch: Batch
    before: dict
    loss: torch.Tensor | None
    autocast: torch.autocast  # as it was in the forward pass

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        return self.halving.trained

    def gradients(self, upstream: torch.Tensor) -> Sequence[torch.Tensor | None]:
        loss, self.loss = self.loss, None
        assert loss is not None, "a batch is learned from once"
        try:
            return gradients_of(loss, upstream, self.parameters)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        del loss
        self.halving.limit.learn(self.batch)
        with torch.enable_grad(), self.autocast:
            gathered = self.halving.in_parts(self.batch, self.before)
        return gathered.gradients(upstream)


class _Backward(torch.autograd.Function):
    """A loss whose backward pass is a `gradients` of ours: it may fail and be done otherwise."""

    @staticmethod
    def forward(ctx, anchor: torch.Tensor, loss: torch.Tensor, source: Gathered | _Run):
        ctx.source = source
        return loss.clone()

    @staticmethod
    def backward(ctx, upstream: torch.Tensor):
        source, ctx.source = ctx.source, None
        grads = source.gradients(upstream)
        for parameter, grad in zip(source.parameters, grads, strict=True):
            if grad is not None:
                parameter.grad = grad if parameter.grad is None else parameter.grad.add_(grad)
        return None, None, None


def gradients_of(
    loss: torch.Tensor, upstream: torch.Tensor, parameters: Sequence[torch.nn.Parameter]
) -> list[torch.Tensor | None]:
    """The gradients of parameters, which keep those that they have; None where there is none."""
    kept = [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    try:
        torch.autograd.backward(loss, upstream)
        return [parameter.grad for parameter in parameters]
    finally:
        for parameter, grad in zip(parameters, kept, strict=True):
            parameter.grad = grad


def _anchor(loss: torch.Tensor) -> torch.Tensor:
    """What makes autograd come back to a loss."""
    return torch.zeros((), device=loss.device, requires_grad=True)


def _autocast_now() -> torch.autocast:
    """The GPU's mixed precision as it is set here, to be entered again."""
    dtype, enabled = torch.get_autocast_dtype("cuda"), torch.is_autocast_enabled("cuda")
    return torch.autocast("cuda", dtype=dtype, enabled=enabled)


def _free() -> None:
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
