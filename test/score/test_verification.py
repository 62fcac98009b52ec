"""EER, minDCF and mean cosines: by hand, and against scikit-learn's curve."""

import numpy as np
import pytest

from espnet_audiollm.score.verification import (
    ErrorCurve,
    equal_error_rate,
    min_detection_cost,
    verify,
)
from espnet_audiollm.score.voices import VoiceScores, mean_cosine


def eer(scores, same, weights=None):
    curve = ErrorCurve(np.array(scores, float), np.array(same, bool))
    return equal_error_rate(*curve(None if weights is None else np.array(weights, float)))


@pytest.mark.parametrize(
    "scores, same, expected",
    [
        ([4, 3, 2, 1], [1, 1, 0, 0], 0.0),
        ([4, 3, 2, 1], [0, 0, 1, 1], 100.0),
        ([4, 3, 2, 1], [1, 0, 1, 0], 50.0),
        ([7, 7, 7, 7], [1, 0, 1, 0], 50.0),  # one threshold: on the line between all and nothing
        ([6, 5, 4, 3, 2, 1], [1, 1, 0, 1, 0, 0], 100 / 3),
        ([5, 4, 3, 2, 1], [1, 0, 1, 0, 0], 100 / 3),  # misses 1/2, accepted 1/3; then 0, 1/3
    ],
)
def test_equal_error_rate(scores, same, expected):
    assert eer(scores, same) == pytest.approx(expected)


def test_a_weight_is_as_the_trial_several_times():
    scores, same, times = [5, 4, 3, 2, 1], [1, 0, 1, 0, 0], [2, 1, 3, 0, 2]
    repeated = [np.repeat(row, times) for row in (scores, same)]
    assert eer(scores, same, times) == pytest.approx(eer(*repeated))
    assert np.isnan(eer(scores, same, [1, 0, 1, 0, 0]))


def test_errors_and_costs_are_those_of_another_curve():
    from sklearn.metrics import roc_curve

    rng = np.random.default_rng(0)
    same = rng.random(500) < 0.3
    scores = (rng.normal(same * 1.5, 1)).round(1)  # with ties
    accepted, found, _ = roc_curve(same, scores, drop_intermediate=False)
    curve = ErrorCurve(scores, same)
    np.testing.assert_allclose(np.array(curve()), [1 - found, accepted], atol=1e-12)
    for p in (0.01, 0.5, 0.9):
        cost = (p * (1 - found) + (1 - p) * accepted).min() / min(p, 1 - p)
        assert min_detection_cost(*curve(), p) == pytest.approx(cost)


def test_the_cost_of_who_looks_at_nothing_is_one():
    curve = ErrorCurve(np.zeros(4), np.array([True, False, True, False]))
    assert min_detection_cost(*curve(), 0.01) == min_detection_cost(*curve(), 0.7) == 1


def test_intervals_are_over_speakers():
    """A hundred pairs of five speakers say no more than five speakers do."""
    rng = np.random.default_rng(1)
    good = dict(zip("abcde", [0.9, 0.9, 0.9, 0.9, 0.1], strict=True))
    pairs = [(a, b) for a in good for b in good for _ in range(20 if a == b else 5)]
    same = [a == b for a, b in pairs]
    scores = [good[a] if a == b else 0.5 + 0.01 * rng.random() for a, b in pairs]
    found = verify(scores, same, pairs, resamples=300)
    assert (found.trials, found.targets, found.speakers) == (200, 100, 5)
    low, high = found.eer_ci95
    assert low < 1 < found.eer < 30 < high  # "e" may come three times, or not at all
    assert found == verify(scores, same, pairs, resamples=300)
    assert found.as_dict()["eer"] == found.eer


def test_mean_cosines():
    cosines = {"a0": 0.9, "a1": 0.7, "b0": 0.2}
    found = mean_cosine(cosines, {"a0": "a", "a1": "a", "b0": "b"}, 200)
    assert found.mean == pytest.approx(0.6) and found.recordings == 3
    assert found.ci95 == pytest.approx((0.2, 0.8))  # draws are of two speakers
    one = mean_cosine(cosines, dict.fromkeys(cosines, "a"), 200)  # over recordings
    assert one.mean == found.mean and 0.2 <= one.ci95[0] < 0.5 < 0.7 < one.ci95[1] <= 0.9
    assert mean_cosine({}, {}) is None
    scores = VoiceScores(found, None)
    assert VoiceScores.from_dict(scores.as_dict()) == scores
    with pytest.raises(ValueError, match="judge the speech again"):
        VoiceScores.from_dict({"similarity": {"mean": 1}})
