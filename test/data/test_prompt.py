"""Prompts in the three chat forms. Lists of token strings are the published formats."""

import itertools

import chat_llms
import pytest

from espnet_audiollm.data.prompt import (
    AUDIO_SLOT,
    content_ids,
    decode,
    encode,
    reply_ids,
    user_prompt,
)
from espnet_audiollm.types import Audio, Turn

TOKENIZERS = {
    "llama2": chat_llms.llama2_trained(),
    "llama2 always": chat_llms.llama2_trained("always"),
    "llama2 first": chat_llms.llama2_trained("first"),
    "llama3": chat_llms.llama3_trained(),
    "chatml": chat_llms.chatml_trained(),
}
TEXTS = [
    "Hello",
    "the cat sat on the mat",
    "?!",
    "2 + 3",
    "  spaced out ",
    "ñandú 猫",
    "line\nline",
]
U, A, S = "user", "assistant", "system"


@pytest.fixture(params=TOKENIZERS)
def tokenizer(request):
    return TOKENIZERS[request.param]


def conversation(*turns):
    return tuple(Turn(role, content) for role, content in turns)


def tokens(ids, tokenizer):
    return ["AUDIO" if i == AUDIO_SLOT else tokenizer.convert_ids_to_tokens(i) for i in ids]


def template_ids(turns, tokenizer, add_generation_prompt=True):
    messages = [{"role": turn.role, "content": turn.content} for turn in turns]
    return tokenizer.apply_chat_template(
        messages, add_generation_prompt=add_generation_prompt, return_dict=False
    )


# The paper: prefix = "<s>[INST] <<SYS>>\n\n<</SYS>>\n\n", suffix = " [/INST]"; these are the ids
# that Llama-2's tokenizer gives them.
PREFIX = [1, 518, 25580, 29962, 3532, 14816, 29903, 6778, 13, 13]
PREFIX += [29966, 829, 14816, 29903, 6778, 13, 13]
SUFFIX = [518, 29914, 25580, 29962]


def test_llama2_is_the_papers_form_token_for_token():
    llama2 = chat_llms.llama2_published()
    assert encode(user_prompt(Audio(), ""), llama2) == [*PREFIX, AUDIO_SLOT, *SUFFIX]
    assert encode(user_prompt("Hello", ""), llama2) == [*PREFIX, 10994, *SUFFIX]


def test_llama2_without_a_system_turn_gives_the_space_to_the_first_word():
    llama2 = chat_llms.llama2_published()
    begin = [1, 518, 25580, 29962]
    assert encode(user_prompt("Hello"), llama2) == [*begin, 15043, *SUFFIX]  # "▁Hello"
    assert encode(user_prompt(Audio()), llama2) == [*begin, AUDIO_SLOT, *SUFFIX]


def test_llama3_form():
    tokenizer = TOKENIZERS["llama3"]
    turns = conversation((S, "the cat"), (U, Audio()))
    assert tokens(encode(turns, tokenizer), tokenizer) == (
        ["<|begin_of_text|>", "<|start_header_id|>", "system", "<|end_header_id|>", "ĊĊ"]
        + ["the", "Ġcat", "<|eot_id|>"]
        + ["<|start_header_id|>", "user", "<|end_header_id|>", "ĊĊ", "AUDIO", "<|eot_id|>"]
        + ["<|start_header_id|>", "assistant", "<|end_header_id|>", "ĊĊ"]
    )


def test_chatml_form():
    tokenizer = TOKENIZERS["chatml"]
    turns = conversation((S, "the cat"), (U, Audio()))
    assert tokens(encode(turns, tokenizer), tokenizer) == (
        ["<|im_start|>", "system", "Ċ", "the", "Ġcat", "<|im_end|>", "Ċ"]
        + ["<|im_start|>", "user", "Ċ", "AUDIO", "<|im_end|>", "Ċ"]
        + ["<|im_start|>", "assistant", "Ċ"]
    )


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("system", [None, "", "be brief"])
def test_text_is_as_apply_chat_template_has_it(tokenizer, text, system):
    one = user_prompt(text, system)
    several = (*one, Turn(A, "fine ."), Turn(U, "and then ?"))
    for turns in (one, several):
        assert encode(turns, tokenizer) == template_ids(turns, tokenizer)
    answered = several[:-1]
    assert encode(answered, tokenizer, False) == template_ids(answered, tokenizer, False)


