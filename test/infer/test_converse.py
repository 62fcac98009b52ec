"""Several spoken turns in one prompt: the identity, and packed as padded as one at a time.

Audio whose embeddings are the transcript's own must draw exactly the text's answers, in every chat
form, whatever stands before and after it."""

import pytest
import torch
from chat_llms import chatml_trained, llama2_trained, llama3_trained, tiny_llama

from espnet_audiollm.data.conversations import Dialogue, SpokenTurn
from espnet_audiollm.data.prompt import content_ids
from espnet_audiollm.infer import converse as module
from espnet_audiollm.infer.converse import Question, open_turn, prompt, reference_ids
from espnet_audiollm.model.llm import wrap
from espnet_audiollm.model.response_loss import embed_prompt, response_nats
from espnet_audiollm.types import Turn

TEXTS = {"1.wav": "what is the capital of france ?", "2.wav": "the cat ran", "3.wav": "Hello"}


def said(number):
    return SpokenTurn("user", TEXTS[f"{number}.wav"], f"{number}.wav")


ASK = SpokenTurn("user", "how are you today ?")
OWN, GIVEN = SpokenTurn("assistant", None), SpokenTurn("assistant", "the dog .")
DIALOGUES = [
    Dialogue("a", "x", (said(1), GIVEN, said(2))),
    Dialogue("b", "x", (said(3), OWN, ASK, OWN, said(1))),
    Dialogue("c", "x", (ASK, OWN, said(2))),
    Dialogue("d", "x", (said(2), GIVEN, ASK)),
]


@pytest.fixture(params=[llama2_trained, llama3_trained, chatml_trained])
def llm(request):
    tokenizer = request.param()
    return wrap(tiny_llama(len(tokenizer)), tokenizer, "tiny")


@pytest.fixture
def heard(llm):
    """Each recording's embeddings are those of its transcript in a prompt."""
    ids = {path: content_ids((Turn("user", t),), 0, llm.tokenizer) for path, t in TEXTS.items()}
    return {path: embed_prompt(llm.model, tokens) for path, tokens in ids.items()}


def converse(llm, asked, heard):
    """Random weights rarely end a turn: answers are short."""
    return module.converse(llm, asked, heard, max_tokens_factor=0.3)


def questions(llm):
    ids = reference_ids(llm, "the capital is paris .")
    return [Question(dialogue, ids, 1.0) for dialogue in DIALOGUES]


def test_the_identity_over_several_turns(llm, heard):
    read = converse(llm, questions(llm), {})
    listened = converse(llm, questions(llm), heard)
    for a, b in zip(read, listened, strict=True):
        assert (a.turns, a.response_ids) == (b.turns, b.response_ids)
        assert a.token_nats == pytest.approx(b.token_nats, abs=1e-5)
        assert open_turn(b.turns) is None


def test_other_audio_in_any_turn_changes_the_answer(llm, heard):
    whole = converse(llm, questions(llm)[:1], heard)[0]
    for path in ("1.wav", "2.wav"):
        other = converse(llm, questions(llm)[:1], {**heard, path: heard[path].flip(0) * 2})[0]
        assert other.token_nats != pytest.approx(whole.token_nats, abs=1e-3)


def test_packed_padded_and_one_at_a_time_cost_the_same(llm, heard):
    """Two slots a prompt, of other lengths in each."""
    talks = [
        (said(first), GIVEN, said(second)) for first, second in ((1, 2), (3, 1), (2, 3), (1, 1))
    ]
    prompts = [prompt(llm, turns, heard) for turns in talks]
    assert len({len(each) for each in prompts}) > 2
    targets = [
        torch.tensor(reference_ids(llm, "the dog ran to the park .")[:n]) for n in range(2, 6)
    ]
    packed = response_nats(llm.model, prompts, targets, packed=True)
    padded = response_nats(llm.model, prompts, targets, packed=False)
    for one, two, each, target in zip(packed, padded, prompts, targets, strict=True):
        (alone,) = response_nats(llm.model, [each], [target])
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(one, alone, rtol=1e-5, atol=1e-5)


def test_a_batch_says_what_one_at_a_time_says(llm, heard):
    together = converse(llm, questions(llm), heard)
    for question, reply in zip(questions(llm), together, strict=True):
        (alone,) = converse(llm, [question], heard)
        assert (alone.turns, alone.response_ids) == (reply.turns, reply.response_ids)
        assert alone.token_nats == pytest.approx(reply.token_nats, abs=1e-4)


def test_without_a_reference_ones_own_answer_is_it(llm, heard):
    (reply,) = converse(llm, [Question(DIALOGUES[0], None, 1.0)], heard)
    assert reply.reference_ids == reply.response_ids and len(reply.token_nats) == len(
        reply.response_ids
    )


@pytest.mark.parametrize("texts", [("a", "b"), ("the cat sat on the mat", "x")])
def test_what_the_llm_would_say_ends_its_turn_whatever_was_asked(llm, texts):
    from espnet_audiollm.data.prompt import reply_ids

    ids = reference_ids(llm, "hello there .")
    turns = (Turn("user", texts[0]), Turn("assistant", texts[1]), Turn("user", texts[0]))
    assert tuple(reply_ids(turns, "hello there .", llm.tokenizer, llm.eos_ids)) == ids
    assert ids[-1] in llm.eos_ids
