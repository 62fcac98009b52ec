"""BLEU and chrF against sacrebleu's own command line, and its own bootstrap."""

import json
import subprocess
import sys

import numpy as np
import pytest

from espnet_audiollm.score.translation import bleu_tokenizer, p_value, translation_scores

GERMAN = [
    ("Der Hund l\u00e4uft in den Park.", "Der Hund rennt in den Park."),
    ("Ich m\u00f6chte zwei Br\u00f6tchen, bitte!", "Ich m\u00f6chte bitte zwei Br\u00f6tchen!"),
    ("Wie sp\u00e4t ist es?", "Wie sp\u00e4t ist es?"),
    ("Es regnet seit drei Tagen ohne Pause.", "Seit drei Tagen regnet es."),
]
CHINESE = [
    ("\u4eca\u5929\u5929\u6c14\u5f88\u597d\u3002", "\u4eca\u5929\u7684\u5929\u6c14\u597d\u3002")
]
JAPANESE = [
    (
        "\u72ac\u306f\u516c\u5712\u306b\u3044\u307e\u3059\u3002",
        "\u72ac\u304c\u516c\u5712\u306b\u3044\u308b\u3002",
    )
]


def tables(pairs):
    references, responses = zip(*pairs, strict=True)
    ids = [f"utt{i}" for i in range(len(pairs))]
    backwards = reversed(list(zip(ids, responses, strict=True)))
    return dict(zip(ids, references, strict=True)), dict(backwards)


def command_line(directory, pairs, *options):
    """What sacrebleu itself says of the same lines."""
    for name, texts in zip(("ref", "hyp"), zip(*pairs, strict=True), strict=True):
        (directory / name).write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    command = [sys.executable, "-m", "sacrebleu", directory / "ref", "-i", directory / "hyp"]
    command += ["--metrics", "bleu", "chrf", "--width", "6", *options]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize(
    ("pairs", "language", "tokenizer"),
    [(GERMAN, "de", "13a"), (CHINESE, "zh-CN", "zh"), (JAPANESE, "ja", "char")],
)
def test_scores_and_signatures_are_those_of_the_command_line(tmp_path, pairs, language, tokenizer):
    bleu, chrf = command_line(tmp_path, pairs, "--tokenize", tokenizer)
    found = translation_scores(*tables(pairs), language, resamples=5)
    assert 0 < found.bleu < 100 and 0 < found.chrf < 100
    assert found.bleu == pytest.approx(bleu["score"], abs=1e-5)
    assert found.chrf == pytest.approx(chrf["score"], abs=1e-5)
    assert found.bleu_signature == bleu["signature"] and f"tok:{tokenizer}|" in bleu["signature"]
    assert found.chrf_signature == chrf["signature"]


def test_intervals_agree_with_sacrebleus_bootstrap(tmp_path):
    rng = np.random.default_rng(0)
    words = "der hund die katze das haus ein baum rennt schl\u00e4ft steht sieht im und".split()
    pairs = []
    for _ in range(120):
        reference = rng.choice(words, size=rng.integers(4, 12))
        wrong = rng.random(len(reference)) < rng.choice([0.0, 0.2, 0.6])
        response = np.where(wrong, rng.choice(words, size=len(reference)), reference)
        pairs.append((" ".join(reference), " ".join(response)))
    lines = command_line(tmp_path, pairs, "--confidence", "--confidence-n", "2000")
    found = translation_scores(*tables(pairs))
    for line, ci95 in zip(lines, (found.bleu_ci95, found.chrf_ci95), strict=True):
        theirs = line["confidence_mean"], line["confidence_var"]  # the middle, half the width
        assert sum(ci95) / 2 == pytest.approx(theirs[0], abs=0.1 * theirs[1])
        assert (ci95[1] - ci95[0]) / 2 == pytest.approx(theirs[1], rel=0.1)


def test_p_value_of_two_systems():
    references, responses = tables(GERMAN * 15)
    half = {id: text if i % 2 else "Nein." for i, (id, text) in enumerate(responses.items())}
    other = dict(responses)
    one, two, same = (
        translation_scores(references, given, "de", resamples=99)
        for given in (responses, half, other)
    )
    assert p_value(one, two) == p_value(two, one, "chrf") == pytest.approx(2 / 100)
    assert p_value(one, same) == 1.0


@pytest.mark.parametrize(
    "language, tokenizer",
    [(None, "13a"), ("sv-SE", "13a"), ("zh_TW", "zh"), ("ZH", "zh"), ("yue", "zh"), ("th", "char")],
)
def test_tokenizers(language, tokenizer):
    assert bleu_tokenizer(language) == tokenizer


def test_bad_input():
    references, responses = tables(GERMAN)
    with pytest.raises(ValueError, match=r"1 of 4 utterances are missing \(first: utt2\)"):
        translation_scores(references, {i: t for i, t in responses.items() if i != "utt2"})
    with pytest.raises(ValueError, match=r"unknown \(first: utt9\)"):
        translation_scores(references, {**responses, "utt9": "Ja."})
    with pytest.raises(ValueError, match=r"1 of 4 reference translations are empty \(first: utt1"):
        translation_scores({**references, "utt1": " "}, responses)
    with pytest.raises(ValueError, match="0 of 0 reference translations"):
        translation_scores({}, {})
    silent = translation_scores(references, dict.fromkeys(responses, ""), resamples=5)
    assert silent.bleu == 0.0 and silent.bleu_ci95 == (0.0, 0.0)
