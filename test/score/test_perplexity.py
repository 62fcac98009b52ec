import time

import numpy as np
import pytest

from espnet_audiollm.score.bootstrap import bootstrap_sums, percentile_interval, two_sided_p
from espnet_audiollm.score.perplexity import compare, compare_positions


def test_perplexity_is_a_ratio_of_sums():
    nats = np.array([np.log(2.0) * 1, np.log(8.0) * 3])  # 10 bits over 4 tokens
    table = compare([nats], np.array([1, 3]), resamples=50)
    assert table.perplexities[0].value == pytest.approx(2**2.5)
    assert table.perplexities[0].tokens == 4


def test_one_rate_everywhere_has_no_spread():
    tokens = np.array([1, 5, 9])
    table = compare([tokens * np.log(3.0)], tokens, resamples=50)
    assert table.perplexities[0].ci95 == pytest.approx((3.0, 3.0))


def test_every_resample_draws_n_of_n():
    sums = bootstrap_sums(np.column_stack([np.ones(7), np.arange(7)]), resamples=100, seed=1)
    assert (sums[:, 0] == 7).all()
    assert sums[:, 1].mean() == pytest.approx(21, abs=2)  # sd of the mean: 0.53
    assert sums[:, 1].std() > 0


def test_seed_decides_the_resamples():
    stats = np.arange(10.0)[:, None]
    assert (bootstrap_sums(stats, 20, seed=3) == bootstrap_sums(stats, 20, seed=3)).all()
    assert (bootstrap_sums(stats, 20, seed=3) != bootstrap_sums(stats, 20, seed=4)).any()


def test_interval_agrees_with_scipy():
    from scipy.stats import bootstrap

    rng = np.random.default_rng(0)
    tokens = rng.integers(2, 20, size=200)
    nats = tokens * rng.gamma(2.0, 0.5, size=200)

    def ppl(nats, tokens, axis=-1):
        return np.exp(nats.sum(axis=axis) / tokens.sum(axis=axis))

    theirs = bootstrap(
        (nats, tokens),
        ppl,
        paired=True,
        vectorized=True,
        n_resamples=4000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    ours = compare([nats], tokens, resamples=4000).perplexities[0]
    width = theirs.high - theirs.low
    assert ours.ci95 == pytest.approx((theirs.low, theirs.high), abs=0.06 * width)
    assert ours.ci95[0] < ours.value < ours.ci95[1]


def test_pairing_finds_a_small_difference_under_a_large_spread():
    rng = np.random.default_rng(0)
    tokens = np.full(100, 5)
    nats = rng.gamma(1.0, 10.0, size=100)
    table = compare([nats, nats * 1.01, nats + rng.normal(size=100)], tokens, resamples=500)
    (low, _), (_, high) = table.perplexities[1].ci95, table.perplexities[0].ci95
    assert low < high  # the intervals overlap, and still:
    assert table.p_value(0, 1) == pytest.approx(2 / 501)
    assert table.p_value(0, 2) > 0.05  # noise without a direction


@pytest.mark.parametrize(
    "differences, p",
    [([1, 1, 1, 1], 2 / 5), ([-1, 1, 1, 1], 4 / 5), ([0, 0, 0], 1.0), ([-2] * 99, 2 / 100)],
)
def test_two_sided_p(differences, p):
    assert two_sided_p(np.array(differences)) == pytest.approx(p)


def test_percentile_interval():
    assert percentile_interval(np.arange(101.0)) == pytest.approx((2.5, 97.5))


def test_a_hundred_thousand_utterances():
    tokens = np.full(100_000, 10)
    start = time.monotonic()
    compare([tokens * 0.5] * 6, tokens, resamples=100)  # a tenth of 1,000
    assert time.monotonic() - start < 6.0


@pytest.mark.parametrize("tokens", [[], [3, 0]])
def test_no_tokens(tokens):
    with pytest.raises(ValueError, match="at least one response token"):
        compare([np.zeros(len(tokens))], np.array(tokens))


def by_position(token_nats, *edges, resamples=9):
    return compare_positions([token_nats], *edges, resamples=resamples)[0]


def nats_of(*rows):
    return {f"utt{i}": np.array(row) for i, row in enumerate(rows)}


def test_positions_in_bands():
    """Bands 0, 1, 2 to 3 and from 4 on, by hand."""
    nats = nats_of([1.0, 2.0, 3.0], [0.0], [2.0, 4.0, 1.0, 0.0, 5.0, 7.0])
    (found,) = compare_positions([nats], (0, 1, 2, 4), resamples=99)
    assert [(p.first, p.last) for p in found] == [(0, 0), (1, 1), (2, 3), (4, None)]
    assert [(p.nats, p.tokens) for p in found] == [(3.0, 3), (6.0, 2), (4.0, 3), (12.0, 2)]
    assert found[2].value == pytest.approx(np.exp(4 / 3))
    assert found[1].ci95 == pytest.approx((np.exp(2), np.exp(4)))
    assert found[3].ci95 == pytest.approx((np.exp(6), np.exp(6)))  # one utterance reaches so far


def test_bands_that_nothing_reaches_are_left_out():
    (found,) = compare_positions([nats_of([1.0, 1.0, 1.0])], resamples=9)
    assert [p.first for p in found] == [0, 1, 2]


def test_positions_of_systems_are_paired_and_whatever_the_order():
    a, b = nats_of([1.0, 2.0], [3.0, 4.0, 5.0]), nats_of([2.0, 4.0], [6.0, 8.0, 10.0])
    b = dict(reversed(b.items()))
    first, second = compare_positions([a, b], resamples=50)
    assert [first] == compare_positions([a], resamples=50)
    for one, two in zip(first, second, strict=True):
        assert two.nats == 2 * one.nats
        assert two.ci95 == pytest.approx(np.square(one.ci95))  # twice the nats in every resample


def test_positions_of_other_tokens():
    with pytest.raises(ValueError, match="not scored on the same response tokens; rerun stage 10"):
        compare_positions([nats_of([1.0, 2.0]), nats_of([1.0])])
    for given, edges in (({}, (0, 1)), (nats_of([1.0]), (1, 2)), (nats_of([1.0]), (0, 2, 1))):
        with pytest.raises(ValueError, match="edges that rise from 0"):
            compare_positions([given], edges)


def test_blocks_of_draws_are_the_draws(monkeypatch):
    stats = np.random.default_rng(0).normal(size=(50, 3))
    complete = bootstrap_sums(stats, 20)
    monkeypatch.setattr("espnet_audiollm.score.bootstrap.BLOCK", 150)  # three draws at a time
    assert bootstrap_sums(stats, 20) == pytest.approx(complete)
    # One draw after the other, by numpy's own indexing:
    rng = np.random.default_rng(0)
    assert complete[:2] == pytest.approx(
        np.array([stats[rng.integers(50, size=50)].sum(0) for _ in range(2)])
    )
