"""Units at the frames of another rate."""

import pytest

from espnet_audiollm.data.aligned_units import aligned, check_same_length, number_of_frames


@pytest.mark.parametrize(
    "frames, rate, number, other, found",
    [
        ([7, 8], 12.5, 4, 25.0, [7, 7, 8, 8]),
        (
            [7, 8, 9, 6],
            25.0,
            2,
            12.5,
            [8, 6],
        ),  # the middle of 80 ms is where its second unit begins
        ([7, 8], 25.0, 6, 75.0, [7, 7, 7, 8, 8, 8]),
        ([7, 8, 9], 75.0, 2, 50.0, [7, 9]),  # at 10 and 30 ms; units begin at 0, 13.3 and 26.7
        ([7, 8], 12.5, 6, 25.0, [7, 7, 8, 8, 8, 8]),  # past the end
        ([7], 25.0, 1, 86.1328125, [7]),
    ],
)
def test_the_unit_in_the_middle_of_a_frame(frames, rate, number, other, found):
    assert aligned(frames, rate, number, other) == found


def test_no_units():
    with pytest.raises(ValueError, match="no units"):
        aligned([], 25.0, 3, 50.0)


@pytest.mark.parametrize(
    "number, rate, other, found", [(10, 25.0, 50.0, 20), (10, 25.0, 12.5, 5), (1, 75.0, 12.5, 1)]
)
def test_frames_of_the_other_rate(number, rate, other, found):
    assert number_of_frames(number, rate, other) == found


def test_units_of_other_recordings():
    check_same_length(25, 12.5, 53, 25.0)  # 2.00 and 2.12 s
    with pytest.raises(ValueError, match="2.00 s of semantic units and 3.20 s.*extract_units"):
        check_same_length(25, 12.5, 80, 25.0)
