"""The mini recipe's optimizer."""

import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

LOCAL = Path(__file__).parents[2] / "egs2" / "mini" / "audiollm1" / "local"


@pytest.fixture
def muon(monkeypatch):
    monkeypatch.syspath_prepend(str(LOCAL))
    import muon

    yield muon
    sys.modules.pop("muon")


def test_singular_values_come_near_one_and_directions_stay(muon):
    torch.manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn(2, 6, 9), full_matrices=False)
    values = torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0, 0.5])
    out = muon.orthogonalize(u @ torch.diag(values) @ v)
    inner = u.mT @ out @ v.mT  # diagonal if the directions stayed
    diagonal = inner.diagonal(dim1=1, dim2=2)
    assert torch.allclose(inner, torch.diag_embed(diagonal), atol=1e-4)
    assert diagonal.min() > 0.6 and diagonal.max() < 1.3


def test_a_step_moves_tall_and_wide_matrices_alike(muon):
    """Minimise |W - T|^2: both shapes reach their targets, and gradients are cleared."""
    torch.manual_seed(0)
    targets = [torch.randn(4, 7), torch.randn(7, 4), torch.randn(5, 5)]
    weights = [torch.nn.Parameter(torch.zeros_like(t)) for t in targets]
    optimizer = muon.Muon(weights)
    for step in range(300):
        for weight, target in zip(weights, targets, strict=True):
            ((weight - target) ** 2).sum().backward()
        optimizer.step(rate=0.2 * (1 - step / 300))
        assert all(weight.grad is None for weight in weights)
    for weight, target in zip(weights, targets, strict=True):
        assert (weight - target).abs().max() < 0.05


def test_weight_decay_shrinks(muon):
    weight = torch.nn.Parameter(torch.ones(2, 2))
    weight.grad = torch.zeros(2, 2)
    muon.Muon([weight], weight_decay=0.5).step(rate=0.1)
    assert torch.allclose(weight, torch.full((2, 2), 0.95))
