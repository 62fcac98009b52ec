"""A dialogue that goes on draws the tokens of stage 10, and reads nothing twice."""

import chat_llms
import pytest
import torch

from espnet_audiollm.data.prompt import decode
from espnet_audiollm.infer.chat import Chat
from espnet_audiollm.infer.systems import System, load_system
from espnet_audiollm.model import llm as llms
from espnet_audiollm.store.kinds import KINDS
from espnet_audiollm.types import Audio, Dialogue, Turn

NEW = 12
SAID = ["the cat sat", Audio("a.wav", "hello there"), "and then ?"]


@pytest.fixture(scope="module")
def llm():
    """Random weights in fp64; one token in eight ends a turn."""
    tokenizer = chat_llms.llama2_trained()
    model = chat_llms.tiny_llama(len(tokenizer), seed=3, dtype=torch.float64)
    return llms.wrap(model, tokenizer, "tiny")


@pytest.fixture
def hearing(llm):
    """An AudioLLM whose encoder is noise; it counts what it encodes."""
    encoded = []

    def encode(batch):
        encoded.extend(each.audio for each in batch)
        generator = torch.Generator().manual_seed(len(batch[0].audio))
        width = llm.model.config.hidden_size
        return [torch.randn(5, width, generator=generator).double() for _ in batch]

    return System(KINDS["audiollm"], llm, encode, "AudioLLM", system_prompt="be brief"), encoded


def say(chat, content):
    return [piece.token for piece in chat.say(content)]


def test_the_same_dialogue_draws_the_same_tokens(hearing, llm):
    system, encoded = hearing
    text = load_system("reference", llm, system_prompt="be brief")
    chat = Chat(system, NEW)
    answers = [say(chat, content) for content in SAID]
    for number in range(len(SAID)):
        turns = (*chat.turns[: 2 * number], Turn("user", SAID[number]))
        dialogue = Dialogue("a", turns)
        factor = (NEW + 0.5) / text.num_positions(dialogue)
        [response] = system.respond([dialogue], factor)
        assert list(response.response_ids) == answers[number]
        assert chat.turns[2 * number + 1].content == decode(answers[number], llm.tokenizer)
    assert encoded[:1] == ["a.wav"]


def test_recordings_are_encoded_once_and_the_cache_goes_on(hearing):
    system, encoded = hearing
    chat = Chat(system, NEW)
    for content in (*SAID, SAID[1]):
        say(chat, content)
    assert encoded == ["a.wav"]
    complete = len(system.embed(system.complete(Dialogue("a", chat.turns)).turns, chat._heard(())))
    assert chat.session.positions_read < 1.5 * complete


def test_an_answer_that_is_left_stands_as_far_as_it_came(hearing, llm):
    chat = Chat(hearing[0], NEW)
    answer = chat.say("the cat sat")
    first = next(answer)
    answer.close()
    assert chat.turns[1] == Turn("assistant", decode([first.token], llm.tokenizer))
    chat.undo()
    assert chat.turns == ()


def test_what_cannot_be_said_leaves_the_dialogue(llm):
    def fail(batch):
        raise ValueError("a.wav cannot be read")

    chat = Chat(System(KINDS["audiollm"], llm, fail, ""), NEW)
    say(chat, "the cat sat")
    before = chat.turns
    with pytest.raises(ValueError, match="cannot be read"):
        say(chat, Audio("a.wav"))
    with pytest.raises(ValueError, match=f"context is {llm.context}"):
        say(chat, "cat " * llm.context)
    assert chat.turns == before


def test_a_cascade_is_talked_to_alike(llm, tmp_path):
    (tmp_path / "hyp").write_text("chat hello there\n")
    system = load_system("cascade", llm, hyp=tmp_path / "hyp")
    spoken, written = Chat(system, NEW), Chat(system, NEW)
    assert say(spoken, Audio("a.wav")) == say(written, "hello there")
    assert spoken.read(Audio("a.wav")) == "hello there"
