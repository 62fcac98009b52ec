"""The loss: which positions, which tokens, and that packing is only a matter of speed."""

import math

import pytest
import torch
from tiny_models import tiny_llama

from espnet_audiollm.data.prompt import AUDIO_SLOT
from espnet_audiollm.data.unit_tokens import UnitTokens
from espnet_audiollm.model import packing
from espnet_audiollm.model.response_loss import (
    embed_prompt,
    predicting_positions,
    response_logits,
    response_nats,
)
from espnet_audiollm.types import Units

PROMPTS = [[1, 5, 6, 7, 8], [1, 9], [1, 3, 4, 30, 31, 32, 33, 34]]
RESPONSES = [torch.tensor(r) for r in ([10, 11, 2], [2], [20, 21, 22, 23, 24, 2])]


def prompt_embeds(llama, trainable=False):
    return [embed_prompt(llama, p).clone().requires_grad_(trainable) for p in PROMPTS]


def one_at_a_time(llama, prompts, responses):
    """transformers' own forward pass over each whole sequence, shifted here, in float64.

    (Its own loss would round the logits to float32.)"""
    losses = []
    for prompt_LD, response_R in zip(prompts, responses, strict=True):
        embeds = torch.cat([prompt_LD, llama.get_input_embeddings()(response_R)])[None]
        log_p = llama(inputs_embeds=embeds).logits[0].log_softmax(-1)
        before = range(len(prompt_LD) - 1, embeds.shape[1] - 1)
        losses.append(-sum(log_p[i, token] for i, token in zip(before, response_R, strict=True)))
    return torch.stack(losses)


def test_the_loss_is_that_of_transformers_labels():
    llama = tiny_llama(dtype=torch.float32)
    for prompt, response_R in zip(PROMPTS, RESPONSES, strict=True):
        whole = torch.tensor([prompt + response_R.tolist()])
        labels = whole.clone()
        labels[:, : len(prompt)] = -100
        (nats,) = response_nats(llama, [embed_prompt(llama, prompt)], [response_R])
        torch.testing.assert_close(nats.mean(), llama(whole, labels=labels).loss)


@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("packed", [True, False])
def test_packed_padded_and_alone_agree(kv_heads, packed):
    llama = tiny_llama(kv_heads)
    ours, theirs = prompt_embeds(llama, True), prompt_embeds(llama, True)
    nats = torch.stack([n.sum() for n in response_nats(llama, ours, RESPONSES, packed)])
    expected = one_at_a_time(llama, theirs, RESPONSES)
    torch.testing.assert_close(nats, expected, rtol=1e-12, atol=1e-12)
    nats.sum().backward()
    expected.sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-10, atol=1e-12)
        assert a.grad.abs().sum() > 0


def test_spare_positions_change_nothing():
    """242 positions are made 244; the weights' gradients are those of padded sequences."""
    gradients, sizes = [], []
    for packed in (True, False):
        llama = tiny_llama().requires_grad_(True)
        llama.model.layers[0].register_forward_hook(lambda m, i, out: sizes.append(out.shape[:2]))
        prompts = [embed_prompt(llama, prompt) for prompt in 11 * PROMPTS]
        torch.cat(response_nats(llama, prompts, 11 * RESPONSES, packed)).sum().backward()
        gradients.append([p.grad for p in llama.parameters()])
    assert sizes[0] == (1, 244) and all(grad.abs().sum() > 0 for grad in gradients[0])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_batches_of_about_a_size_have_few():
    found = {n: n + packing.spare_positions(n) for n in range(1, 5000)}
    assert all(n <= size < n * 33 / 32 + 1 for n, size in found.items())
    assert len({found[n] for n in range(2048, 4096)}) == 33 and found[63] == 63


def test_the_attention_setting_is_restored():
    llama = tiny_llama()
    before = llama.config._attn_implementation
    response_nats(llama, prompt_embeds(llama), RESPONSES)
    assert llama.config._attn_implementation == before


def test_positions_that_predict():
    # prompt of 2, response of 3: packed length 4 (the last token is predicted, never read);
    # positions 1, 2, 3 predict. Then prompt of 1, response of 1: position 4 predicts.
    prompts = [torch.zeros(2, 4), torch.zeros(1, 4)]
    responses = [torch.tensor([7, 8, 2]), torch.tensor([2])]
    assert predicting_positions(prompts, responses).tolist() == [1, 2, 3, 4]


def test_loss_by_hand():
    """With all weights of the output layer zero, each of 40 tokens has probability 1/40."""
    llama = tiny_llama()
    with torch.no_grad():
        llama.lm_head.weight.zero_()
    nats = response_nats(llama, prompt_embeds(llama), RESPONSES)
    assert [len(n) for n in nats] == [3, 1, 6]
    for n in torch.cat(nats):
        assert n.item() == pytest.approx(math.log(40))


def test_each_token_is_predicted_from_what_stands_before_it():
    """A copying head: the logits of a position are highest for the token read there."""
    llama = tiny_llama()
    logits = response_logits(llama, prompt_embeds(llama), RESPONSES)
    whole = torch.tensor([PROMPTS[0] + RESPONSES[0].tolist()])
    expected = llama(whole).logits[0, len(PROMPTS[0]) - 1 : -1]
    torch.testing.assert_close(logits[:3], expected)


def test_audio_stands_where_its_slot_is():
    llama = tiny_llama()
    embed = llama.get_input_embeddings().weight
    first, second = torch.randn(2, 3, 16, dtype=torch.float64)
    out = embed_prompt(llama, [1, AUDIO_SLOT, 2, AUDIO_SLOT, 3], [first, second])
    expected = torch.cat([embed[1:2], first, embed[2:3], second, embed[3:4]])
    torch.testing.assert_close(out, expected)


def test_units_and_audio_in_one_prompt():
    """Units are tokens like any other; only audio takes a slot."""
    llama, units = tiny_llama(), UnitTokens(first=32, size=8, begin=30, end=31)
    embed = llama.get_input_embeddings().weight
    audio = torch.randn(3, 16, dtype=torch.float64)
    out = embed_prompt(llama, [1, *units.encode(Units((7, 0))), AUDIO_SLOT, 3], [audio])
    expected = torch.cat([embed[[1, 30, 39, 32, 31]], audio, embed[3:4]])
    torch.testing.assert_close(out, expected)


def test_slots_and_audios_must_agree():
    llama = tiny_llama()
    with pytest.raises(ValueError, match="2 audio slots, but 0 audios"):
        embed_prompt(llama, [AUDIO_SLOT, 1, AUDIO_SLOT])


def test_the_transcripts_own_embeddings_give_the_text_logits():
    """The identity: audio embeddings that equal the text's give the text's logits."""
    llama = tiny_llama()
    text, prefix, suffix = [12, 13, 14], [1, 3], [4, 5]
    heard = llama.get_input_embeddings()(torch.tensor(text))
    by_audio = response_logits(
        llama, [embed_prompt(llama, prefix + [AUDIO_SLOT] + suffix, [heard])], RESPONSES[:1]
    )
    whole = torch.tensor([prefix + text + suffix + RESPONSES[0].tolist()])
    by_text = llama(whole).logits[0, len(prefix + text + suffix) - 1 : -1]
    torch.testing.assert_close(by_audio, by_text, rtol=1e-12, atol=1e-12)


def test_a_prompt_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no token at all"):
        embed_prompt(tiny_llama(), [])
