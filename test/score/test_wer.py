import io

import pytest

from espnet_audiollm.score import edits as edits_module
from espnet_audiollm.score.wer import (
    WordErrors,
    character_errors,
    edits,
    group_by_length,
    utterance_errors,
    word_errors,
    write_aligned,
)

# The example of jiwer's own documentation ("alignment"), where the counts are given.
SAID = {"a": "short one here", "b": "quite a bit of longer sentence"}
HEARD = {"a": "shoe order one", "b": "quite bit of an even longest sentence here"}

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


def test_the_counts_that_jiwer_publishes():
    errors = word_errors(SAID, HEARD)
    assert errors == WordErrors(substitutions=2, deletions=2, insertions=4, reference_words=9)
    assert errors.rate == pytest.approx(88.89, abs=0.005)


def test_aligned_errors_in_a_file():
    out = io.StringIO()
    assert write_aligned(out, {**SAID, "c": "right"}, {**HEARD, "c": "Right!"}) == 2
    assert (
        out.getvalue()
        == """\
a: 1 S, 1 D, 1 I of 3 words
ref  **** short one here
hyp  shoe order one ****
     I    S         D

b: 1 S, 1 D, 3 I of 6 words
ref  quite a bit of ** **** longer  sentence ****
hyp  quite * bit of an even longest sentence here
           D        I  I    S                I

"""
    )


def test_edits_are_runs_of_words():
    found = [(e.op, e.reference_words, e.hypothesis_words) for e in edits(SAID["b"], HEARD["b"])]
    assert found == [
        ("equal", ("quite",), ("quite",)),
        ("delete", ("a",), ()),
        ("equal", ("bit", "of"), ("bit", "of")),
        ("insert", (), ("an", "even")),
        ("substitute", ("longer",), ("longest",)),
        ("equal", ("sentence",), ("sentence",)),
        ("insert", (), ("here",)),
    ]


@pytest.mark.parametrize(
    ("reference", "hypothesis", "ops"),
    [("", "a b", ["insert"]), ("a b", "", ["delete"]), ("", "", []), ("A.", "a", ["equal"])],
)
def test_edits_of_nothing(reference, hypothesis, ops):
    assert [edit.op for edit in edits(reference, hypothesis)] == ops


def test_groups_by_length():
    said = {**SAID, "c": "yes"}
    errors = utterance_errors(said, {**HEARD, "c": "no"})
    assert group_by_length(errors, {"a": 2.0, "b": 4.1, "c": 1.99}, (2, 4)) == [
        ("under 2", WordErrors(1, 0, 0, 1)),
        ("2 to 4", WordErrors(1, 1, 1, 3)),
        ("4 and more", WordErrors(1, 1, 3, 6)),
    ]
    words = {id: len(text.split()) for id, text in said.items()}
    assert group_by_length(errors, words, (1, 2.5, 20)) == [
        ("1 to 2.5", WordErrors(1, 0, 0, 1)),
        ("2.5 to 20", WordErrors(2, 2, 4, 9)),
    ]


def test_sums_over_many_chunks(monkeypatch):
    monkeypatch.setattr(edits_module, "CHUNK", 2)
    said, recognised = {f"u{i}": "a b c" for i in range(5)}, {f"u{i}": "a c" for i in range(5)}
    assert word_errors(said, recognised) == WordErrors(0, 5, 0, 15)
    assert set(utterance_errors(said, recognised).values()) == {WordErrors(0, 1, 0, 3)}
    assert character_errors(said, recognised).reference_characters == 25
