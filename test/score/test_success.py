import pytest

from espnet_audiollm.score.against import compare
from espnet_audiollm.score.success import (
    RULES,
    SuccessCount,
    count_by_category,
    judge,
    normalize_all,
    normalize_answers,
    p_value,
    rule_named,
    split_answers,
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
    assert split_answers("Paris | the City of  Paris") == ("Paris", "the City of  Paris")
    assert normalize_answers(["Paris", "the City of  Paris"]) == ("paris", "the city of paris")
    assert split_answers(" ") == ()


def test_bad_answers():
    with pytest.raises(ValueError, match=r"answers: a: .*without words in 'x \| \?'"):
        normalize_all({"b": ("x",), "a": ("x", "?")})


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


@pytest.mark.parametrize(
    "response, answer, expected",
    [
        ("It is twenty-one.", "21", True),
        ("21.0", "twenty one", True),
        ("one thousand and five", "1,005", True),
        ("It is 210", "21", False),
        ("2, or 1", "21", False),
        ("minus three", "3", False),
        ("0.30000001", "0.3", True),  # within 1e-6 of it
        ("0.3001", "0.3", False),
        ("zero", "0", True),
        ("The Seine.", "seine", True),  # no number: contained
        ("Seines", "seine", False),
        ("Apollo 11 it was", "Apollo 11 | 12", True),
        ("Apollo 13", "Apollo 11 | 12", False),
    ],
)
def test_the_numeric_rule(response, answer, expected):
    assert (
        succeeds(response, "", normalize_answers(split_answers(answer), "numeric"), "numeric")
        is expected
    )


@pytest.mark.parametrize(
    "response, expected", [("Paris!", True), ("It is Paris", False), ("the city of paris", True)]
)
def test_the_exact_rule(response, expected):
    aliases = normalize_answers(["Paris", "the city of Paris"], "exact")
    assert succeeds(response, "", aliases, "exact") is expected


def test_rules_have_names_and_sentences():
    assert set(RULES) == {"contains", "exact", "triviaqa", "triviaqa_exact", "numeric"}
    assert "1e-06" in RULES["numeric"].sentence
    with pytest.raises(ValueError, match="no success rule is called bleu; there are contains, "):
        rule_named("bleu")


@pytest.mark.parametrize(
    "only_a, only_b, expected",
    [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 0.0625), (8, 2, 0.109375), (10, 0, 0.001953125)],
)
def test_mcnemar(only_a, only_b, expected):
    """By hand: twice the binomial tail, 2 (1 + 10 + 45) / 2^10 for 8 against 2."""
    a = [True] * only_a + [False] * only_b + [True, False]
    b = [False] * only_a + [True] * only_b + [True, False]
    assert p_value(dict(enumerate(a)), dict(enumerate(b))) == pytest.approx(expected)
    assert p_value(dict(enumerate(b)), dict(enumerate(a))) == pytest.approx(expected)


def test_a_system_against_another_counts_where_only_one_is_right():
    """Ten utterances: six right only here, none only there: p = 2 / 2 ** 6."""
    here = {f"u{i}": i < 8 for i in range(10)}
    there = {f"u{i}": i < 2 for i in range(10)}
    found = compare("a", "b", {"a": here, "b": there})
    assert (found.only_here, found.only_there, found.test) == (6, 0, "mcnemar")
    assert found.p_value == 2 / 2**6
    assert found.as_dict()["success_rate"] == 80 and found.as_dict()["other_success_rate"] == 20


def test_utterances_of_one_speaker_are_drawn_together():
    """All six are of one speaker of four: it is left out of about (3/4) ** 4 = 0.316 of the draws,
    which then show no difference: p is near 0.63. By utterance they would be significant."""
    here = {f"u{i}": i < 6 for i in range(24)}
    there = dict.fromkeys(here, False)
    units = {f"u{i}": f"s{i // 6}" for i in range(24)}
    by_speaker = compare("a", "b", {"a": here, "b": there}, units)
    assert by_speaker.test == "bootstrap" and by_speaker.p_value == pytest.approx(0.633, abs=0.05)
    assert compare("a", "b", {"a": here, "b": there}).p_value < 0.05
