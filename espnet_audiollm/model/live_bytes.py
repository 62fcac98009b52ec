"""Bytes of tensors that live at a time, counted while a model computes, or only pretends to.

What is counted is every storage that an operation returns, until nothing holds it any more: what
autograd keeps for the backward pass, and what only lives for a moment. That is what a GPU's
allocator counts, without the rounding, the libraries' own buffers and what it keeps for later.

Pretended: tensors of the model are torch's FakeTensors, shapes without values, so that a step of
a 7B takes seconds and no memory. What is computed on the host (lengths, places in a batch) is
small and has values, as ever.
"""

from __future__ import annotations

import copy
import weakref
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

Module = TypeVar("Module", bound=nn.Module)
aten = torch.ops.aten
ON_HOST = 4096  # elements: what is larger, and made of no tensor, is taken for the model's


class LiveBytes(TorchDispatchMode):
    """A context. Each storage counts for the phase that it was made in; `phase` is the present one.

    peaks: of each phase, the bytes when they were most, by the phase that they were made in."""

    def __init__(self) -> None:
        super().__init__()
        self.phase = "before"
        self.live: Counter[str] = Counter()
        self.total = 0
        self.peaks: dict[str, dict[str, int]] = {}
        self._most: Counter[str] = Counter()
        self._known: set[int] = set()

    @property
    def peak(self) -> int:
        """The most bytes at a time."""
        return max(self._most.values(), default=0)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: Any = None
    ) -> Any:
        out = self.compute(func, args, kwargs or {})
        self.count(tree_leaves(out))
        return out

    def compute(self, func: Any, args: tuple, kwargs: dict) -> Any:
        """What an operation returns."""
        return func(*args, **kwargs)

    def count(self, values: Iterable[Any], phase: str = "") -> None:
        """Note the tensors among `values`, those that are not known yet, for a phase (default: the
        present one)."""
        for value in values:
            if isinstance(value, torch.Tensor):
                self._count(value.untyped_storage(), phase or self.phase)
        if self.total > self._most[self.phase]:
            self._most[self.phase], self.peaks[self.phase] = self.total, dict(self.live)

    def _count(self, storage: torch.UntypedStorage, phase: str) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.live[phase] += size
        self.total += size
        weakref.finalize(storage, self._freed, key, size, phase)

    def _freed(self, key: int, size: int, phase: str) -> None:
        self._known.discard(key)
        self.live[phase] -= size
        self.total -= size


class Pretended(LiveBytes):
    """The same, of tensors without values.

    An operation that needs a value that is not there (`.item()`, a number of rows by content) is
    torch's error. Exceptions: CTC's loss, and rows chosen by a mask that the host made."""

    def __init__(self) -> None:
        super().__init__()
        self.fake = FakeTensorMode()

    def compute(self, func: Any, args: tuple, kwargs: dict) -> Any:
        """Without values where a tensor has none, or would be large."""
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        without = any(isinstance(x, FakeTensor) for x in tensors)
        if tensors and not without:
            return func(*args, **kwargs)
        if func is aten.index.Tensor:
            args = (args[0], [_rows(index) for index in args[1]])
            args = (args[0], [part for index in args[1] for part in index])
        args, kwargs_ = tree_map_only(torch.Tensor, self._known_as, (args, kwargs))
        with self.fake:
            out = _WITHOUT_VALUES.get(func, func)(*args, **kwargs_)
        if not tensors and isinstance(out, torch.Tensor) and out.numel() <= ON_HOST:
            return func(*args, **kwargs)
        return out

    def empty(self, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """A tensor without values."""
        with self.fake:
            return torch.empty(shape, dtype=dtype)

    def copy(self, module: Module, memo: dict[int, Any] | None = None) -> Module:
        """A module of the same shapes, of tensors without values; what is shared stays shared.

        memo: gets the copy of each tensor, by the id of what was copied."""
        memo = {} if memo is None else memo
        for tensor in [*module.parameters(), *module.buffers()]:
            alike = self.empty(*tensor.shape, dtype=tensor.dtype)
            if isinstance(tensor, nn.Parameter):
                alike = nn.Parameter(alike, tensor.requires_grad)
            memo[id(tensor)] = alike
        return copy.deepcopy(module, memo)

    def _known_as(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor if isinstance(tensor, FakeTensor) else self.fake.from_tensor(tensor)


def _rows(index: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
    """A mask that has values as the numbers of its rows: their number is then known."""
    if index is None or isinstance(index, FakeTensor) or index.dtype != torch.bool:
        return (index,)
    return index.nonzero(as_tuple=True)


def _ctc_loss(log_posterior_TBV, targets, frames, lengths, *args, **kwargs):
    """Losses (B,) and forward variables (B, T, 2 L + 1), of the longest transcript."""
    steps, batch, _ = log_posterior_TBV.shape
    states = 2 * targets.shape[-1] + 1
    new = log_posterior_TBV.new_empty
    return new(batch), new(batch, steps, states)


def _ctc_loss_backward(grad, log_posterior_TBV, *args, **kwargs):
    return torch.empty_like(log_posterior_TBV)


_WITHOUT_VALUES: dict[Any, Callable] = {
    aten._ctc_loss.default: _ctc_loss,
    aten._ctc_loss.Tensor: _ctc_loss,
    aten._ctc_loss_backward.default: _ctc_loss_backward,
    aten._ctc_loss_backward.Tensor: _ctc_loss_backward,
}
