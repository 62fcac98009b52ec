"""Batched generation against one-at-a-time, and against transformers."""

import dataclasses
from pathlib import Path

import chat_llms
import pytest
import torch

from espnet_audiollm.infer.decoder import embed
from espnet_audiollm.infer.generate import Fitting, Prompts, generate
from espnet_audiollm.model import llm as llms

STORIES = Path(__file__).parents[3] / "shared" / "models" / "stories260k"
PROMPTS = [
    [1, 300],
    [1, 261, 305, 310, 333, 390],
    [1, 299, 288, 301],
    [1],
    [1, 5, 300, 7, 301, 9, 8],
]
LIMITS = [40, 12, 1, 25, 60]
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def random_llm():
    """Random weights in fp64; one token in eight ends a turn, so that rows end at all times."""
    tokenizer = chat_llms.llama2_trained()
    model = chat_llms.tiny_llama(len(tokenizer), seed=3, dtype=torch.float64)
    llm = llms.wrap(model, tokenizer, "tiny")
    return dataclasses.replace(llm, eos_ids=(2, *range(3, len(tokenizer), 8)))


@pytest.fixture(scope="module")
def stories():
    if not STORIES.is_dir():
        pytest.skip("../shared/models/stories260k is not here")
    return llms.load(str(STORIES), chat_template="{{ messages[0].content }}")


@pytest.mark.parametrize("beam", [1, 2, 5])
def test_batched_is_one_at_a_time_is_transformers(random_llm, beam):
    together = generate(random_llm, PROMPTS, LIMITS, beam)
    for answer, prompt, limit in zip(together, PROMPTS, LIMITS, strict=True):
        single = generate(random_llm, [prompt], limit, beam)[0]
        assert (
            answer.ids == single.ids == chat_llms.by_transformers(random_llm, prompt, limit, beam)
        )
        assert answer.nats == pytest.approx(single.nats, abs=1e-9)
        ended = answer.ids[-1] in random_llm.eos_ids
        assert answer.finish_reason == ("stop" if ended else "length")
        assert ended or len(answer.ids) == limit
        assert not set(answer.ids[:-1]) & set(random_llm.eos_ids)
    assert {answer.finish_reason for answer in together} == {"stop", "length"}  # both are tested


BEGINNING = [1, 280, *range(300, 318)]  # long enough to be read once for all


@pytest.mark.parametrize("beginning", [[], BEGINNING])
@pytest.mark.parametrize("rows, beam", [(1, 1), (2, 1), (3, 1), (20, 1), (1, 2), (7, 3)])
def test_rows_that_are_refilled_answer_as_single_ones(random_llm, rows, beam, beginning):
    prompts = [[*beginning, *prompt, 270 + turn] for turn in range(4) for prompt in PROMPTS]
    limits = [limit + turn for turn in range(4) for limit in LIMITS]
    together = generate(random_llm, prompts, limits, beam, rows=rows)
    for answer, prompt, limit in zip(together, prompts, limits, strict=True):
        single = generate(random_llm, [prompt], limit, beam)[0]
        assert (answer.ids, answer.finish_reason) == (single.ids, single.finish_reason)
        assert answer.nats == pytest.approx(single.nats, abs=1e-9)
    assert len({len(answer.ids) for answer in together}) > 5  # rows ended at different times


@pytest.mark.parametrize("rows", [2, 9])
def test_embeddings_and_ids_are_refilled_alike(random_llm, rows):
    ids = [[*BEGINNING, *prompt] for prompt in PROMPTS]
    embeds = [embed(random_llm, prompt) for prompt in ids]
    expected = generate(random_llm, ids, LIMITS)
    for prompts in (ids, embeds, [embeds[0], *ids[1:]]):
        found = generate(random_llm, prompts, LIMITS, rows=rows)
        assert [answer.ids for answer in found] == [answer.ids for answer in expected]


def test_fewer_positions_are_read_where_prompts_begin_alike(random_llm):
    prompts = [[*BEGINNING, *prompt] for prompt in PROMPTS]
    apart = [[n, *prompt] for n, prompt in enumerate(prompts)]
    assert Prompts(random_llm, prompts).common == len(BEGINNING)  # [*BEGINNING, 1] goes on
    assert Prompts(random_llm, apart).common == Prompts(random_llm, prompts[:1]).common == 0


def test_audio_in_front_is_compared_no_further(random_llm):
    """Embeddings that differ within the positions that would be worth it; a tensor that counts."""

    class Counted(torch.Tensor):
        read = 0

        def __getitem__(self, item):
            Counted.read = max(Counted.read, item.stop)
            return super().__getitem__(item)

    same = torch.randn(200, random_llm.model.config.hidden_size, dtype=torch.float64)
    audio = [torch.cat([same[:5], torch.randn_like(same)]).as_subclass(Counted) for _ in range(3)]
    assert Prompts(random_llm, audio).common == 0
    assert Counted.read == Prompts.LEAST
    system_turn = [torch.cat([same[:40], row.as_subclass(torch.Tensor)]) for row in audio]
    assert Prompts(random_llm, system_turn).common == 45


def out_of_memory_beyond(llm, rows):
    """The LLM's own forward pass fails for more rows; the handle of the hook, the rows that were
    tried."""
    tried = []

    def hook(module, args, kwargs):
        given = kwargs.get("inputs_embeds")
        tried.append(len(kwargs["input_ids"] if given is None else given))
        if tried[-1] > rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    return llm.model.register_forward_pre_hook(hook, with_kwargs=True), tried


