"""What is masked in training, and what is kept in each iteration: by hand."""

import pytest
import torch

from espnet_audiollm.model.masked_levels import Drawn, choose, draw, left_after, number_masked


@pytest.mark.parametrize(  # cos of 0, 22.5, 45, 60, 67.5 and 90 degrees
    "progress, masked", [(0, 10), (1 / 4, 9), (1 / 2, 7), (2 / 3, 5), (3 / 4, 3), (1, 0)]
)
def test_the_cosine_of_ten_frames(progress, masked):
    assert number_masked(progress, 10) == masked


def test_what_four_iterations_leave_of_ten():
    left, masked = [], 10
    for iteration in range(1, 5):
        masked = left_after(iteration, 4, 10, masked)
        left.append(masked)
    assert left == [9, 7, 3, 0]


def test_each_iteration_fills_a_frame_and_the_last_fills_all():
    assert left_after(1, 16, 3, 3) == 2  # the cosine would leave 2.99, rounded down 2
    assert left_after(1, 100, 200, 200) == 199
    assert left_after(2, 100, 200, 199) == 198  # the cosine leaves 199
    assert left_after(3, 4, 1, 0) == 0
    assert left_after(1, 1, 50, 50) == 0


def test_what_is_hidden():
    asked_T = torch.tensor([False, False, True, False, True])
    hidden_TL = Drawn(prompt=2, level=1, asked_T=asked_T).hidden(3)
    assert hidden_TL[:, 0].tolist() == [False] * 5  # the level before is known
    assert hidden_TL[:, 1].tolist() == asked_T.tolist()
    assert hidden_TL[:, 2].tolist() == [False, False, True, True, True]  # all but the prompt


def test_what_may_be_drawn():
    generator = torch.Generator().manual_seed(1)
    drawn = [draw(8, 3, 0.25, generator) for _ in range(400)]
    assert all(not d.asked_T[: d.prompt].any() and d.asked_T.any() for d in drawn)
    assert {d.level for d in drawn} == {0, 1, 2} and {d.prompt for d in drawn} == set(range(8))
    bare = [d for d in drawn if d.prompt == 0]
    assert len(bare) / 400 == pytest.approx(0.25 + 0.75 / 8, abs=0.08)
    share = sum(int(d.asked_T.sum()) for d in bare) / (8 * len(bare))
    assert share == pytest.approx(0.637 - 1 / 16, abs=0.08)  # 2 / pi, rounded down to frames
    assert all(draw(1, 2, 0.0, generator).asked_T.tolist() == [True] for _ in range(5))
    assert all(draw(5, 2, 1.0, generator).prompt == 0 for _ in range(20))


def test_the_certain_ones_are_kept():
    logits_XK = torch.tensor([[0.0, 1.0], [3.0, 0.0], [0.0, 2.0], [1.0, 0.0]])
    units_X, kept_X = choose(logits_XK, left=2)
    assert units_X.tolist() == [1, 0, 1, 0]
    assert kept_X.tolist() == [False, True, True, False]
    assert choose(logits_XK, left=3)[1].tolist() == [False, True, False, False]
    assert choose(logits_XK, left=0)[1].all() and not choose(logits_XK, left=4)[1].any()
    units_X, kept_X = choose(logits_XK[:0], left=0)
    assert len(units_X) == len(kept_X) == 0


def test_of_equals_the_first_is_kept():
    assert choose(torch.zeros(3, 4), left=2)[1].tolist() == [True, False, False]


def test_units_are_drawn_with_their_probabilities():
    generator = torch.Generator().manual_seed(0)
    logits_XK = torch.tensor([0.7, 0.2, 0.1]).log().expand(5_000, 3)
    units_X, _ = choose(logits_XK, 0, temperature=1.0, generator=generator)
    shares_K = torch.bincount(units_X, minlength=3) / 5_000
    assert shares_K.tolist() == pytest.approx([0.7, 0.2, 0.1], abs=0.03)
    units_X, _ = choose(logits_XK, 0, temperature=0.2, generator=generator)  # 0.7^5 : 0.2^5 : ...
    assert (units_X == 0).float().mean() > 0.99
