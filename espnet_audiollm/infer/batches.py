"""Utterances in batches of like length, bounded by the size of the padded batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import torch

from ..data.audio import read_mono_16k
from ..types import Seconds, Utterance

T = TypeVar("T")


def by_length(
    items: Iterable[T], length, max_padded: float, max_items: int = 256
) -> Iterator[list[T]]:
    """Yield lists of `items`, longest first; items times the longest stays within `max_padded`.

    An item that is larger than that on its own gets a batch to itself."""
    batch: list[T] = []
    for item in sorted(items, key=length, reverse=True):
        longest = length(batch[0]) if batch else 0
        if batch and (longest * (len(batch) + 1) > max_padded or len(batch) == max_items):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def audio_batches(utterances: Sequence[Utterance], seconds: Seconds) -> Iterator[list[Utterance]]:
    """Batches of at most `seconds` of audio, padding counted."""
    return by_length(utterances, lambda u: u.duration or 0.0, seconds)


def read_batch(utterances: Sequence[Utterance], device: str = "cpu"):
    """(B, N) samples, zero-padded, and (B,) lengths."""
    waves = [torch.from_numpy(read_mono_16k(u.audio)) for u in utterances]
    lengths_B = torch.tensor([len(w) for w in waves], device=device)
    return torch.nn.utils.rnn.pad_sequence(waves, batch_first=True).to(device), lengths_B
