"""Witten and Bell's language models: shares by hand, sums of one, what is refused."""

import numpy as np
import pytest

from espnet_audiollm.text.arpa import BEGIN, END
from espnet_audiollm.text.ngrams import witten_bell

SAID = [["a", "b"], ["a"], [], ["a", "b", "b"]]


def test_shares_by_hand():
    model = witten_bell(SAID, 2)
    assert model.words == [BEGIN, END, "a", "b"]
    assert [model.probability(word) for word in model.words[1:]] == pytest.approx([1 / 3] * 3)
    # after "a": b twice, the end once: 2 successors, 3 times
    assert model.probability("b", "a") == pytest.approx((2 + 2 / 3) / 5)
    assert model.probability("a", "a") == pytest.approx((0 + 2 / 3) / 5)
    assert model.probability("a", BEGIN) == pytest.approx((3 + 1 / 3) / 4)


def test_a_longer_context_falls_back_on_the_shorter_one():
    model = witten_bell(SAID, 3)
    # after "a b": the end once, b once. After b: the end twice, b once, of which 2 in 5 are shared.
    after_b = {END: (2 + 2 / 3) / 5, "b": (1 + 2 / 3) / 5, "a": (2 / 3) / 5}
    for word, times in ((END, 1), ("b", 1), ("a", 0)):
        expected = (times + 2 * after_b[word]) / 4
        assert model.probability(word, "a", "b") == pytest.approx(expected)


def test_what_the_text_lacks_has_a_share_where_there_is_a_vocabulary():
    """9 words of 3 kinds; 4 words (the end among them) share 3 of 12."""
    model = witten_bell(SAID, 2, ["c", "a"])
    assert model.probability("c") == pytest.approx(3 / 4 / 12)
    assert model.probability("a") == pytest.approx((3 + 3 / 4) / 12)
    assert model.probability("a", "c") == pytest.approx(model.probability("a"))


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("vocabulary", [None, ["x", "y"]])
def test_shares_add_up_after_any_context(order, vocabulary):
    rng = np.random.default_rng(1)
    said = [list(rng.choice(list("abcd"), rng.integers(0, 7))) for _ in range(60)]
    model = witten_bell(said, order, vocabulary)
    for length in range(order + 2):
        for _ in range(20):
            context = rng.integers(0, len(model.words), length).tolist()
            assert np.exp(model.log_p(context))[1:].sum() == pytest.approx(1)
            assert np.exp(model.log_p(context))[0] < 1e-90  # BEGIN


@pytest.mark.parametrize(
    ("sentences", "order", "message"),
    [
        ([[], []], 2, "no words"),
        (SAID, 0, "order 0 cannot be: give 1"),
        (SAID, 6, "needs sentences of 4 words or more, and the longest has 3: .* order of 5 or"),
        ([["a", END]], 2, "<s> or </s> as a word, 1 times"),
        ([["a", "b c"]], 2, "1 words .first: 'b c'. are empty or have a space"),
    ],
)
def test_refusals(sentences, order, message):
    with pytest.raises(ValueError, match=message):
        witten_bell(sentences, order)


def test_the_highest_order_that_a_text_has():
    assert witten_bell(SAID, 5).probability(END, BEGIN, "a", "b", "b") == pytest.approx(
        (1 + witten_bell(SAID, 4).probability(END, "a", "b", "b")) / 2
    )