@pytest.mark.parametrize("beam", [1, 2])
def test_rows_are_halved_until_they_fit_and_the_size_is_remembered(random_llm, beam, capsys):
    prompts, limits = PROMPTS * 8, LIMITS * 8
    expected = generate(random_llm, prompts, limits, beam)
    hook, tried = out_of_memory_beyond(random_llm, 4)
    fitting = Fitting(16)
    found = fitting(random_llm, prompts, limits, beam)
    failed = sum(rows > 4 for rows in tried)
    again = fitting(random_llm, prompts, limits, beam)
    hook.remove()
    assert [each.ids for each in found] == [each.ids for each in again]
    assert [each.ids for each in found] == [each.ids for each in expected]
    assert fitting.most == 4 and failed == 2  # 16, 8: whatever the number of prompts
    assert sum(rows > 4 for rows in tried) == failed and max(tried) <= 16
    assert capsys.readouterr().err.count("do not fit into the GPU's memory") == failed


def test_one_row_that_does_not_fit_is_the_callers(random_llm):
    hook, tried = out_of_memory_beyond(random_llm, 0)
    with pytest.raises(torch.OutOfMemoryError):
        Fitting(4)(random_llm, PROMPTS, LIMITS)
    hook.remove()
    assert tried == [4, 2, 1]


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_layers_with_windows_are_not_refilled(rows):
    """Their caches forget positions, also those of a common beginning."""
    llm = chat_llms.tiny_windowed_llm(8)
    prompts = [[*BEGINNING, *prompt] for prompt in PROMPTS]
    for answer, prompt in zip(generate(llm, prompts, 20, rows=rows), prompts, strict=True):
        assert answer.ids == generate(llm, [prompt], 20)[0].ids


@pytest.mark.parametrize("beam", [1, 3])
def test_real_model(stories, beam):
    prompts = [[1, 403, 407, 261, 378], [1, 346], [1, 270, 401, 290, 333, 395, 286], [1]]
    limits = [60, 30, 45, 50]
    together = generate(stories, prompts, limits, beam)
    for answer, prompt, limit in zip(together, prompts, limits, strict=True):
        assert answer.ids == generate(stories, [prompt], limit, beam)[0].ids
        assert answer.ids == chat_llms.by_transformers(stories, prompt, limit, beam)


@pytest.mark.parametrize("beam", [1, 4])
def test_nats_are_the_likelihood_of_the_answer(random_llm, beam):
    for prompt, answer in zip(PROMPTS, generate(random_llm, PROMPTS, LIMITS, beam), strict=True):
        complete = torch.tensor([[*prompt, *answer.ids]])
        logp = random_llm.model(complete).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        nats = -logp.gather(1, torch.tensor(answer.ids)[:, None]).sum().item()
        assert answer.nats == pytest.approx(nats, abs=1e-9)


@pytest.mark.parametrize("beam", [1, 3])
def test_embeddings_and_ids_mix_in_a_batch(random_llm, beam):
    table = random_llm.model.get_input_embeddings()
    mixed = [table(torch.tensor(p)) if i % 2 else p for i, p in enumerate(PROMPTS)]
    assert generate(random_llm, mixed, LIMITS, beam) == generate(random_llm, PROMPTS, LIMITS, beam)


def test_wider_beams_find_no_worse_first_answers(random_llm):
    """Limit 1: the best single token, whatever the beam."""
    greedy, wide = (generate(random_llm, PROMPTS, 1, beam) for beam in (1, 6))
    assert [a.ids for a in greedy] == [a.ids for a in wide]


def test_sampling_settings_of_the_model_are_not_used(random_llm):
    before = generate(random_llm, PROMPTS, LIMITS)
    config = random_llm.model.generation_config
    config.update(do_sample=True, temperature=5.0, repetition_penalty=9.0, max_new_tokens=2)
    try:
        assert generate(random_llm, PROMPTS, LIMITS) == before
    finally:
        config.update(do_sample=False, temperature=1.0, repetition_penalty=1.0, max_new_tokens=None)


def test_the_context_bounds_the_answer():
    tokenizer = chat_llms.llama2_trained()
    llm = llms.wrap(chat_llms.tiny_llama(len(tokenizer), context=16), tokenizer, "tiny")
    llm = dataclasses.replace(llm, eos_ids=(2,))
    answers = generate(llm, [[1, 300], [1] * 10], 100)
    assert [len(answer.ids) for answer in answers] == [14, 6]
    with pytest.raises(ValueError, match="prompt 1 of the batch has 16 positions.*context is 16"):
        generate(llm, [[1], [1] * 16], 5)


@pytest.mark.parametrize(
    "prompts, limits, beam, message",
    [
        ([[1], []], 5, 1, "prompt 1 of the batch is empty"),
        ([[1], [1]], [5, 0], 1, "prompt 1 of the batch may have 0 new tokens"),
        ([[1], [1]], [5], 1, "2 prompts, but 1 limits"),
        ([[1]], 5, 0, "a beam of 0"),
    ],
)
def test_what_cannot_be_generated(random_llm, prompts, limits, beam, message):
    with pytest.raises(ValueError, match=message):
        generate(random_llm, prompts, limits, beam)


def test_no_prompts(random_llm):
    assert generate(random_llm, [], []) == []
