import pytest

from espnet_audiollm.score.success import (
    judge,
    normalize_all,
    normalize_answers,
    split_answers,
    succeeds,
)
from espnet_audiollm.score.triviaqa import normalize_answer


@pytest.mark.parametrize(
    "text, expected",
    [  # by the script's steps in turn: underscore, lower case, punctuation, articles, white space
        ("The Beatles", "beatles"),
        ("the_lord_of_the_rings", "lord of rings"),
        ("  Sinclair   Lewis ", "sinclair lewis"),
        # Published pairs: "Aliases" and "NormalizedAliases" of the first question of its data.
        ("(Harry) Sinclair Lewis", "harry sinclair lewis"),
        ("Lewis, (Harry) Sinclair", "lewis harry sinclair"),
        ("Grace Hegger", "grace hegger"),
        ("O'Neill", "o neill"),
        ("O\u2019Neill", "o neill"),
        ("\u2018Allo \u2018Allo!", "allo allo"),
        ("U.S.A.", "u s"),  # the letter is left as an article
        ("Vitamin A", "vitamin"),
        ("an apple a day", "apple day"),
        ("theatre", "theatre"),
        ("7-Up & 50%", "7 up 50"),
        ("caf\u00e9", "caf\u00e9"),
        ("\u201cquoted\u201d", "\u201cquoted\u201d"),  # curly double quotes are not in its list
        ("The The", ""),
    ],
)
def test_normalisation(text, expected):
    assert normalize_answer(text) == expected


@pytest.mark.parametrize(
    "response, answers, exact, contained",
    [
        ("The Sunset_Boulevard.", "Sunset Blvd | Sunset Boulevard", True, True),
        ("It was Sunset Boulevard, I think.", "Sunset Boulevard", False, True),
        ("Sunset Boulevards", "Sunset Boulevard", False, False),
        ("u.s.", "the U S", True, True),
        ("", "Sunset Boulevard", False, False),
    ],
)
def test_rules(response, answers, exact, contained):
    for rule, expected in (("triviaqa_exact", exact), ("triviaqa", contained)):
        aliases = normalize_answers(split_answers(answers), rule)
        assert succeeds(response, "", aliases, rule) is expected


def test_aliases_that_the_normalisation_empties():
    assert normalize_answers(["The The", "The The (band)"], "triviaqa") == ("band",)
    with pytest.raises(ValueError, match="without words in 'The The'"):
        normalize_answers(["The The"], "triviaqa")
    assert normalize_answers(["The The"]) == ("the the",)


def test_a_statement_is_compared_in_the_rules_own_form():
    given = {"a": "a nice day"}, {"a": "Nice day!"}
    assert judge(*given, {}, "triviaqa") == {"a": True}
    assert judge(*given, {}, "contains") == {"a": False}
    answers = normalize_all({"a": ["The Nice Day"]}, "triviaqa_exact")
    assert judge(*given, answers, "triviaqa_exact") == {"a": True}
