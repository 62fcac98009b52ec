"""Muon: orthogonal momentum for matrices, AdamW for all else, one optimizer."""

import copy

import pytest
import torch

from espnet_audiollm.train import muon


def test_singular_values_come_near_one_and_directions_stay():
    torch.manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn(2, 6, 9), full_matrices=False)
    values = torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0, 0.5])
    out = muon.orthogonalize(u @ torch.diag(values) @ v)
    inner = u.mT @ out @ v.mT  # diagonal if the directions stayed
    diagonal = inner.diagonal(dim1=1, dim2=2)
    assert torch.allclose(inner, torch.diag_embed(diagonal), atol=1e-4)
    assert diagonal.min() > 0.6 and diagonal.max() < 1.3


@pytest.mark.parametrize("rank", [2, 8])
def test_wide_matrices_in_float32_are_those_of_float64s_rounds(rank):
    torch.manual_seed(0)
    wide = torch.randn(3, 8, rank) @ torch.randn(3, rank, 32)
    true = muon.orthogonalize(wide.double())
    assert torch.allclose(muon.orthogonalize(wide), true.float(), atol=1e-4)


@pytest.mark.parametrize("low_precision", [False, True])
def test_tall_and_wide_matrices_and_kernels_reach_their_targets(low_precision):
    torch.manual_seed(0)
    targets = [torch.randn(*shape) for shape in ((4, 7), (7, 4), (5, 5), (6, 3, 3, 3))]
    weights = [torch.nn.Parameter(torch.zeros_like(t)) for t in targets]
    group = {"params": weights, "orthogonal": True, "weight_decay": 0.0}
    optimizer = muon.Muon([group], low_precision=low_precision)
    for step in range(300):
        optimizer.zero_grad()
        for weight, target in zip(weights, targets, strict=True):
            ((weight - target) ** 2).sum().backward()
        optimizer.param_groups[0]["lr"] = 0.2 * (1 - step / 300)
        optimizer.step()
    for weight, target in zip(weights, targets, strict=True):
        assert (weight - target).abs().max() < 0.05


def test_an_update_is_as_large_as_adamws():
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.zeros(20, 50))
    weight.grad = torch.randn(20, 50)
    muon.Muon([{"params": [weight], "orthogonal": True, "weight_decay": 0.0}], lr=0.1).step()
    assert 0.01 < weight.square().mean().sqrt() < 0.03


def test_weight_decay_shrinks():
    weight = torch.nn.Parameter(torch.ones(2, 2))
    weight.grad = torch.zeros(2, 2)
    muon.Muon([{"params": [weight], "orthogonal": True}], lr=0.1, weight_decay=0.5).step()
    assert torch.allclose(weight, torch.full((2, 2), 0.95))


def model() -> torch.nn.ModuleDict:
    torch.manual_seed(1)
    inner = torch.nn.Sequential(
        torch.nn.Conv1d(16, 20, 3), torch.nn.Flatten(), torch.nn.Linear(40, 20)
    )
    return torch.nn.ModuleDict({"encoder": inner, "out": torch.nn.Linear(20, 30)})


def train(network, optimizer, steps) -> None:
    for step in steps:
        x = torch.randn(3, 16, 4, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        network["out"](network["encoder"](x)).square().sum().backward()
        optimizer.step()


def test_groups_are_the_matrices_inside_and_all_else():
    network = model()
    inside, others = muon.groups(network.named_parameters(), "encoder")
    names = {id(p): name for name, p in network.named_parameters()}
    assert [names[id(p)] for p in inside["params"]] == ["encoder.0.weight", "encoder.2.weight"]
    assert len(others["params"]) == 4 and not others["orthogonal"]


def test_a_part_without_matrices_is_refused():
    with pytest.raises(ValueError, match="muon.*nothing"):
        muon.groups(model().named_parameters(), "nothing")


def test_all_else_goes_adamws_way_and_gradients_stay():
    ours, theirs = model(), model()
    optimizer = muon.Muon([{"params": list(ours.parameters()), "orthogonal": False}], lr=0.01)
    train(ours, optimizer, range(4))
    train(theirs, torch.optim.AdamW(theirs.parameters(), lr=0.01), range(4))
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)
    mixed = muon.Muon(muon.groups(ours.named_parameters(), "encoder"), lr=0.01)
    train(ours, mixed, [9])
    assert all(p.grad is not None for p in ours.parameters())


def test_its_state_is_all_that_it_needs_to_go_on():
    undisturbed = model()
    optimizer = muon.Muon(muon.groups(undisturbed.named_parameters(), "encoder"), lr=0.01)
    train(undisturbed, optimizer, range(3))
    again = copy.deepcopy(undisturbed)
    resumed = muon.Muon(muon.groups(again.named_parameters(), "encoder"), lr=0.5)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    train(undisturbed, optimizer, range(3, 6))
    train(again, resumed, range(3, 6))
    for a, b in zip(undisturbed.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
