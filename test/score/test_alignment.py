"""Embedding alignment on matrices whose best paths and orders are seen by eye."""

import itertools
from dataclasses import astuple

import numpy as np
import pytest

from espnet_audiollm.score.alignment import (
    NAMES,
    AlignmentNumbers,
    aggregate,
    alignment_numbers,
    best_path,
    best_positions,
    to_record,
    words_in_order,
)
from espnet_audiollm.store.runs import Similarity


def paths(cosine_TP):
    """The best mean over all choices of positions that never go back, one by one."""
    tokens, positions = cosine_TP.shape
    choices = itertools.combinations_with_replacement(range(positions), tokens)
    return max(np.mean([cosine_TP[t, p] for t, p in enumerate(choice)]) for choice in choices)


def test_best_path_of_a_staircase():
    stairs_TP = np.array([[0.9, 0.1, 0.1, 0.0], [0.1, 0.8, 0.7, 0.1], [1.0, 0.0, 0.1, 0.4]])
    assert best_path(stairs_TP[:, None])[0] == pytest.approx((0.9 + 0.8 + 0.4) / 3)
    stairs_TP[1, 0] = 0.3  # now all three stay at the first position
    assert best_path(stairs_TP[:, None])[0] == pytest.approx((0.9 + 0.3 + 1.0) / 3)


def test_best_path_against_all_paths():
    rng = np.random.default_rng(0)
    cosine_TKP = rng.uniform(-1, 1, size=(5, 3, 6))
    expected = [paths(cosine_TKP[:, k]) for k in range(3)]
    assert best_path(cosine_TKP) == pytest.approx(expected)
    assert best_path(cosine_TKP[:, :, :1]) == pytest.approx(cosine_TKP[:, :, 0].mean(axis=0))


def test_a_words_best_position_is_of_its_tokens_mean():
    cosine_TP = np.array([[1.0, 0.0, 0.0], [0.0, 0.9, 0.8], [0.0, 0.0, 0.3]])
    assert best_positions(cosine_TP[:, None], [0, 1]).tolist() == [[0, 2]]
    assert best_positions(cosine_TP[:, None], [0, 1, 2]).tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(
    "best, expected",
    [
        ([0, 1, 2, 5], 4),
        ([5, 4, 3], 1),
        ([3, 3, 3], 1),  # the same everywhere is no order
        ([0, 7, 1, 2, 9, 3], 4),  # 0 1 2 3, or 0 1 2 9
        ([2, 0, 1], 2),
        ([4], 1),
    ],
)
def test_words_in_order(best, expected):
    assert words_in_order(best) == expected


def test_audio_that_says_the_text():
    """Each word's embedding held for three positions: a path of cosine 1, all words in order."""
    text_TD = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 8)))[0]
    found = alignment_numbers(text_TD, np.repeat(text_TD, 3, axis=0), range(8), seed=1)
    assert (found.tokens, found.words, found.positions) == (8, 8, 24)
    assert found.path == pytest.approx(1.0) and found.in_order == 8
    assert found.centred_path == pytest.approx(1.0) and found.centred_in_order == 8
    # A random order of eight has a longest rising series of 4 or 5 at most times.
    assert 3.0 < found.in_order_shuffled < 6.0
    assert 0.2 < found.path_shuffled < 0.8


def test_what_all_share_is_seen_only_when_taken_away():
    text_TD = np.eye(6)
    audio_PD = text_TD[[5, 0, 1, 2, 3, 4]] + 10.0  # the last word first
    found = alignment_numbers(text_TD - 10.0, audio_PD, range(6))
    assert found.path < 0  # all point away from each other
    assert found.centred_in_order == 5
    assert found.centred_path == pytest.approx((5 - 1 / 5) / 6)  # by hand: cosines 1 and -1/5


def test_the_seed_decides_the_shuffles():
    rng = np.random.default_rng(3)
    text_TD, audio_PD = rng.normal(size=(6, 4)), rng.normal(size=(20, 4))
    one, same, other = (alignment_numbers(text_TD, audio_PD, range(6), seed) for seed in (1, 1, 2))
    assert one == same
    assert one.path == other.path and one.path_shuffled != other.path_shuffled
    assert one.path == pytest.approx(one.path_shuffled, abs=0.15)  # noise has no order to lose


def numbers(tokens, words, path, in_order):
    rest = (9, path, path / 2, in_order, 1.0, path, path / 2, in_order, 1.0)
    return AlignmentNumbers(tokens, words, *rest)


def table(*rows):
    columns = np.array([*map(astuple, rows)]).T
    ids = tuple(f"u{i}" for i in range(len(rows)))
    return Similarity(ids, dict(zip(NAMES, columns, strict=True)))


def test_over_a_set_sums_are_divided():
    found = aggregate(table(numbers(2, 1, 0.9, 1), numbers(6, 4, 0.5, 2)), resamples=200)
    assert (found.utterances, found.tokens, found.words, found.positions) == (2, 8, 5, 18)
    assert found.path.value == pytest.approx((2 * 0.9 + 6 * 0.5) / 8)
    assert found.path.shuffled == pytest.approx(found.path.value / 2)
    assert found.in_order.value == pytest.approx(60.0) and found.in_order.shuffled == 40.0
    assert found.path.ci95 == pytest.approx((0.5, 0.9))  # of draws of only one utterance
    assert found.in_order.ci95 == pytest.approx((50.0, 100.0))
    with pytest.raises(ValueError, match="alignment needs utterances with a transcript"):
        aggregate(Similarity((), {}))


def test_the_table():
    one = numbers(2, 1, 0.25, 1)
    record = to_record(one)
    assert set(record) == set(NAMES) and record["path"] == 0.25
    with pytest.raises(ValueError, match="not the numbers tokens, words, .*rerun stage 10"):
        aggregate(Similarity(("a",), {"tokens": np.array([2.0])}))
