"""Units of several levels as one sequence, and delayed; by hand."""

import pytest

from espnet_audiollm.data.unit_levels import delay, flatten, undelay, unflatten

LEVELS = [[3, 1, 0], [2, 2, 3]]  # two levels of three frames, four units each


def test_flattened_frame_by_frame():
    assert flatten(LEVELS, 4) == [3, 4 + 2, 1, 4 + 2, 0, 4 + 3]
    assert unflatten([3, 6, 1, 6, 0, 7], 4, 2) == LEVELS
    assert flatten([[1, 2]], 4) == [1, 2]


def test_delayed_by_a_frame_a_level():
    assert delay(LEVELS, 9) == [[3, 1, 0, 9], [9, 2, 2, 3]]
    assert delay([[1], [2], [3]], 9) == [[1, 9, 9], [9, 2, 9], [9, 9, 3]]
    assert undelay([[3, 1, 0, 9], [9, 2, 2, 3]], 9) == LEVELS
    assert undelay(delay([[1], [2], [3]], 9), 9) == [[1], [2], [3]]


@pytest.mark.parametrize(
    "run, says",
    [
        (lambda: flatten([[1, 2], [1]], 4), "2 levels of .1, 2. frames"),
        (lambda: flatten([[1, 4], [1, 9]], 4), "2 units .first: 4 of level 1.*0 to 3"),
        (lambda: unflatten([3, 2], 4, 2), "1 of 2 units.*first: 2 at place 1"),
        (lambda: unflatten([3, 6, 1], 4, 2), "3 units do not fill.*last 1"),
        (lambda: delay([[1, 9], [1, 2]], 9), "1 units .first: 9 of level 1"),
        (lambda: undelay([[3, 9, 9], [9, 2, 2]], 9), "1 units .first: 9 of level 1"),
    ],
)
def test_what_cannot_be(run, says):
    with pytest.raises(ValueError, match=says):
        run()
