import pytest

from espnet_audiollm.score.wer import character_errors, word_errors

REFS = {"a": "the cat sat", "b": "hello there"}


@pytest.mark.parametrize(
    "hyps, counts, rate",
    [
        ({"a": "the cat sat", "b": "hello there"}, (0, 0, 0, 5), 0.0),
        ({"a": "The CAT, sat!", "b": " hello  there."}, (0, 0, 0, 5), 0.0),  # normalised
        ({"a": "the bat sat", "b": "hello"}, (1, 1, 0, 5), 40.0),
        ({"a": "the cat sat down", "b": ""}, (0, 2, 1, 5), 60.0),
        ({"b": "hello there", "a": "the cat sat"}, (0, 0, 0, 5), 0.0),  # joined by id
    ],
)
def test_word_errors(hyps, counts, rate):
    errors = word_errors(REFS, hyps)
    found = (errors.substitutions, errors.deletions, errors.insertions, errors.reference_words)
    assert found == counts
    assert errors.rate == pytest.approx(rate)


def test_insertions_can_exceed_the_reference():
    assert word_errors({"a": "yes"}, {"a": "yes it is so"}).rate == 300.0


def test_corpus_rate_is_a_ratio_of_sums():
    errors = word_errors({"a": "x", "b": "p q r"}, {"a": "y", "b": "p q r"})
    assert errors.rate == 25.0  # not (100 + 0) / 2


def test_character_errors_count_blanks():
    errors = character_errors({"a": "ab c"}, {"a": "abd"})  # " " and "c": one sub, one del
    assert (errors.errors, errors.reference_characters) == (2, 4)
    assert errors.rate == 50.0
    assert errors.as_dict()["cer"] == 50.0


def test_as_dict_keeps_the_counts():
    assert word_errors(REFS, {"a": "the bat sat", "b": "hello"}).as_dict() == {
        "substitutions": 1,
        "deletions": 1,
        "insertions": 0,
        "reference_words": 5,
        "errors": 2,
        "wer": 40.0,
    }


@pytest.mark.parametrize(
    "refs, hyps, message",
    [
        (REFS, {"a": "x"}, r"1 of 2 utterances are missing \(first: b\)"),
        (REFS, {**REFS, "z": ""}, r"1 of 3 ids are unknown \(first: z\)"),
        ({"a": "x", "b": "?!"}, {"a": "", "b": ""}, r"1 of 2 reference .* no words .*first: b"),
        ({}, {}, "no reference transcripts"),
    ],
)
def test_bad_input(refs, hyps, message):
    with pytest.raises(ValueError, match=message):
        word_errors(refs, hyps)
