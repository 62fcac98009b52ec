"""Units of several levels as one sequence, by hand."""

import pytest

from espnet_audiollm.data.unit_levels import flatten, unflatten

LEVELS = [[3, 1, 0], [2, 2, 3]]  # two levels of three frames, four units each


def test_flattened_frame_by_frame():
    assert flatten(LEVELS, 4) == [3, 4 + 2, 1, 4 + 2, 0, 4 + 3]
    assert unflatten([3, 6, 1, 6, 0, 7], 4, 2) == LEVELS
    assert flatten([[1, 2]], 4) == [1, 2]


@pytest.mark.parametrize(
    "run, says",
    [
        (lambda: flatten([[1, 2], [1]], 4), "2 levels of .1, 2. frames"),
        (lambda: flatten([[1, 4], [1, 9]], 4), "2 units .first: 4 of level 1.*0 to 3"),
        (lambda: unflatten([3, 2], 4, 2), "1 of 2 units.*first: 2 at place 1"),
        (lambda: unflatten([3, 6, 1], 4, 2), "3 units do not fill.*last 1"),
    ],
)
def test_what_cannot_be(run, says):
    with pytest.raises(ValueError, match=says):
        run()
