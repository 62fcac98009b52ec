"""Prompts in the three chat forms. Lists of token strings are the published formats."""

import itertools

import chat_llms
import pytest
from tokenizers import AddedToken

from espnet_audiollm.data import prompt
from espnet_audiollm.data.prompt import (
    AUDIO_SLOT,
    content_ids,
    decode,
    encode,
    reply_ids,
    user_prompt,
)
from espnet_audiollm.data.unit_tokens import UnitTokens, unit_names
from espnet_audiollm.types import Audio, Turn, Units

TOKENIZERS = {
    "llama2": chat_llms.llama2_trained(),
    "llama2 always": chat_llms.llama2_trained("always"),
    "llama2 first": chat_llms.llama2_trained("first"),
    "llama3": chat_llms.llama3_trained(),
    "chatml": chat_llms.chatml_trained(),
}
PREFIX, SUFFIX = chat_llms.LLAMA2_PREFIX, chat_llms.LLAMA2_SUFFIX
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


def test_llama2_is_the_papers_form_token_for_token():
    llama2 = chat_llms.llama2_published()
    assert encode(user_prompt(Audio(), ""), llama2) == [*PREFIX, AUDIO_SLOT, *SUFFIX]
    assert encode(user_prompt("Hello", ""), llama2) == [*PREFIX, 10994, *SUFFIX]


def test_llama2_without_a_system_turn_gives_the_space_to_the_first_word():
    llama2 = chat_llms.llama2_published()
    begin = chat_llms.LLAMA2_BEGIN
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
    """Whichever turns are is_audio: the text's tokens in the slots give the text prompt."""
    written = conversation(
        (S, "be brief"), (U, text), (A, "fine"), (U, "the dog"), (A, text), (U, "I")
    )
    for is_audio in itertools.product([False, True], repeat=len(written)):
        turns = tuple(
            Turn(turn.role, Audio()) if audio else turn
            for turn, audio in zip(written, is_audio, strict=True)
        )
        ids = encode(turns, tokenizer)
        assert ids.count(AUDIO_SLOT) == sum(is_audio)
        fill = iter(
            [content_ids(written, i, tokenizer) for i, audio in enumerate(is_audio) if audio]
        )
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


@pytest.mark.parametrize(("words", "kept"), [(10, True), (3000, False)])
def test_only_short_texts_are_kept(words, kept, monkeypatch):
    """What dialogues say may be megabytes."""
    tokenizer, said = TOKENIZERS["llama3"], " the cat" * words
    turns = conversation((U, (Audio(), said)))
    ids = encode(turns, tokenizer)
    tokenised, between = [], prompt._between

    def watched(left, text, right, tokenizer):
        tokenised.append(text)
        return between(left, text, right, tokenizer)

    monkeypatch.setattr(prompt, "_between", watched)
    assert encode(turns, tokenizer) == ids and len(ids) > words
    assert any(said in text for text in tokenised) == (not kept)


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


def with_units(make, size=9):
    """A tokenizer that knows units, and where they stand."""
    tokenizer = make()
    tokenizer.add_tokens(
        [AddedToken(name, special=True, normalized=False) for name in unit_names(size)],
        special_tokens=True,
    )
    return tokenizer, UnitTokens.of(tokenizer)


MAKERS = [chat_llms.llama2_trained, chat_llms.llama3_trained, chat_llms.chatml_trained]
by_maker = pytest.mark.parametrize("make", MAKERS)


@by_maker
def test_units_stand_where_audio_would(make):
    """The text around units is tokenised as it is around audio."""
    tokenizer, units = with_units(make)
    contents = ["be brief", Units((8, 0, 0)), "fine", Audio(), Units((3,)), "the dog"]
    turns = conversation(*zip([S, U, A, U, A, U], contents, strict=True))
    as_audio = tuple(
        Turn(turn.role, Audio()) if isinstance(turn.content, Units) else turn for turn in turns
    )
    around = encode(as_audio, tokenizer)
    fills = iter([units.encode(contents[1]), [AUDIO_SLOT], units.encode(contents[4])])
    expected = [i for id_ in around for i in (next(fills) if id_ == AUDIO_SLOT else [id_])]
    assert encode(turns, tokenizer, units=units) == expected
    assert units.decode(expected) == Units((8, 0, 0, 3))


