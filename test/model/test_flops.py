"""Operations counted on small models, against sums by hand and against torch's counter."""

import torch
from tiny_models import tiny_llama
from torch.utils.flop_counter import FlopCounterMode

from espnet_audiollm.model.conformer import ConformerEncoder
from espnet_audiollm.model.flops import (
    encoder_flops,
    llama2_7b,
    llm_forward_flops,
    llm_step_flops,
    matrix_weights,
)
from espnet_audiollm.model.llm import empty_llm
from espnet_audiollm.model.response_loss import response_nats

MATRICES = 2 * (16 * 16 * 2 + 16 * 8 * 2 + 3 * 16 * 24)  # 2 layers: q and o, k and v, feed-forward


def test_an_llama_by_hand():
    llama = tiny_llama()
    assert matrix_weights(llama) == MATRICES
    lengths, predicted = [5, 7], 4
    attention = 2 * 2 * 16 * (25 + 49)
    output = 2 * 16 * 40 * 4
    forward = 2 * MATRICES * 12 + attention + output
    assert llm_forward_flops(llama, lengths, predicted) == forward
    backward = 2 * MATRICES * 12 + 2 * attention + output
    assert llm_step_flops(llama, lengths, predicted) == forward + backward


def test_a_frozen_llm_counts_twice():
    """torch's counter on the step itself: no gradients of weights among what it does."""
    llama = tiny_llama()
    prompts = [torch.randn(n, 16, dtype=torch.float64).requires_grad_() for n in (4, 5)]
    responses = [torch.tensor([3, 2]), torch.tensor([3, 4, 2])]
    with FlopCounterMode(display=False) as counter:
        torch.cat(response_nats(llama, prompts, responses)).sum().backward()
    counted = counter.get_flop_counts()["Global"]
    products = (torch.ops.aten.mm, torch.ops.aten.addmm)
    matrices = sum(n for op, n in counted.items() if op in products)
    # What is predicted last is never read: 4 + 2 - 1 and 5 + 3 - 1 positions.
    without_attention = llm_step_flops(llama, [], 5) + 2 * 2 * MATRICES * (5 + 7)
    assert matrices == without_attention


def test_the_7b_is_one():
    llm = empty_llm(llama2_7b(), torch.bfloat16)
    assert sum(p.numel() for p in llm.parameters()) == 6_738_415_616  # as published
    assert matrix_weights(llm) == 32 * (4 * 4096**2 + 3 * 4096 * 11_008)


def test_the_encoder_grows_with_layers_and_length():
    def flops(duration, **sizes):
        with torch.device("meta"):
            encoder = ConformerEncoder(80, **sizes)
        return encoder_flops(encoder, duration)

    sizes = dict(output_size=16, attention_heads=2, linear_units=24, subsampling_channels=4)
    none, one, two = (flops(8, num_blocks=n, **sizes) for n in (0, 1, 2))
    assert two - one == one - none > 0
    # Without layers: 400 x 40, 200 x 20 and 100 x 10 places of 3 x 3 convolutions, and a matrix.
    convolutions = 400 * 40 * 9 * 4 + (200 * 20 + 100 * 10) * 9 * 4 * 4
    assert none == 2 * (convolutions + 100 * 40 * 16)


def test_separable_convolutions_by_hand():
    sizes = dict(output_size=16, attention_heads=2, subsampling_channels=4, num_blocks=0)
    with torch.device("meta"):
        encoder = ConformerEncoder(80, subsampling_type="separable", **sizes)
    convolutions = 400 * 40 * 9 * 4 + (200 * 20 + 100 * 10) * (9 * 4 + 4 * 4)
    assert encoder_flops(encoder, 8) == 2 * (convolutions + 100 * 40 * 16)
