"""torch's attention, in the precision that trains fastest on a processor; and whether one is to
work as a GPU would."""

# L queries, S keys, K width of a head

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F

_on_gpu = False  # no ContextVar: torch.compile cannot trace one


@contextmanager
def as_on_gpu() -> Iterator[None]:
    """Within it a processor works as a GPU would: it attends in the dtype that it is given, and
    packed batches have no spare positions. So what a GPU will need can be counted on one. For all
    of the process."""
    global _on_gpu
    before, _on_gpu = _on_gpu, True
    try:
        yield
    finally:
        _on_gpu = before


def on_cpu(device: torch.device) -> bool:
    """Whether a device is a processor that works as one."""
    return device.type == "cpu" and not _on_gpu


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **options) -> torch.Tensor:
    """`scaled_dot_product_attention` of (..., L, K) and (..., S, K), with its options, in the dtype
    of `query`.

    A processor computes it in float32, also under autocast: the backward pass of torch's fused
    kernel takes up to six times as long in bfloat16 there, and gains only where sequences are far
    longer than ours (docs/LOG.md). The forward pass is the same with and without gradients."""
    if not on_cpu(query.device):
        return F.scaled_dot_product_attention(query, key, value, **options)
    with torch.autocast("cpu", enabled=False):
        full = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (query, key, value))
        return F.scaled_dot_product_attention(*full, **options).to(query.dtype)
