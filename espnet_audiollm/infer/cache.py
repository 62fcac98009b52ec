"""Keys and values of what an LLM has read, in memory that is taken ahead of need."""

# B rows, H heads, T positions, W width of a head

from __future__ import annotations

import torch
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

from ..model.llm import LLM


class GrowingLayer(DynamicLayer):
    """A layer's keys and values (B, H, T, W). One more position is written behind the others, where
    transformers' own layer copies all of them. Whoever replaces `keys` and `values` (a choice of
    rows, fewer positions) pays for one copy, at the next update."""

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self._keys = _Room()
        self._values = _Room()

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append positions; all keys and values."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.keys = self._keys.append(self.keys, key_states)
        self.values = self._values.append(self.values, value_states)
        return self.keys, self.values


class _Room:
    """Memory of which the first positions are in use."""

    def __init__(self) -> None:
        self.buffer_BHTW: torch.Tensor | None = None
        self.used: torch.Tensor | None = None  # its first positions, as given away last

    def append(self, cached: torch.Tensor, new_BHTW: torch.Tensor) -> torch.Tensor:
        """`cached` with further positions behind it. The first ones get just the memory that they
        need: a prompt may be all that is ever read."""
        before = cached.shape[-2] if cached.numel() else 0
        positions = before + new_BHTW.shape[-2]
        buffer = self.buffer_BHTW
        if buffer is None or cached is not self.used or positions > buffer.shape[-2]:
            room = positions + positions // 4 + 16 if before else positions
            buffer = new_BHTW.new_empty(*new_BHTW.shape[:-2], room, new_BHTW.shape[-1])
            if before:
                buffer[..., :before, :] = cached
        buffer[..., before:positions, :] = new_BHTW
        self.buffer_BHTW, self.used = buffer, buffer[..., :positions, :]
        return self.used


def plain_cache() -> Cache:
    """A cache that keeps every position, whatever windows the LLM's layers have."""
    return Cache(layer_class_to_replicate=GrowingLayer)


def cache_of(llm: LLM) -> Cache:
    """The cache that suits an LLM: its own kinds of layers, where it has others than full ones."""
    return plain_cache() if is_plain(llm) else DynamicCache(config=llm.model.config)


def is_plain(llm: LLM) -> bool:
    """Whether every layer of the LLM attends to every position before it."""
    layers = DynamicCache(config=llm.model.config).layers
    return all(type(layer) is DynamicLayer for layer in layers)
