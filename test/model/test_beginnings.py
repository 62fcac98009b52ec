"""What prompts begin with, read once: the same loss and gradients as read with each of them."""

import copy
import logging

import pytest
import torch
from tiny_models import noise, random_llama, tiny_encoder, tiny_llama

from espnet_audiollm.data.prompt import AUDIO_SLOT
from espnet_audiollm.model import packing
from espnet_audiollm.model.adapters import StackAdapter, TokenBridgeAdapter
from espnet_audiollm.model.audiollm import AudioLLMESPnetModel
from espnet_audiollm.model.beginnings import LEAST, Beginnings, common_beginning, followed_by, opens
from espnet_audiollm.model.llm import LLM
from espnet_audiollm.model.packing import Beginning
from espnet_audiollm.model.recompute import recompute_layers
from espnet_audiollm.model.targets import PAPER, Targets

NEVER = 10**9
SYSTEM = list(range(3, 23))
PROMPTS = [
    [*SYSTEM, AUDIO_SLOT, 5],
    [*SYSTEM, 7, AUDIO_SLOT, 8, 9, AUDIO_SLOT, 5],  # two recordings
    [*SYSTEM, AUDIO_SLOT, 3, 3],
]
RECORDINGS = [[9_000], [7_000, 16_000], [12_000]]  # samples
RESPONSES = [[4, 2], [5, 6, 7, 2], [8, 2]]
TEXTS = [[*SYSTEM, 11, 5], [*SYSTEM, 7, 12, 8, 9, 13, 5], [*SYSTEM, 14, 3, 3]]
TEACHER = [[[-0.5, -1.5, -2.0]] * len(response) for response in RESPONSES]
ALL = Targets(1.0, 0.5, 2.0, (1, -1))
EACH = len(SYSTEM) * len(PROMPTS)  # positions of the beginnings, where each prompt has its own


def alignment(llama=None, packed=True, targets=PAPER, adapter=None) -> AudioLLMESPnetModel:
    llm = LLM(llama or tiny_llama(), None, "tiny", "", "", (2,))
    torch.manual_seed(0)
    adapter = adapter or StackAdapter(16, 16)
    model = AudioLLMESPnetModel(tiny_encoder(), adapter.double(), llm, PROMPTS[0], packed, targets)
    return model.double()


def padded(rows):
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)


def batch_of(prompts=PROMPTS, texts=TEXTS):
    waves, _ = noise(*(n for row in RECORDINGS for n in row))
    left = iter(waves)
    joined = [torch.cat([next(left)[:n] for n in row]) for row in RECORDINGS]
    data = {
        "speech": torch.nn.utils.rnn.pad_sequence(joined, batch_first=True),
        "speech_lengths": [len(wave) for wave in joined],
        "recording_samples": padded(RECORDINGS),
    }
    columns = {"prompt": prompts, "response": RESPONSES, "text_prompt": texts}
    columns |= {"teacher_ids": [[[t, 3] for t in r] for r in RESPONSES], "teacher_logp": TEACHER}
    for name, rows in columns.items():
        data |= {name: padded(rows), f"{name}_lengths": [len(row) for row in rows]}
    return data


def learn(model, data, amp=False):
    """Loss, gradients, and the positions of each of the LLM's forward passes."""
    passes = []

    def count(module, args, kwargs):
        passes.append(kwargs["inputs_embeds"].shape[:2].numel())

    model.zero_grad()
    torch.manual_seed(3)  # of the tokens that are drawn
    with model.llm.model.base_model.register_forward_pre_hook(count, with_kwargs=True):
        with torch.autocast("cpu", torch.bfloat16, enabled=amp):
            loss, _, _ = model(**data)
        loss.backward()
    grads = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return loss.detach(), torch.cat(grads), passes


def both_ways(model, data, amp=False):
    """Read once, and read with each prompt."""
    once = learn(model, data, amp)
    model.beginnings = Beginnings(NEVER)
    return once, learn(model, data, amp)


def assert_same(once, each, **near):
    near = near or dict(rtol=1e-9, atol=1e-12)
    for ours, theirs in zip(once[:2], each[:2], strict=True):
        torch.testing.assert_close(ours, theirs, **near)
    assert each[1].abs().sum() > 0


@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("targets", [PAPER, ALL])
@pytest.mark.parametrize("recomputed", [False, True])
def test_loss_and_gradients(kv_heads, targets, recomputed):
    llama = tiny_llama(kv_heads)
    if recomputed:
        recompute_layers(llama)
    once, each = both_ways(alignment(llama, targets=targets), batch_of())
    assert_same(once, each)
    assert once[2][0] == len(SYSTEM)
    student, *teacher = (n - EACH for n in each[2])
    assert once[2][1:] == [student, *teacher]  # the texts begin with it as well


