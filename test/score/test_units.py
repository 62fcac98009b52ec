"""The report card of units: what tells the words, what tells the voice, by known sources."""

from dataclasses import replace

import numpy as np
import pytest

from espnet_audiollm.score.units import (
    Spoken,
    WordUnits,
    entropy,
    held_out_bits,
    report,
    split_in_halves,
)

WORDS = "ant bee cat dog elk fox gnu hen".split()
FRAMES = 6  # of a word


def corpus(unit_of, number=120, seed=0):
    """Recordings of four words; `unit_of(word, speaker, random)` is the unit of a frame."""
    rng = np.random.default_rng(seed)
    made = []
    for n in range(number):
        words, speaker = rng.integers(8, size=4), n % 5
        frames = [int(unit_of(word, speaker, rng)) for word in words for _ in range(FRAMES)]
        spoken = tuple(WORDS[word] for word in words)
        made.append(Spoken(f"u{n:03d}", frames, len(frames), spoken, f"s{speaker}"))
    return made


def shares(unit_of, size, **more):
    found = report(corpus(unit_of, **more), size, 25.0, resamples=50)
    return found.words.percent, found.voice.percent


def test_units_of_words():
    words, voice = shares(lambda word, speaker, rng: word, 8)
    assert 50 < words < 95 and -5 < voice < 5


def test_units_of_voices():
    words, voice = shares(lambda word, speaker, rng: speaker, 5)
    assert words < 5 and voice > 80


def test_the_voices_interval_is_over_speakers():
    """Five of them, of whom two are told: 120 recordings would seem to say more."""
    voiced = corpus(lambda word, speaker, rng: speaker if speaker < 2 else rng.integers(2, 5))
    low, high = report(voiced, 5, 12.5).voice.ci95
    assert high - low > 30  # over recordings: 12
    single = [replace(each, speaker="s") for each in voiced]
    low, high = report(single, 5, 12.5).voice.ci95
    assert low <= high


def test_units_of_both():
    words, voice = shares(lambda word, speaker, rng: 5 * word + speaker, 40, number=240)
    assert words > 30 and 25 < voice < 50  # log 5 of log 40 bits are the speaker's: 44 %


def test_units_of_neither_tell_nothing():
    words, voice = shares(lambda word, speaker, rng: rng.integers(50), 50)
    assert -1 < words < 1 and -1 < voice < 1  # a plug-in estimate would be far above 0


def test_counts_by_hand():
    spoken = [
        Spoken("a", [0, 0, 1, 1, 1, 0], 3, ("ant",), "s"),
        Spoken("b", [2, 2], 2, ("bee",), "t"),
    ]
    found = report(spoken, 10, 4.0, resamples=5)
    assert (found.recordings, found.speakers, found.size, found.used) == (2, 2, 10, 3)
    assert (found.frames, found.units, found.runs) == (8, 5, 4)
    assert found.seconds == 2.0 and found.units_per_second == 2.5 and found.run_length == 2.0
    thirds = np.array([3, 3, 2]) / 8
    assert found.entropy == pytest.approx(-(thirds * np.log2(thirds)).sum())
    assert entropy(np.array([4, 4, 0, 4, 4])) == 2.0


def test_a_speakers_bits_by_hand():
    known = [Spoken("a", [0] * 60, 60, (), "s"), Spoken("b", [1] * 60, 60, (), "t")]
    unseen = [Spoken("c", [0], 1, (), "s"), Spoken("d", [0], 1, (), "new")]
    bits = held_out_bits(known, unseen, 2)
    # the speaker's 60 and 20 average frames, half of them 0: 70 of 80
    assert bits[0, 1] == pytest.approx(np.log2(70 / 80 / 0.5)) and bits[1, 1] == 0.0
    assert bits[:, 2] == pytest.approx([1.0, 1.0])


def test_places_of_words_by_hand():
    each = Spoken("a", [0] * 8, 8, ("ab", "cd"), "s")  # with silences four words of two letters
    likely_W = np.exp(-10 * np.abs(0.5 / 8 - np.array([1, 3, 5, 7]) / 8))
    np.testing.assert_allclose(each.prior_TW[0], likely_W / likely_W.sum())
    assert each.prior_TW[3].argmax() == 1 and each.prior_TW[7].argmax() == 3


def test_the_words_units_are_found():
    known = corpus(lambda word, speaker, rng: word)
    learned = WordUnits.learn(known, np.full(8, 1 / 8))
    best = [int(learned.table_VK[learned.rows[word]].argmax()) for word in WORDS]
    assert best == list(range(8))


def test_unseen_words_are_the_average():
    learned = WordUnits.learn(corpus(lambda word, speaker, rng: word), np.full(8, 1 / 8))
    each = Spoken("x", [0, 5], 2, ("yak",) * 50, "s")  # silences weigh 4 of 154 letters
    np.testing.assert_allclose(learned.likely(each), 1 / 8, rtol=0.15)


def test_halves_share_speakers():
    made = [Spoken(f"u{n}", [0], 1, (), speaker) for n, speaker in enumerate("aaabbcdef")]
    halves = split_in_halves(made)
    assert sorted(len(half) for half in halves) == [4, 5]
    for speaker in "ab":
        assert all(any(each.speaker == speaker for each in half) for half in halves)


def test_one_recording_is_too_few():
    with pytest.raises(ValueError, match="at least 2"):
        report(corpus(lambda word, speaker, rng: word, number=1), 8, 25.0)
