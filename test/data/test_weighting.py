"""Mixtures weighted by size."""

from collections import Counter

import numpy as np
import pytest

from espnet_audiollm.data.weighting import epoch_rows, numbers, shares


@pytest.mark.parametrize(
    "sizes, alpha, total, expected",
    [
        ([100, 400], 1.0, 500, [100, 400]),
        ([100, 400], 0.0, 500, [250, 250]),
        ([100, 400], 0.5, 500, [167, 333]),  # 166.7 and 333.3
        ([1, 1, 1], 1.0, 4, [2, 1, 1]),
        ([1, 1, 2], 1.0, 2, [1, 0, 1]),  # 0.5, 0.5, 1
        ([7], 0.3, 3, [3]),
    ],
)
def test_numbers_by_hand(sizes, alpha, total, expected):
    assert numbers(sizes, alpha, total) == expected
    assert sum(shares(sizes, alpha)) == pytest.approx(1)


def test_alpha_1_is_a_pass_over_everything():
    for epoch in range(3):
        assert epoch_rows([5, 1, 8], 1.0, epoch).tolist() == list(range(14))


def test_no_example_comes_again_before_all_have_come():
    sizes, alpha = [3, 40], 0.3
    each = numbers(sizes, alpha, 43)
    seen = Counter()
    for epoch in range(7):
        rows = epoch_rows(sizes, alpha, epoch, seed=4)
        assert len(rows) == 43 and (np.diff(rows) >= 0).all()
        assert [(rows < 3).sum(), (rows >= 3).sum()] == each
        seen.update(rows.tolist())
        for begin, end in ((0, 3), (3, 43)):
            times = [seen[row] for row in range(begin, end)]
            assert max(times) - min(times) <= 1


def test_seed_and_epoch_decide_and_nothing_else():
    first = epoch_rows([3, 40], 0.3, 2, seed=4)
    assert np.array_equal(first, epoch_rows([3, 40], 0.3, 2, seed=4))  # a resumed epoch
    assert not np.array_equal(first, epoch_rows([3, 40], 0.3, 3, seed=4))
    assert not np.array_equal(first, epoch_rows([3, 40], 0.3, 2, seed=5))


def test_an_epoch_may_be_shorter_or_longer():
    assert len(epoch_rows([3, 4], 1.0, 0, total=2)) == 2
    assert Counter(epoch_rows([3, 4], 1.0, 0, total=14).tolist()) == dict.fromkeys(range(7), 2)
