"""The mini recipe's world: what is held out stays out, and the answers are right."""

import random
from pathlib import Path

import pytest

LOCAL = Path(__file__).parents[2] / "egs2" / "mini" / "audiollm1" / "local"


@pytest.fixture(scope="module")
def world():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(LOCAL)
        import world

        yield world


@pytest.fixture(scope="module")
def items(world):
    """(training items, test items)"""
    rng = random.Random(3)
    return [[world.sample(rng, train) for _ in range(4000)] for train in (True, False)]


def test_train_and_test_share_no_held_out_combination(items, world):
    train, test = items
    seen = {key for item in train for key in item.keys}
    for item in test:
        missing = [key for key in item.keys if world.held_out(key)]
        assert missing and not seen & set(missing)
    assert not {item.prompt for item in train} & {item.prompt for item in test}


def test_every_test_word_is_spoken_in_training(items):
    train, test = items
    words = {word for item in train for word in item.prompt.split()}
    assert {word for item in test for word in item.prompt.split()} <= words
    assert 150 <= len(words) <= 300


def test_prompts_look_like_transcripts_and_answers_fit_the_limit(items):
    for item in items[0] + items[1]:
        assert item.prompt == " ".join(item.prompt.lower().split())
        assert item.prompt.replace(" ", "").isalpha()
        length = len(item.response.split()) + 1  # with the end of turn
        assert length <= 4 * len(item.prompt.split())  # stage 7 allows 4 x the prompt


def test_an_answer_is_accepted_by_its_own_rule(items):
    for item in items[0] + items[1]:
        assert any(f" {answer} " in f" {item.response} " for answer in item.answers), item


def test_one_prompt_has_one_answer(items):
    answers = {}
    for item in items[0] + items[1]:
        assert answers.setdefault(item.prompt, item.response) == item.response


def test_a_fifth_is_no_question(items):
    share = sum(item.category == "statement" for item in items[0]) / len(items[0])
    assert 0.2 <= share <= 0.25


def test_the_same_seed_says_the_same(world):
    first, second = ([world.sample(random.Random(7), True)] for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    "phrase, expected",
    [("red house", "casa roja"), ("red boat", "barco rojo"), ("blue key", "llave azul")],
)
def test_spanish_adjectives_follow_and_agree(world, phrase, expected):
    assert world.spanish(phrase) == expected


@pytest.mark.parametrize(
    "a, operation, b, expected",
    [(3, "plus", 4, "three plus four is seven ."), (9, "minus", 9, "nine minus nine is zero .")],
)
def test_sums(world, a, operation, b, expected):
    assert world.sum_response(a, operation, b)[0] == expected
