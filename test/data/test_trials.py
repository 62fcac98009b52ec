"""Trials of speaker verification: read, compared with utt2spk, drawn."""

import itertools

import pytest

from espnet_audiollm.data.trials import (
    Trial,
    check_trials,
    draw_trials,
    other_recordings,
    read_trials,
)

SPEAKERS = {f"{speaker}{n}": speaker for speaker in "abc" for n in range(10)}


def test_trials_of_a_file(tmp_path):
    (tmp_path / "t").write_text("1 a0 a1\n0 a0 b/1.wav\n")
    assert read_trials(tmp_path / "t") == [Trial(True, "a0", "a1"), Trial(False, "a0", "b/1.wav")]


@pytest.mark.parametrize(
    "text, says",
    [
        ("1 a b\n2 a b\nx\n", "2 of 3 lines.*first: line 2, '2 a b'.*1 ID ID"),
        ("1 a b\n1 c d\n", "2 of 2 trials are of one speaker.*two recordings"),
        ("", "0 of 0 trials"),
    ],
)
def test_files_that_are_no_trials(tmp_path, text, says):
    (tmp_path / "t").write_text(text)
    with pytest.raises(ValueError, match=says):
        read_trials(tmp_path / "t")


def test_trials_that_do_not_fit_the_data():
    with pytest.raises(ValueError, match="2 of 3 recordings .first: x.*data directory"):
        check_trials([Trial(True, "a0", "x"), Trial(False, "a0", "y")], SPEAKERS, "t")
    with pytest.raises(ValueError, match="1 of 2 trials .first: a0 b0.*utt2spk"):
        check_trials([Trial(True, "a0", "a1"), Trial(True, "a0", "b0")], SPEAKERS, "t")


def test_all_pairs_where_they_are_few():
    trials = draw_trials(SPEAKERS, 435)
    assert [(t.first, t.second) for t in trials] == list(itertools.combinations(SPEAKERS, 2))
    assert sum(t.same for t in trials) == 3 * 45


def test_drawn_pairs_are_balanced_distinct_and_follow_from_the_seed():
    trials = draw_trials(SPEAKERS, 100, seed=3)
    assert sum(t.same for t in trials) == 50 and len(set(trials)) == 100
    assert all(t.first < t.second for t in trials)
    assert all(t.same == (t.first[0] == t.second[0]) for t in trials)
    assert trials == draw_trials(SPEAKERS, 100, seed=3) != draw_trials(SPEAKERS, 100, seed=4)
    assert sum(t.same for t in draw_trials(SPEAKERS, 434)) == 3 * 45  # there are no more


@pytest.mark.parametrize("speakers", [{"a0": "a", "a1": "a"}, {"a0": "a", "b0": "b"}])
def test_recordings_without_pairs_of_both_kinds(speakers):
    with pytest.raises(ValueError, match="2 recordings of . speakers.*of 1 trials"):
        draw_trials(speakers, 10)


def test_another_recording_of_the_speaker_and_of_another():
    audio = {id_: f"{id_}.wav" for id_ in SPEAKERS} | {"c1": "c0.wav", "d0": "d.wav"}
    speakers = {id_: SPEAKERS[id_] for id_ in ("a0", "a1", "a2", "b0", "b1", "c0", "c1")}
    same, other = other_recordings(audio, speakers, ["a0", "b0", "c0"], seed=1)
    assert same.keys() == {"a0", "b0"}  # c1 is the file of c0
    assert all(same[i] != i and speakers[same[i]] == speakers[i] for i in same)
    assert other.keys() == {"a0", "b0", "c0"}
    assert all(speakers[other[i]] != speakers[i] for i in other)
    assert other_recordings(audio, {"a0": "a", "a1": "a"}, ["a0"])[1] == {}
