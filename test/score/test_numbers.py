import pytest

from espnet_audiollm.score.numbers import numbers


@pytest.mark.parametrize(
    "text, expected",
    [
        ("twenty-one", [21]),
        ("Twenty one.", [21]),
        ("It is 21.", [21]),
        ("the 21st, 21.0", [21, 21]),
        ("one hundred and five", [105]),
        ("a hundred thousand and two", [100_002]),
        ("three hundred twenty-one thousand four hundred and six", [321_406]),
        ("five million two hundred", [5_000_200]),
        ("1,250,000 or 1.25 million", [1_250_000, 1_250_000]),
        ("two point five, zero point zero five", [2.5, 0.05]),
        ("minus three, -3, \u22123", [-3, -3, -3]),
        ("10-3", [10, 3]),
        ("two three", [2, 3]),
        ("two and three", [2, 3]),
        ("nineteen sixty-nine", [19, 69]),
        ("3/4", [3, 4]),
        ("1,2345", [1, 2345]),
        ("a one-way street, someone, tenth, v2, weighty", [1]),
        ("twenty zero", [20, 0]),
        ("one million one million", [1_000_000, 1_000_000]),
        ("point five", [5]),
        ("the point", []),
        ("hundred", []),
        ("minus", []),
        ("", []),
    ],
)
def test_numbers(text, expected):
    assert numbers(text) == pytest.approx(expected)