def test_tokens_that_are_drawn():
    """The passes of risk.py read it neither."""
    targets = Targets(1.0, risk=0.5, risk_draws=3)
    adapter = TokenBridgeAdapter(16, 16, 6, mixed=False, residual=False)
    adapter.read_tokens(torch.randn(6, 16), torch.tensor([False] + [True] * 5))
    model = alignment(targets=targets, adapter=adapter).train()
    model.speech_encoder.eval()
    once, each = both_ways(model, batch_of())
    assert_same(once, each)
    assert len(each[2]) > 1
    assert len(once[2]) == len(each[2]) + 1 and sum(once[2]) < sum(each[2])


def test_a_padded_batch_is_as_ever():
    once, each = both_ways(alignment(packed=False), batch_of())
    assert once[2] == each[2]
    assert_same(once, each)
    assert_same(once, learn(alignment(), batch_of()))


def test_mixed_precision():
    model, data = alignment(tiny_llama(dtype=torch.float32)), batch_of()
    model, data["speech"] = model.float(), data["speech"].float()
    once, each = both_ways(model, data, amp=True)
    assert abs(once[0] - each[0]) < 0.02 * each[0]
    assert (once[1] - each[1]).norm() < 0.05 * each[1].norm()


def test_it_is_kept_until_prompts_begin_otherwise(caplog):
    model, data = alignment(), batch_of()
    others = batch_of([[9, *prompt] for prompt in PROMPTS])
    with caplog.at_level(logging.INFO):
        passes = [learn(model, each)[2] for each in (data, data, others, data)]
    read = [len(each) == 2 for each in passes]
    assert read == [True, False, True, True] and passes[2][0] == len(SYSTEM) + 1
    assert caplog.text.count(f"begin with {len(SYSTEM)} common tokens, which are read once") == 1
    assert "common" not in caplog.text.replace(f"{len(SYSTEM)} common tokens", "")


def test_keys_in_32_bits_are_not_those_of_16():
    llama, kept = tiny_llama(dtype=torch.float32), Beginnings()
    wide = kept.of(llama, PROMPTS)
    with torch.autocast("cpu", torch.bfloat16):
        narrow = kept.of(llama, PROMPTS)
    dtypes = [{x.dtype for pair in found.layers for x in pair} for found in (wide, narrow)]
    assert dtypes == [{torch.float32}, {torch.bfloat16}]
    assert kept.of(llama.double(), PROMPTS).layers[0][0].dtype == torch.float64


def test_what_validation_read_is_good_for_training():
    model, data = alignment(), batch_of()
    with torch.inference_mode():
        model(**data)
    found = learn(model, data)
    assert len(found[2]) == 1
    assert_same(found, learn(alignment(), data))


@pytest.mark.parametrize(
    "prompts",
    [
        [[9, *PROMPTS[0]], *PROMPTS[1:]],
        [p[len(SYSTEM) - LEAST + 1 :] for p in PROMPTS],
        [PROMPTS[0], PROMPTS[1], [*SYSTEM[: LEAST - 1], AUDIO_SLOT, *SYSTEM]],
    ],
)
def test_prompts_that_begin_otherwise_are_read_as_ever(prompts):
    once, each = both_ways(alignment(), batch_of(prompts))
    assert once[2] == each[2] and len(once[2]) == 1
    assert torch.equal(once[1], each[1])


def test_a_text_that_begins_otherwise_is_read_as_ever():
    data = batch_of(texts=[[9, *text[1:]] for text in TEXTS])
    once, each = both_ways(alignment(targets=ALL), data)
    assert_same(once, each)
    assert once[2][1:] == [each[2][0] - EACH, each[2][1]]


def test_an_llm_that_is_trained_or_shared_out():
    llama = tiny_llama()
    assert Beginnings().of(llama, PROMPTS)
    llama.model.layers[1].mlp.up_proj.weight.requires_grad_(True)
    assert Beginnings().of(llama, PROMPTS) is None
    torch.distributed.init_process_group(
        "gloo", rank=0, world_size=1, store=torch.distributed.HashStore()
    )
    try:
        from torch.distributed.fsdp import fully_shard

        llama = tiny_llama()
        fully_shard(llama.model.layers[0])
        assert Beginnings().of(llama, PROMPTS) is None
    finally:
        torch.distributed.destroy_process_group()


