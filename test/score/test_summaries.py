import pytest

from espnet_audiollm.score.summaries import p_value, rouge


@pytest.mark.parametrize(
    "reference, response, expected",
    [
        # Lin (2004), section 3.1: police killed the gunman; LCS 3 of 4, and 2 of 4.
        ("police killed the gunman", "police kill the gunman", (100, 100, 100)),  # by their stems
        ("police ended the gunman", "police kill the gunman", (75, 100 / 3, 75)),
        ("police killed the gunman", "the gunman kill police", (100, 100 / 3, 50)),
        ("the cat sat", "the cat sat on the mat", (200 / 3, 400 / 7, 200 / 3)),  # F1 of 1 and 1/2
        ("the cat", "a dog", (0, 0, 0)),
        ("the cat", "", (0, 0, 0)),
    ],
)
def test_by_hand(reference, response, expected):
    found = rouge({"a": reference}, {"a": response}, resamples=5)
    assert tuple(found.values.values()) == pytest.approx(expected)
    assert list(found.values) == ["rouge1", "rouge2", "rougeL"]


def test_a_set():
    references = {"a": "the cat", "b": "a dog", "c": "one bird"}
    responses = {"c": "no", "b": "a dog", "a": "the cat"}
    found = rouge(references, responses, resamples=200)
    assert found.values["rougeL"] == pytest.approx(200 / 3)
    assert found.ci95["rougeL"] == pytest.approx((0.0, 100.0))
    assert found.signature.startswith("rouge-score:0.1.2|stemmed|f1|mean")
    worse = rouge(references, dict.fromkeys(references, "no"), resamples=200)
    assert p_value(found, worse) < 0.2 and p_value(found, found) == 1.0


def test_other_languages_keep_their_letters():
    given = {"a": "\u00fcber den B\u00e4umen"}, {"a": "uber den B\u00e4umen"}
    assert rouge(*given, "de", resamples=5).values["rouge1"] == pytest.approx(200 / 3)
    assert "|words|" in rouge(*given, "de", resamples=5).signature
    assert "|stemmed|" in rouge(*given, "en-GB", resamples=5).signature


def test_characters_are_compared_where_there_are_no_blanks():
    given = (
        {"a": "\u4eca\u5929\u5f88\u597d\u3002"},
        {"a": "\u4eca\u5929\u597d"},
    )  # 4, 3
    for language in ("zh", "zh-CN"):
        assert rouge(*given, language, resamples=5).values["rouge1"] == pytest.approx(600 / 7)


def test_bad_input():
    with pytest.raises(ValueError, match=r"1 of 1 utterances are missing \(first: a\)"):
        rouge({"a": "x"}, {})
    with pytest.raises(ValueError, match=r"1 of 2 reference summaries are empty \(first: b\)"):
        rouge({"a": "x", "b": "..."}, {"a": "x", "b": "y"})
