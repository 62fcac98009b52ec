import pytest

from espnet_audiollm.score.success import (
    SuccessCount,
    count_by_category,
    judge,
    parse_answers,
    read_answers,
    succeeds,
)


@pytest.mark.parametrize(
    "response, aliases, expected",
    [
        ("The capital is Paris.", ("paris",), True),
        ("PARIS!", ("paris",), True),
        ("It is Parisian.", ("paris",), False),  # whole words only
        ("New York is large", ("york new",), False),  # in order
        ("It is New, York", ("new york",), True),
        ("five", ("5", "five"), True),  # any alias
        ("15", ("5",), False),
        ("", ("5",), False),
        ("don't", ("don",), False),
    ],
)
def test_accepted_answers(response, aliases, expected):
    assert succeeds(response, "not looked at", aliases) is expected


@pytest.mark.parametrize(
    "response, expected", [("how nice", True), ("How nice, yes", False), ("", False)]
)
def test_a_statement_must_equal_the_reference(response, expected):
    assert succeeds(response, "How nice!", ()) is expected


def test_aliases():
    assert parse_answers("Paris | the City of  Paris") == ("paris", "the city of paris")
    assert parse_answers(" ") == ()


@pytest.mark.parametrize(
    "lines, message",
    [({"z": "x"}, r"unknown \(first: z\)"), ({"a": "x | ?"}, "answers: a: .*without words")],
)
def test_bad_answers(lines, message):
    with pytest.raises(ValueError, match=message):
        read_answers(lines, ["a"])


def test_judge_joins_by_id():
    verdicts = judge({"b": "no", "a": "it is 5"}, {"a": "5", "b": "yes"}, {"a": ("5",)})
    assert verdicts == {"a": True, "b": False}
    with pytest.raises(ValueError, match=r"responses: 1 of 1 .*missing \(first: a\)"):
        judge({"b": "x"}, {"a": "x"}, {})


def test_by_category():
    verdicts = {"a": True, "b": False, "c": True}
    counts = count_by_category(verdicts, {"a": "sum", "b": "sum", "c": "fact"})
    assert counts == {"fact": SuccessCount(1, 1), "sum": SuccessCount(1, 2)}


@pytest.mark.parametrize(
    "successes, total, interval",
    [(8, 10, (49.0162, 94.3318)), (0, 10, (0.0, 27.7533)), (10, 10, (72.2467, 100.0))],
)
def test_wilson(successes, total, interval):
    """Published values of Wilson's interval (without continuity correction)."""
    found = SuccessCount(successes, total)
    assert found.rate == 10.0 * successes
    assert found.ci95 == pytest.approx(interval, abs=1e-3)