def test_a_copy_has_nothing_yet():
    kept = Beginnings(5)
    found = kept.of(tiny_llama(), PROMPTS)
    assert copy.deepcopy(kept).least == 5
    assert copy.deepcopy(kept)._kept is None and kept._kept is found


def test_the_beginning_by_hand():
    assert common_beginning([[1, 2, 3, 4], [1, 2, 3, 5, 6]], 3) == 3
    assert common_beginning([[1, 2, 3, 4], [1, 2, 3, 5, 6]], 4) == 0
    assert common_beginning([[1, 2, 3], [1, 2, 3, 5, 6]], 1) == 2  # a last one is to be read
    assert common_beginning([[1, 2, 3]], 1) == 2
    same = tiny_llama().model.embed_tokens(torch.tensor([1, 2, 3]))
    assert common_beginning([same, torch.cat([same[:2], -same])], 1) == 2
    assert common_beginning([same, [1, 2, 3]], 1) == 0


def test_no_audio_is_read_beforehand():
    """Prompts that are alike behind the audio, too, and one without audio."""
    llama = tiny_llama()
    found = Beginnings(1).of(llama, [[4, 5, AUDIO_SLOT, 6, 7], [4, 5, AUDIO_SLOT, 6, 7]])
    assert found.tokens == (4, 5)
    assert Beginnings(1).of(llama, [[4, 5, 6], [4, 5, 6, 7]]).tokens == (4, 5)
    assert Beginnings(1).of(llama, [[AUDIO_SLOT, 5], [AUDIO_SLOT, 5]]) is None
    assert Beginnings(1).of(llama, [[4, 5, AUDIO_SLOT], [4, 5, AUDIO_SLOT]]).tokens == (4,)
    assert followed_by(found, [[4, 5, 6]]) == [[6]] and followed_by(None, [[4]]) == [[4]]
    assert opens(found, [[4, 5, 6]]) and not opens(found, [[4, 5]]) and not opens(None, [[4]])


def reference_varlen(q, k, v, q_bounds, k_bounds, max_q, max_k, scale, window_size):
    """FlashAttention's rule of variable lengths: the last query of a sequence sees all its keys."""
    assert window_size == (-1, 0)
    out, spans = [], list(zip(q_bounds.tolist(), k_bounds.tolist(), strict=True))
    for (a, c), (b, d) in zip(spans, spans[1:], strict=False):
        assert b - a <= max_q and d - c <= max_k
        mask = torch.ones(b - a, d - c, dtype=torch.bool).tril((d - c) - (b - a))
        heads = (x.transpose(0, 1) for x in (q[a:b], k[c:d], v[c:d]))
        attend = torch.nn.functional.scaled_dot_product_attention
        one = attend(*heads, attn_mask=mask, scale=scale, enable_gqa=True)
        out.append(one.transpose(0, 1))
    assert (b, d) == (len(q), len(k))
    return torch.cat(out)


def test_bounds_of_keys_for_flash_attention(monkeypatch):
    """By a kernel written out here: its rules are those of the GPU's, which test_gpu.py runs."""
    expected = learn(alignment(targets=ALL), batch_of())
    monkeypatch.setattr(packing, "_has_flash", lambda device: True)
    monkeypatch.setattr(packing, "_suits_flash", lambda x: True)
    monkeypatch.setattr(packing, "varlen_attn", reference_varlen)
    assert_same(learn(alignment(targets=ALL), batch_of()), expected)


def test_where_keys_stand():
    """Sequences of 2 and 1 positions after 3: places 0 to 2 are the beginning's."""
    layout = packing.Layout.of([2, 1], torch.device("cpu"), before=3)
    assert layout.positions_U.tolist() == [3, 4, 3]
    assert layout.bounds.tolist() == [0, 2, 3] and layout.key_bounds.tolist() == [0, 5, 9]
    assert layout.keys_T.tolist() == [3, 4, 8] and layout.keys_SP.tolist() == [0, 1, 2, 5, 6, 7]
    plain = packing.Layout.of([2, 1], torch.device("cpu"))
    assert plain.key_bounds.tolist() == [0, 2, 3] and plain.keys_SP.numel() == 0


def test_keys_and_values_are_transformers():
    llama = random_llama(40, dtype=torch.float64, num_hidden_layers=3)
    found = packing.read_beginning(llama, SYSTEM)
    cache = llama(torch.tensor([SYSTEM]), use_cache=True).past_key_values
    assert isinstance(found, Beginning) and len(found.layers) == len(cache.layers) == 3
    for (keys, values), layer in zip(found.layers, cache.layers, strict=True):
        torch.testing.assert_close(keys, layer.keys)
        torch.testing.assert_close(values, layer.values)
