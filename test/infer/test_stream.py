"""Tokens and text of one answer as they come."""

import dataclasses
import time
from collections import Counter

import chat_llms
import pytest
import torch

from espnet_audiollm.data.prompt import decode, encode, user_prompt
from espnet_audiollm.infer.decoder import Session
from espnet_audiollm.infer.generate import generate
from espnet_audiollm.infer.stream import Sampler, Sampling, TextStream, stream
from espnet_audiollm.model import llm as llms

TOKENIZERS = {
    "llama2": chat_llms.llama2_trained(),
    "llama2 first": chat_llms.llama2_trained("first"),
    "llama3": chat_llms.llama3_trained(),
    "chatml": chat_llms.chatml_trained(),
}
TEXTS = [
    "the cat sat on the mat",
    "ñandú 猫が座った 👩‍👩‍👧 ok",
    "line\n\nline  two",
    "Hello , how are you ?",
]


@pytest.fixture(params=TOKENIZERS)
def tokenizer(request):
    return TOKENIZERS[request.param]


@pytest.fixture(scope="module")
def llm():
    """Random weights in fp64; one token in eight ends a turn."""
    tokenizer = TOKENIZERS["llama2"]
    model = chat_llms.tiny_llama(len(tokenizer), seed=3, dtype=torch.float64)
    llm = llms.wrap(model, tokenizer, "tiny")
    return dataclasses.replace(llm, eos_ids=(2, *range(3, len(tokenizer), 8)))


def fed(tokenizer, ids, stop=()):
    text = TextStream(tokenizer, stop)
    return [*(text.feed(id_) for id_ in ids), text.finish()]


@pytest.mark.parametrize("said", TEXTS)
def test_pieces_together_are_the_text(tokenizer, said):
    ids = encode(user_prompt(said), tokenizer)  # special tokens and the template's text as well
    pieces = fed(tokenizer, ids)
    assert "".join(pieces) == decode(ids, tokenizer)
    assert not any("\ufffd" in piece for piece in pieces)
    assert sum(map(bool, pieces)) > len(said.split())  # not all at the end


def test_a_character_of_several_tokens_comes_at_once(tokenizer):
    ids = tokenizer("猫", add_special_tokens=False)["input_ids"]
    assert len(ids) >= 3
    pieces = fed(tokenizer, ids)
    assert "".join(pieces) == "猫"
    assert pieces[-2] == "猫"  # with its last byte, not at the end


def test_bytes_that_are_no_character_come_at_the_end():
    tokenizer = TOKENIZERS["llama2"]
    cut = tokenizer("the 猫", add_special_tokens=False)["input_ids"][:-1]
    pieces = fed(tokenizer, cut)
    assert pieces[0] == "the" and "\ufffd" in pieces[-1]


@pytest.mark.parametrize(
    ("stop", "expected"),
    [
        (["on"], "the cat sat"),
        (["the mat", "sat o"], "the cat"),  # over several tokens; the first to come counts
        (["cat sat on the mat ."], "the cat sat on the mat"),  # only its beginning comes
        (["e m", "z"], "the cat sat on th"),  # at a word's end
        (["the"], ""),
    ],
)
def test_stop_strings(tokenizer, stop, expected):
    ids = tokenizer("the cat sat on the mat", add_special_tokens=False)["input_ids"]
    pieces = fed(tokenizer, ids, stop)
    assert "".join(pieces) == expected
    so_far = ""
    for piece in pieces:  # nothing of a stop string came before it was certain
        so_far += piece
        assert expected.startswith(so_far)


def test_a_stop_string_costs_no_more_than_the_text(tokenizer):
    ids = tokenizer("the cat sat on the mat", add_special_tokens=False)["input_ids"]
    begin = time.process_time()
    assert "".join(fed(tokenizer, ids, ["mat" + "x" * 50_000_000])) == "the cat sat on the mat"
    assert time.process_time() - begin < 1.0