@pytest.mark.parametrize("text", ["Hello", "the cat sat on the mat", "capital of france ?"])
def test_audio_in_any_turns_leaves_the_rest_as_it_is_around_text(tokenizer, text):
    """Whichever turns are heard: the text's tokens in the slots give the text prompt."""
    written = conversation(
        (S, "be brief"), (U, text), (A, "fine"), (U, "the dog"), (A, text), (U, "I")
    )
    for heard in itertools.product([False, True], repeat=len(written)):
        turns = tuple(
            Turn(turn.role, Audio()) if audio else turn
            for turn, audio in zip(written, heard, strict=True)
        )
        ids = encode(turns, tokenizer)
        assert ids.count(AUDIO_SLOT) == sum(heard)
        fill = iter([content_ids(written, i, tokenizer) for i, audio in enumerate(heard) if audio])
        filled = [i for id_ in ids for i in (next(fill) if id_ == AUDIO_SLOT else [id_])]
        assert filled == encode(written, tokenizer)


def test_content_ids_are_the_words(tokenizer):
    ids = content_ids(user_prompt("the cat sat"), 0, tokenizer)
    assert tokenizer.decode(ids).strip() == "the cat sat"


def test_nothing_a_user_says_is_a_special_token(tokenizer):
    special = set(tokenizer.all_special_ids)
    count = sum(i in special for i in encode(user_prompt("x"), tokenizer))
    for token in tokenizer.all_special_tokens:
        for said in (
            token,
            f"a{token}b",
            f"{token}{token}",
            f" {token} {token[:2]}{token}",
            token[:-1] + token,
        ):
            ids = encode(user_prompt(said), tokenizer)
            assert sum(i in special for i in ids) == count
            around = encode(user_prompt(Audio()), tokenizer)
            before = around.index(AUDIO_SLOT)
            inside = ids[before : len(ids) - (len(around) - before - 1)]
            assert tokenizer.decode(inside).strip() == said.strip()  # nothing is lost either
            assert len(template_ids(user_prompt(said), tokenizer)) != len(ids)  # it is needed


def test_placeholders_in_a_text_are_text(tokenizer):
    said = "[slot0] [cut0] -1 <audio>"
    ids = encode(user_prompt(said), tokenizer)
    assert ids == template_ids(user_prompt(said), tokenizer)
    assert AUDIO_SLOT not in ids


@pytest.mark.parametrize(
    "name, end",
    [("llama2", ["▁", "</s>"]), ("llama3", ["<|eot_id|>"]), ("chatml", ["<|im_end|>"])],
)
def test_a_reply_ends_with_the_end_of_turn(name, end):
    tokenizer = TOKENIZERS[name]
    ids = reply_ids(user_prompt("the cat"), "the dog", tokenizer)
    first = ["▁the", "▁dog"] if name == "llama2" else ["the", "Ġdog"]
    assert tokens(ids, tokenizer) == [*first, *end]
    assert decode(ids, tokenizer) == "the dog"


def test_a_conversation_the_template_refuses():
    turns = conversation((U, "a"), (U, "b"))
    with pytest.raises(ValueError, match=r"refuses the turns \(user, user\): user and assistant"):
        encode(turns, TOKENIZERS["llama2"])


def test_a_template_that_swallows_a_turn():
    tokenizer = chat_llms.chatml_trained()
    tokenizer.chat_template = "{{ messages[-1].content }}"
    turns = conversation((U, Audio()), (A, "a"), (U, Audio()))
    with pytest.raises(ValueError, match="shows 1 of 2 audio turns"):
        encode(turns, tokenizer)


def test_a_reply_the_template_rewrites():
    tokenizer = chat_llms.chatml_trained()
    tokenizer.chat_template = "{{ messages | length }}"
    with pytest.raises(ValueError, match="own prompt followed by the reply"):
        reply_ids(user_prompt("a"), "b", tokenizer)


def test_no_template_tells_the_date_of_the_day():
    # As the templates of Llama-3.2 do it: responses would differ from one day to the next.
    tokenizer = chat_llms.chatml_trained()
    tokenizer.chat_template = (
        "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}"
        "{% endif %}{{ 'Today is ' + date_string + '. ' + messages[0]['content'] }}"
    )
    ids = encode((Turn("user", "hello"),), tokenizer)
    assert tokenizer.decode(ids) == "Today is 26 Jul 2024. hello"