def test_ids_of_units_by_hand():
    units = UnitTokens(first=1002, size=9, begin=1000, end=1001)
    assert units.encode(Units((8, 0, 0))) == [1000, 1010, 1002, 1002, 1001]
    assert units.decode([1, 5, 1000, 1010, 1002, 1002, 1001, 2, 1011]) == Units((8, 0, 0))


@by_maker
def test_a_reply_may_be_units(make):
    tokenizer, units = with_units(make)
    turns = user_prompt(Units((1, 2)))
    ids = reply_ids(turns, Units((7, 4)), tokenizer, units=units)
    assert units.decode(ids) == Units((7, 4))
    assert ids[-1] == tokenizer.eos_token_id
    prompt = encode(turns, tokenizer, units=units)
    answered = encode((*turns, Turn(A, Units((7, 4)))), tokenizer, False, units)
    assert [*prompt, *ids] == answered[: len(prompt) + len(ids)]


@by_maker
def test_the_name_of_a_unit_is_text(make):
    tokenizer, units = with_units(make, size=1200)
    said = "<|a_1199|> <|a_1|><|audio|>"
    ids = encode(user_prompt(said), tokenizer, units=units)
    assert not units.decode(ids).ids and units.begin not in ids
    assert said in tokenizer.decode(ids)
    assert units.decode(template_ids(user_prompt(said), tokenizer)).ids  # it is needed


def test_a_tokenizer_may_gain_tokens_between_two_prompts():
    """What counts as special is looked up once for each state of a tokenizer."""
    tokenizer = chat_llms.chatml_trained()
    encode(user_prompt("<|a_1|>"), tokenizer)
    names = [AddedToken(name, special=True, normalized=False) for name in unit_names(3)]
    tokenizer.add_tokens(names, special_tokens=True)
    units = UnitTokens.of(tokenizer)
    assert not units.decode(encode(user_prompt("<|a_1|>"), tokenizer)).ids


@pytest.mark.parametrize(
    ("ids", "message"), [((), "no units"), ((1, 9, 12), r"2 of 3 units \(first: 9\).*9 of the LLM")]
)
def test_units_that_the_llm_does_not_have(ids, message):
    tokenizer, units = with_units(chat_llms.llama3_trained)
    with pytest.raises(ValueError, match=message):
        encode(user_prompt(Units(ids)), tokenizer, units=units)


def test_units_for_an_llm_without_units():
    tokenizer = TOKENIZERS["llama3"]
    with pytest.raises(ValueError, match="has no unit tokens"):
        encode(user_prompt(Units((1,))), tokenizer)
    with pytest.raises(ValueError, match="has 0 unit tokens"):
        UnitTokens.of(tokenizer)


def test_content_ids_are_of_text():
    with pytest.raises(ValueError, match="a conversation of text"):
        content_ids(user_prompt(Audio()), 0, TOKENIZERS["llama3"])


@pytest.mark.parametrize(
    ("before", "after"),
    [("Repeat it: ", ""), ("", " please"), ("Say this:\n", "\ntwice ."), ("the cat ", " ran")],
)
@pytest.mark.parametrize("text", ["Hello", "the cat sat on the mat", "2 + 3"])
def test_instruction_and_audio_in_one_turn(tokenizer, before, after, text):
    """The instruction's tokens are those of the text prompt; what is between them is the text's."""
    context = conversation((S, "be brief"), (U, "I"), (A, "fine"))
    mixed = tuple(part for part in (before, Audio(text=text), after) if part)
    is_audio = encode((*context, Turn(U, mixed)), tokenizer)
    written = encode((*context, Turn(U, before + text + after)), tokenizer)
    assert is_audio.count(AUDIO_SLOT) == 1
    slot = is_audio.index(AUDIO_SLOT)
    end = len(written) - (len(is_audio) - slot - 1)
    assert written[:slot] == is_audio[:slot] and written[end:] == is_audio[slot + 1 :]
    assert tokenizer.decode(written[slot:end]).strip() == text


def test_parts_of_a_turn_that_are_all_text(tokenizer):
    """Spelled in two parts, a special token is as little one as in one part."""
    end = tokenizer.eos_token
    parts = encode((Turn(U, ("Say ", f"{end} now")),), tokenizer)
    assert parts == encode((Turn(U, f"Say {end} now"),), tokenizer)
    one = encode((Turn(U, (Audio(),)),), tokenizer)
    assert one == encode(user_prompt(Audio()), tokenizer)
