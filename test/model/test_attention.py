"""Attention is computed in float32 on a processor, whatever its inputs are in."""

import pytest
import torch
import torch.nn.functional as F

from espnet_audiollm.model.attention import attend


def draw(length, dtype):
    torch.manual_seed(length)
    return [torch.randn(2, 3, length, 36, dtype=dtype).requires_grad_() for _ in range(3)]


def error_of(function, heads, **options):
    """Of result and gradients against float64, in the mean."""
    full = [x.detach().double().requires_grad_() for x in heads]
    true = F.scaled_dot_product_attention(*full, **options)
    result = function(*heads, **options)
    weights = torch.randn(result.shape, generator=torch.Generator().manual_seed(1))
    pairs = [(result, true)]
    own = torch.autograd.grad((result.float() * weights).sum(), heads)
    pairs += zip(own, torch.autograd.grad((true * weights).sum(), full), strict=True)
    return sum(float((a.detach().double() - b.detach()).abs().mean()) for a, b in pairs)


@pytest.mark.parametrize("options", [{"is_causal": True}, {"attn_mask": None}, {"scale": 0.3}])
def test_in_float32_and_back(options):
    heads = draw(31, torch.bfloat16)
    assert attend(*heads, **options).dtype == torch.bfloat16
    fused = error_of(F.scaled_dot_product_attention, heads, **options)
    assert error_of(attend, heads, **options) < fused


def test_autocast_does_not_lower_it():
    heads = draw(31, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        result = attend(*heads)
    assert torch.equal(result, F.scaled_dot_product_attention(*heads))


def test_the_same_with_and_without_gradients():
    heads = draw(31, torch.bfloat16)
    with torch.no_grad():
        without = attend(*heads)
    assert torch.equal(attend(*heads), without)


def test_float64_stays():
    heads = draw(5, torch.float64)
    assert torch.equal(attend(*heads), F.scaled_dot_product_attention(*heads))


def test_masks_hide_positions():
    query, key, value = draw(31, torch.bfloat16)
    mask = torch.ones(2, 1, 1, 31, dtype=torch.bool)
    mask[..., 20:] = False
    hidden = attend(query, key, value, attn_mask=mask)
    short = attend(query, key[:, :, :20], value[:, :, :20])
    assert torch.allclose(hidden.float(), short.float(), atol=1e-2)
