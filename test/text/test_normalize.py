import pytest

from espnet_audiollm.text.normalize import normalize, words


@pytest.mark.parametrize(
    "text, expected",
    [
        ("The Capital of France, is Paris!", "the capital of france is paris"),
        ("don't  stop\tnow\n", "don't stop now"),
        ("DON\u2019T", "don't"),
        ("the word is 'gato'.", "the word is gato"),
        ("dogs' 'tis", "dogs tis"),
        ("well-known", "well known"),
        ("2 + 3 = 5", "2 3 5"),
        ("¿Qué? Ma\u00f1ana", "qué ma\u00f1ana"),
        ("man\u0303ana", "ma\u00f1ana"),  # a combining tilde is the same letter
        ("", ""),
        ("...", ""),
    ],
)
def test_normalize(text, expected):
    assert normalize(text) == expected
    assert normalize(expected) == expected


def test_words():
    assert words("Three, one -- four.") == ["three", "one", "four"]
