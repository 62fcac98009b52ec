"""The judge's language model: counts by hand, sums of one, and that others can read it."""

import pytest

from espnet_audiollm.text.arpa import BEGIN, END, Bigrams

SAID = [["a", "b"], ["a"], [], ["a", "b", "b"]]


def test_shares_by_hand():
    model = Bigrams.of(SAID)
    assert model.words == {"a": 3, "b": 3, END: 3}
    # after "a": b twice, the end once: 2 successors, 3 times
    assert model.probability("b", "a") == pytest.approx((2 + 2 / 3) / 5)
    assert model.probability("a", "a") == pytest.approx((0 + 2 / 3) / 5)
    assert model.probability("a", BEGIN) == pytest.approx((3 + 1 / 3) / 4)


@pytest.mark.parametrize("before", [BEGIN, "a", "b"])
def test_shares_add_up(before):
    model = Bigrams.of(SAID)
    assert sum(model.probability(word, before) for word in model.words) == pytest.approx(1)


def test_the_file_says_the_same():
    model, found, backoff = Bigrams.of(SAID), {}, {}
    for line in model.arpa().splitlines():
        log, *words = line.split() or [""]
        if not log.startswith("-") and log != "0.000000":
            continue
        if len(words) == 2 and words[1].lstrip("-").replace(".", "").isdigit():
            backoff[words[0]] = float(words[1])
        found[tuple(w for w in words if not w.lstrip("-").replace(".", "").isdigit())] = float(log)
    for before in (BEGIN, "a", "b"):
        for word in model.words:
            log = found.get((before, word))
            if log is None:
                log = backoff[before] + found[(word,)]
            assert 10**log == pytest.approx(model.probability(word, before), rel=1e-4)


def test_nothing_said():
    with pytest.raises(ValueError, match="no words"):
        Bigrams.of([[], []])
