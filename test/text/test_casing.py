"""Prompts in a stated form: stable, and the same from capitals as from small letters."""

import pytest

from espnet_audiollm.text.casing import CASINGS, caser, is_question, learn_forms, sentence

CASED = """The train to Paris leaves at noon. Paris is far.
NASA sent a probe; Europe's NASA is ESA, said McDonald.
May I go in May? Perhaps in May, or in may.
ALL PARIS SLEEPS
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("WHAT IS THE CAPITAL OF FRANCE", "What is the capital of france?"),
        ("i think i'm late and i'll go", "I think I'm late and I'll go."),
        ("the boy  bought\ta flower", "The boy bought a flower."),
        ("he said \u2018why\u2019", "He said \u2018why\u2019."),
        ("wait!", "Wait!"),
        ("'tis so", "'Tis so."),
        ("12 men", "12 men."),
        ("and then,", "And then."),
        ("McDonald went to Rome", "McDonald went to Rome."),  # both cases: the letters stay
        ("hi-fi is i-beam", "Hi-fi is I-beam."),
        ("ça va", "Ça va."),
        ("", ""),
        ("...", "..."),
    ],
)
def test_sentence(text, expected):
    assert sentence(text) == expected
    assert sentence(expected) == expected


@pytest.mark.parametrize(
    "text",
    """what is the time|who wrote hamlet|how many men came|is it far|do you know|did the man go|
    can anyone hear me|where are you|when did he come|which river is long|what's up|have you eaten|
    aren't they here|why not""".split("|"),
)
def test_questions(text):
    assert is_question(text) and sentence(text.strip().upper()).endswith("?")


@pytest.mark.parametrize(
    "text",
    """when he came it rained|have a seat|do not go|what he said was true|how the mighty fall|
    may flowers grow|i know what it is|will smith sings|where the wild things are|
    count from one|what a pity|is|the time""".split("|"),
)
def test_statements(text):
    assert not is_question(text)


def test_a_name_may_be_asked_about():
    assert is_question("Is Paris far") and not is_question("Will Smith sings")
    assert not is_question("IS PARIS FAR")  # capitals show no name


def test_truecase_learns_what_is_usual(tmp_path):
    forms = learn_forms(CASED.splitlines())
    usual = "Paris NASA ESA McDonald Europe's I May"
    assert forms == {word.lower(): word for word in usual.split()}
    (tmp_path / "cased.txt").write_text(CASED)
    case = caser("truecase", tmp_path / "cased.txt")
    assert case("IS PARIS FAR FROM NASA") == "Is Paris far from NASA?"
    assert case("the train") == "The train."
    assert case.name.startswith("truecase:") and len(case.name) == 21
    (tmp_path / "cased.txt").write_text(CASED * 2)
    assert caser("truecase", tmp_path / "cased.txt").name == case.name  # the forms are the same
    (tmp_path / "cased.txt").write_text(CASED + "He saw Rome.")
    assert caser("truecase", tmp_path / "cased.txt").name != case.name


@pytest.mark.parametrize("name", CASINGS)
def test_every_form_is_stable(tmp_path, name):
    (tmp_path / "cased.txt").write_text(CASED)
    case = caser(name, tmp_path / "cased.txt")
    for text in ("WHAT IS I'M PARIS", "straße ﬁ İstanbul", "", "a.b, \u00e9?", "Il a dit: oui"):
        assert case(case(text)) == case(text)


def test_as_is_changes_nothing():
    assert caser("asis")(" a  B?") == " a  B?"
    assert caser("upper")("straße i'm") == "STRASSE I'M"
    assert caser("lower")("I'M") == "i'm"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("title", None, "no casing 'title': give one of asis, lower"),
        ("truecase", None, "--casing_text FILE.* there is none"),
        ("truecase", "no/such", "there is no/such"),
    ],
)
def test_refusals(name, text, message):
    with pytest.raises(ValueError, match=message):
        caser(name, text)


def test_text_without_capitals_teaches_nothing(tmp_path):
    (tmp_path / "flat.txt").write_text("all is small\nTHE REST IS LARGE\nOnly starts are not.\n")
    with pytest.raises(ValueError, match="shows no word in capitals within a sentence"):
        caser("truecase", tmp_path / "flat.txt")