def test_a_stream_is_the_answer_of_generate(llm):
    reasons = Counter()
    for prompt in ([1, 300], [1, 261, 305, 310], [1, 5, 300, 7, 301], [1, 303]):
        for limit in (1, 4, 30):
            (expected,) = generate(llm, [prompt], limit)
            pieces = list(stream(Session(llm), prompt, limit))
            assert tuple(piece.token for piece in pieces) == expected.ids
            assert [p.finish_reason for p in pieces[:-1]] == [None] * (len(pieces) - 1)
            assert pieces[-1].finish_reason == expected.finish_reason
            reasons[expected.finish_reason] += 1
    assert set(reasons) == {"stop", "length"}


def test_a_stream_can_be_left(llm):
    """Who stops listening costs nothing more, and the session goes on."""
    session = Session(llm)
    pieces = stream(session, [1, 300], 30)
    next(pieces)
    pieces.close()
    assert session.positions_read == 2
    again = tuple(piece.token for piece in stream(session, [1, 300], 30))
    assert again == generate(llm, [[1, 300]], 30)[0].ids


def test_a_stop_string_ends_the_answer(llm):
    endless = dataclasses.replace(llm, eos_ids=())
    complete = list(stream(Session(endless), [1, 300], 40))
    text = "".join(piece.text for piece in complete)
    stop = text[8:11]
    pieces = list(stream(Session(endless), [1, 300], 40, stop=[stop]))
    assert "".join(piece.text for piece in pieces) == text[: text.index(stop)].rstrip()
    assert pieces[-1].finish_reason == "stop" and len(pieces) < len(complete)


def test_seeds(llm):
    def sampled(**options):
        pieces = stream(Session(llm), [1, 300], 30, sampling=Sampling(1.0, **options))
        return [piece.token for piece in pieces]

    assert sampled(seed=1) == sampled(seed=1)
    assert len({tuple(sampled(seed=seed)) for seed in range(8)}) > 4
    assert len({tuple(sampled()) for _ in range(8)}) > 4
    greedy = list(generate(llm, [[1, 300]], 30)[0].ids)
    assert sampled(seed=1, top_p=1e-6) == greedy


def test_tokens_are_drawn_by_their_probabilities():
    """p = 0.5, 0.3, 0.2. At temperature 0.5 they are squared: 25, 9, 4 of 38."""
    logp_V = torch.tensor([0.3, 0.5, 0.2]).log()

    def shares(**options):
        sampler = Sampler(Sampling(seed=0, **options))
        drawn = Counter(sampler.choose(logp_V) for _ in range(4000))
        return [drawn[token] / 4000 for token in range(3)]

    assert shares(temperature=1.0) == pytest.approx([0.3, 0.5, 0.2], abs=0.03)
    assert shares(temperature=0.5) == pytest.approx([9 / 38, 25 / 38, 4 / 38], abs=0.03)
    assert shares(temperature=1.0, top_p=0.6) == pytest.approx([0.375, 0.625, 0.0], abs=0.03)
    assert shares(temperature=1.0, top_p=0.5) == [0.0, 1.0, 0.0]
    for cold in (0.0, 5e-324, 9e-5):
        assert shares(temperature=cold) == [0.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": 0}, "question 3 may have 0 new tokens"),
        ({"prompt": []}, "question 3 is empty"),
        ({"prompt": [1] * 512}, "question 3 has 512 positions"),
        ({"stop": ["", "a"]}, "a stop string is empty"),
    ],
)
def test_what_cannot_be_streamed_is_said_before_the_first_piece(llm, options, message):
    with pytest.raises(ValueError, match=message):
        stream(
            Session(llm), **{"prompt": [1], "max_new_tokens": 5, "name": "question 3", **options}
        )


@pytest.mark.parametrize("options", [{"temperature": -1}, {"top_p": 0}, {"top_p": 1.1}])
def test_sampling_that_does_not_exist(options):
    with pytest.raises(ValueError, match=f"a {next(iter(options))} of"):
        Sampling(**options)
