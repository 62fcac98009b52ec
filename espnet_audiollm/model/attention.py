"""torch's attention, in the precision that trains fastest on a processor."""

# L queries, S keys, K width of a head

from __future__ import annotations

import torch
import torch.nn.functional as F


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **options) -> torch.Tensor:
    """`scaled_dot_product_attention` of (..., L, K) and (..., S, K), with its options, in the dtype
    of `query`.

    A processor computes it in float32, also under autocast: the backward pass of torch's fused
    kernel takes up to six times as long in bfloat16 there, and gains only where sequences are far
    longer than ours (docs/LOG.md). The forward pass is the same with and without gradients."""
    if query.device.type != "cpu":
        return F.scaled_dot_product_attention(query, key, value, **options)
    with torch.autocast("cpu", enabled=False):
        full = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (query, key, value))
        return F.scaled_dot_product_attention(*full, **options).to(query.dtype)
