"""Dropout with cheaper random numbers: what it keeps, and how often."""

import chat_llms
import pytest
import torch

from espnet_audiollm.model import llm as llms
from espnet_audiollm.model.dropout import Dropout, drop_in_layers, dropout


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_elements_are_dropped_or_scaled(probability, dtype):
    torch.manual_seed(0)
    x = torch.ones(401, 999, dtype=dtype, requires_grad=True)
    y = dropout(x, probability, True)
    y.sum().backward()
    share = (y == 0).double().mean().item()
    assert share == pytest.approx(probability, abs=0.003)  # 4 standard deviations at 0.5
    (kept,) = set(y[y != 0].tolist())
    assert kept == pytest.approx(1 / (1 - probability), rel=0.005)
    assert torch.equal(x.grad, y.detach())  # the gradient is dropped where the value is


def test_neighbours_are_independent():
    """Four elements share a number: two of its places are dropped together only by chance."""
    torch.manual_seed(0)
    dropped = (dropout(torch.ones(400_000), 0.3, True) == 0).view(-1, 4).double()
    together = dropped.T @ dropped / len(dropped)
    for first in range(4):
        for second in range(first):
            assert together[first, second].item() == pytest.approx(0.09, abs=0.004)


def test_of_the_same_seed_the_same():
    x, layer = torch.randn(7, 5), Dropout(0.5)
    drawn = []
    for _ in range(2):
        torch.manual_seed(3)
        drawn += [layer(x), layer(x)]
    assert torch.equal(drawn[0], drawn[2]) and torch.equal(drawn[1], drawn[3])
    assert not torch.equal(drawn[0], drawn[1])


def test_without_training_or_at_the_ends():
    x = torch.randn(3, 5)
    assert torch.equal(Dropout(0.5).eval()(x), x) and torch.equal(dropout(x, 0.0, True), x)
    assert not dropout(x, 1.0, True).any() and dropout(x[:0], 0.5, True).shape == (0, 5)
    with pytest.raises(ValueError, match=r"dropout_rate is 1.5"):
        Dropout(1.5)


def test_an_llm_drops_only_in_training(tmp_path):
    model = llms.load(str(chat_llms.save_tiny_llm(tmp_path / "llm"))).model
    ids = torch.arange(20)[None]
    before = model(ids).logits
    drop_in_layers(model, 0.5)
    assert torch.equal(model(ids).logits, before)
    model.train()
    torch.manual_seed(0)
    first, second = model(ids).logits, model(ids).logits
    torch.manual_seed(0)
    assert torch.equal(model(ids).logits, first) and not torch.equal(first, second)
    with pytest.raises(ValueError, match="--llm_dropout is 1.5"):
        drop_in_layers(model, 1.5)


def test_a_layer_that_drops_all_adds_nothing(tmp_path):
    model = llms.load(str(chat_llms.save_tiny_llm(tmp_path / "llm"))).model
    drop_in_layers(model, 1.0)
    states = model.train()(torch.arange(9)[None], output_hidden_states=True).hidden_states
    assert torch.equal(states[0], states[-2] if len(states) > 2 else states[0])
