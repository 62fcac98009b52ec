"""Batches that are bounded by the LLM's positions."""

import numpy as np
import pytest

from espnet_audiollm.data.batches import Plan, Rules
from espnet_audiollm.data.position_bound import PositionBound

RATE = 12.5 / 16_000  # positions of a sample: one for each 80 ms


def shapes(tmp_path, samples, tokens):
    for name, values in (("speech", samples), ("response", tokens)):
        lines = (f"u{i:03} {value}\n" for i, value in enumerate(values))
        (tmp_path / name).write_text("".join(lines))
    return [tmp_path / "speech", tmp_path / "response"]


def rules(bins=10**9, **more):
    return Rules("numel", bins, 0, **more)


def test_positions_by_hand():
    """A second is 12.5 positions: 12 complete ones, 1 for the rest; 5 of the prompt, 7 tokens."""
    bound = PositionBound(100, RATE, 1, 5)
    found = bound.positions(np.array([16_000, 32_000]), np.array([7, 1]))
    assert found.tolist() == [5 + 12 + 1 + 7, 5 + 25 + 1 + 1]


def test_positions_of_prompts_of_their_own(tmp_path):
    """The second one has two recordings, and each may have a position more."""
    (tmp_path / "prompt_ids").write_text("a 1 -1 2\nb 1 -1 4 4 -1 2\n")
    bound = PositionBound(100, RATE, 2, 0, str(tmp_path / "prompt_ids"))
    found = bound.positions(np.array([16_000, 16_000]), np.array([1, 1]))
    assert found.tolist() == [3 + 2 + 12 + 1, 6 + 4 + 12 + 1]
    with pytest.raises(ValueError, match="prompt_ids has 2 prompts.*3 utterances.*stages 7 and 8"):
        bound.positions(np.array([16_000] * 3), np.array([1] * 3))


@pytest.mark.parametrize("smallest", [1, 3])
@pytest.mark.parametrize("bins", [10**9, 700_000])
def test_no_batch_has_more_and_none_could_have_one_more(tmp_path, bins, smallest):
    random = np.random.default_rng(3)
    samples, tokens = random.integers(8_000, 80_000, 200), random.integers(1, 60, 200)
    bound = PositionBound(500, RATE, 1, 8)
    found = shapes(tmp_path, samples, tokens)
    plan = Plan(found, rules(bins, min_batch_size=smallest), tmp_path / "plan", bound)
    batches = [plan.batch(i) for i in range(len(plan))][::-1]  # short ones first
    positions = bound.positions(samples, tokens)
    assert sorted(np.concatenate(batches).tolist()) == [*range(200)]
    assert max(positions[rows].sum() for rows in batches) <= 500
    assert plan.smallest >= smallest
    for rows, after in zip(batches[:-2], batches[1:], strict=False):
        full = positions[rows].sum() + positions[after[-1]] > 500
        large = len(rows) * (samples[rows].max() + tokens[rows].max()) > bins
        assert full or large


def test_a_large_bound_changes_nothing(tmp_path):
    random = np.random.default_rng(4)
    found = shapes(tmp_path, random.integers(8_000, 80_000, 50), random.integers(1, 60, 50))
    plain = Plan(found, rules(400_000), tmp_path / "plain")
    bounded = Plan(found, rules(400_000), tmp_path / "bounded", PositionBound(10**6, RATE, 1, 8))
    assert plain.digest == bounded.digest


def test_another_bound_makes_other_batches(tmp_path):
    found = shapes(tmp_path, [16_000] * 8, [3] * 8)  # 5 + 13 + 3 = 21 positions each
    for most, batches in ((42, 4), (84, 2), (84, 2)):
        plan = Plan(found, rules(), tmp_path / "plan", PositionBound(most, RATE, 1, 5))
        assert len(plan) == batches


@pytest.mark.parametrize(
    ("most", "smallest", "message"),
    [
        (40, 1, r"2 of 3 .*--max_positions 40 .*u001, 45\): give 70 or more, .*--max_audio"),
        (100, 2, r"--max_positions 100 .*all 2 processes.*u002\) has 70: give 140 or more"),
    ],
)
def test_a_single_utterance_that_is_too_long(tmp_path, most, smallest, message):
    found = shapes(tmp_path, [16_000, 32_000, 64_000], [3, 14, 14])  # 21, 45, 70 positions
    bound = PositionBound(most, RATE, 1, 5)
    with pytest.raises(ValueError, match=message):
        Plan(found, rules(min_batch_size=smallest), tmp_path / "plan", bound)


def test_what_cannot_be_bounded(tmp_path):
    found, bound = shapes(tmp_path, [16_000], [3]), PositionBound(99, RATE, 1, 5)
    with pytest.raises(ValueError, match="99 is for --batch_type numel, not sorted"):
        Plan(found, Rules("sorted", 0, 4), tmp_path / "plan", bound)
    with pytest.raises(ValueError, match="two shape files.*there are 1"):
        Plan(found[:1], rules(), tmp_path / "plan", bound)
