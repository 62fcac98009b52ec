"""The mini recipe's conversations of several turns: held out, answerable, and only with context."""

import random
from pathlib import Path

import pytest

LOCAL = Path(__file__).parents[2] / "egs2" / "mini" / "audiollm1" / "local"


@pytest.fixture(scope="module")
def local():
    """The recipe's modules, by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(LOCAL)
        import chats
        import dialogues
        import follow_ups
        import world
        import written

        yield {m.__name__: m for m in (chats, dialogues, follow_ups, world, written)}


@pytest.fixture(scope="module")
def dialogues(local):
    return local["dialogues"]


@pytest.fixture(scope="module")
def made(dialogues):
    """(training, test) dialogues by category"""
    rng = random.Random(3)
    return [
        {c: [dialogues.sample_dialogue(rng, t, c) for _ in range(400)] for c in dialogues.DIALOGUES}
        for t in (True, False)
    ]


def test_training_and_test_share_no_held_out_combination(local, made):
    train, test = made
    seen = {key for chats in train.values() for chat in chats for turn in chat for key in turn.keys}
    for chat in (chat for chats in test.values() for chat in chats):
        missing = [key for key in chat[-1].keys if local["world"].held_out(key)]
        assert missing and not seen & set(missing)


def test_what_the_llm_learns_from_has_nothing_held_out(local):
    rng = random.Random(2)
    chats = [local["chats"].conversation(rng) for _ in range(3000)]
    assert all(local["world"].is_train(turn) for turns in chats for turn in turns)
    shares = [sum(len(turns) == n for turns in chats) / len(chats) for n in (1, 2, 3)]
    assert shares[0] > 0.45 and shares[1] > 0.3 and 0.005 < shares[2] < 0.1
    cased = [turns[0].prompt for turns in chats if turns[0].prompt != turns[0].prompt.lower()]
    capitals = [prompt for prompt in cased if prompt == prompt.upper()]
    assert 0.10 < len(cased) / len(chats) < 0.16 and 0.015 < len(capitals) / len(chats) < 0.05


def test_it_is_judged_by_what_is_held_out(local):
    chats = local["chats"].held_out_chats(random.Random(1), 100)
    assert {len(turns) for turns in chats["third_turn"]} == {3}
    for name, found in chats.items():
        assert all(not local["world"].is_train(turns[-1]) for turns in found), name


def test_an_answer_is_accepted_by_its_own_rule(made):
    for chats in (c for part in made for c in part.values()):
        for turn in (turn for chat in chats for turn in chat):
            assert any(f" {answer} " in f" {turn.response} " for answer in turn.answers), turn


@pytest.mark.parametrize(
    "prompt, expected",
    [
        ("my sister is tired today", "mi hermana esta cansada hoy"),
        ("the boy is hungry", "el nino tiene hambre"),
        ("my father saw a white shirt yesterday", "mi padre vio una camisa blanca ayer"),
        ("our neighbor wants an expensive car", "nuestro vecino quiere un coche caro"),
    ],
)
def test_spanish_sentences(dialogues, prompt, expected):
    assert dialogues._spanish_statement(prompt) == expected


@pytest.mark.parametrize(
    "prompt, expected",
    [
        ("my sister is tired today", "your sister is tired"),
        ("my father saw an expensive apple yesterday", "your father saw an apple"),
        ("it is hot in rome again", "it is hot in rome"),
        ("the king is going to peru tomorrow", "the king is going to peru"),
    ],
)
def test_the_gist_leaves_out_which_and_when(dialogues, prompt, expected):
    assert dialogues.gist(prompt) == expected


def test_a_rare_name_is_in_the_turn_before_and_no_word_of_training(local, made):
    rng = random.Random(0)
    spoken = {w for _ in range(4000) for w in local["world"].sample(rng, True).prompt.split()}
    assert not spoken & set(local["dialogues"].RARE_NAMES)
    for statement, question in made[1]["rare_word"]:
        name = question.about[1]
        assert name in statement.prompt.split() and name in question.prompt.split()
        assert set(question.prompt.split()) - {name} <= spoken
        assert question.answers[0].startswith(f"{name} is ")


def test_only_in_training_is_a_name_unclear(made):
    train, test = ([chat[-1] for chat in part["rare_word"]] for part in made)
    unclear = [turn for turn in train if turn.category == "unclear"]
    assert 0.25 < len(unclear) / len(train) < 0.45
    assert all(turn.about[1] in turn.response.split() for turn in unclear)
    assert not [turn for turn in test if turn.category == "unclear"]


def test_follow_ups_need_the_first_turn(local):
    """The same second prompt has different answers after different first turns."""
    rng, answers = random.Random(5), {}
    for _ in range(3000):
        second = local["follow_ups"].follow_up(rng, local["world"].sample(rng, True, "fact"))
        answers.setdefault(second.prompt, set()).add(second.response)
    assert len(answers["and of spain"]) == 3  # capital, language, continent
    assert len(answers["and what is the capital there"]) > 10


def test_a_chain_goes_on_from_turn_to_turn(local):
    first = local["world"]._fact("capital", "spain", "what is the capital of {}")
    rng, seen = random.Random(1), set()
    for _ in range(200):
        turns = local["dialogues"].chain(rng, first, 3)
        if turns[1].prompt == "and of italy" and turns[2].prompt == "and of peru":
            seen.add(turns[2].response)
        if len(turns) == 3 and turns[2].prompt == "and where is that":
            assert turns[2].response.split()[0] == turns[1].about[2]
    assert seen <= {"the capital of peru is lima ."}


@pytest.mark.parametrize(
    "prompt, sentences, expected",
    [
        ("what is the capital of spain", (), "What is the capital of Spain?"),
        ("tell me the capital of spain", (), "Tell me the capital of Spain."),
        ("where do i find rome", (), "Where do I find Rome?"),
        ("it is hot he is sad", ("it is hot", "he is sad"), "It is hot. He is sad."),
    ],
)
def test_written_prompts(local, prompt, sentences, expected):
    item = local["world"].Item(prompt, "ok .", "x", ("ok",), (), (), sentences)
    assert local["written"].sentence_case(item).prompt == expected
    assert local["written"].capitals(item).prompt == prompt.upper()
    assert local["written"].sentence_case(item).response == "ok ."
