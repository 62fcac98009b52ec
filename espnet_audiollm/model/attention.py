"""torch's attention, in the precision that trains fastest on a processor."""

# L queries, S keys, K width of a head

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.nn.functional as F

_as_on_gpu: ContextVar[bool] = ContextVar("as_on_gpu", default=False)


@contextmanager
def as_on_gpu() -> Iterator[None]:
    """Within it a processor, too, attends in the dtype that it is given: so that what a GPU will
    need can be counted on one."""
    token = _as_on_gpu.set(True)
    try:
        yield
    finally:
        _as_on_gpu.reset(token)


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **options) -> torch.Tensor:
    """`scaled_dot_product_attention` of (..., L, K) and (..., S, K), with its options, in the dtype
    of `query`.

    A processor computes it in float32, also under autocast: the backward pass of torch's fused
    kernel takes up to six times as long in bfloat16 there, and gains only where sequences are far
    longer than ours (docs/LOG.md). The forward pass is the same with and without gradients."""
    if query.device.type != "cpu" or _as_on_gpu.get():
        return F.scaled_dot_product_attention(query, key, value, **options)
    with torch.autocast("cpu", enabled=False):
        full = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (query, key, value))
        return F.scaled_dot_product_attention(*full, **options).to(query.dtype)
