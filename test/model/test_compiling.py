"""Compiled layers: the same figures, and one compilation for all layers and lengths."""

from functools import partial

import torch
from tiny_models import random_llama, tiny_llama

from espnet_audiollm.model.compiling import compile_layers
from espnet_audiollm.model.layers import decoder_layers
from espnet_audiollm.model.packing import hidden_states, read_beginning
from espnet_audiollm.model.recompute import recompute_layers


def run(llama, *lengths, before=0):
    generator = torch.Generator().manual_seed(0)
    embeds = [torch.randn(n, 16, generator=generator).requires_grad_() for n in lengths]
    beginning = read_beginning(llama, range(3, 3 + before)) if before else None
    (hidden_TD,) = hidden_states(llama, embeds, beginning=beginning)
    hidden_TD.square().sum().backward()
    return hidden_TD.detach(), torch.cat([e.grad for e in embeds])


def test_compiled_and_recomputed_layers(monkeypatch):
    # Traced in full; without the C compiler's part, which takes a minute on a processor.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    from torch._dynamo.utils import counters

    counters.clear()
    batches = [(5, 9, 3), (7, 20), (11, 4, 6, 8)]
    llama = tiny_llama(dtype=torch.float32)
    expected = [run(llama, *lengths) for lengths in batches]
    compile_layers(decoder_layers(llama))
    recompute_layers(llama)
    for lengths, (hidden_TD, grad) in zip(batches, expected, strict=True):
        found, found_grad = run(llama, *lengths)
        torch.testing.assert_close(found, hidden_TD)
        torch.testing.assert_close(found_grad, grad)
    assert not counters["graph_break"]
    assert 1 <= counters["stats"]["unique_graphs"] <= 2  # of 2 layers and 3 batches


def test_a_beginning_is_read_by_compiled_layers(monkeypatch):
    """Layers share what was compiled, though each has keys and values of its own."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()
    batches = [((5, 9, 3), 20), ((7, 20), 18), ((11, 4, 6, 8), 25)]
    llama = random_llama(40, num_hidden_layers=5)
    expected = [run(llama, *lengths, before=before) for lengths, before in batches]
    compile_layers(decoder_layers(llama))
    for (lengths, before), (hidden_TD, grad) in zip(batches, expected, strict=True):
        found, found_grad = run(llama, *lengths, before=before)
        torch.testing.assert_close(found, hidden_TD)
        torch.testing.assert_close(found_grad, grad)
    assert not counters["graph_break"]
    assert 2 <= counters["stats"]["unique_graphs"] <= 4  # reading, using; 5 layers, 3 batches
