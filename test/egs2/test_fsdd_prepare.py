"""Strings of spoken digits: their world, and their making from recordings, small and real."""

import importlib.util
import random
import sys

import corpora
import numpy as np
import pytest
import soundfile
from corpora import fails

from espnet_audiollm.data import kaldi_dir, validation

SPLITS = ("train", "valid", "test_known", "test_new")
SPEAKERS = ("ann", "bob", "cy")


@pytest.fixture(scope="module")
def world(root):
    path = root / "egs2/fsdd/audiollm1/local/world.py"
    spec = importlib.util.spec_from_file_location("fsdd_world", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["fsdd_world"] = module  # its dataclass looks itself up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def corpus(tmp_path):
    """A recording's level tells its digit, its length its speaker and index: see `parts_of`."""
    place = tmp_path / "fsdd" / "recordings"
    place.mkdir(parents=True)
    for digit in range(10):
        for s, speaker in enumerate(SPEAKERS):
            for index in range(10):
                samples = np.full(100 * (s + 1) + index, (digit + 1) / 20)
                soundfile.write(place / f"{digit}_{speaker}_{index}.wav", samples, 8000)
    return tmp_path / "fsdd"


def parts_of(path):
    """[(digit, speaker, index)] of a string made of such recordings, and its pauses in samples."""
    samples, rate = soundfile.read(path)
    assert rate == 8000
    levels = np.round(samples * 20).astype(int) - 1
    edges = np.flatnonzero(np.diff(levels)) + 1
    runs = [(int(run[0]), len(run)) for run in np.split(levels, edges)]
    digits = [(d, SPEAKERS[n // 100 - 1], n % 100) for d, n in runs if d >= 0]
    return digits, [n for d, n in runs if d < 0]


@pytest.fixture
def prepare(root, tmp_path):
    return corpora.preparer(root, "fsdd", tmp_path)


SMALL = ("--num_train", 40, "--num_valid", 10, "--num_test", 20, "--new_speaker", "bob")


def test_answers(world):
    item = world.digit_string([3, 1, 4])
    assert item.prompt == "three one four"
    assert item.response == "the digits are 3 1 4 and their sum is 8 ."
    assert item.answers == ("are 3 1 4 and their sum is 8",)
    assert item.category == "3_digits"


def test_held_out_strings_are_never_sampled_for_training(world):
    rng = random.Random(0)
    train = {world.sample(rng, True).prompt for _ in range(500)}
    test = {world.sample(rng, False).prompt for _ in range(500)}
    assert not train & test
    every = [world.digit_string([a, b, c]) for a in range(10) for b in range(10) for c in range(10)]
    assert 0.15 < sum(not world.is_train(item) for item in every) / 1000 < 0.25


def test_follow_ups(world):
    rng = random.Random(0)
    said = {}
    for _ in range(30):
        item = world.follow_up(rng, world.digit_string([7, 0, 2]))
        said[item.prompt] = item.response
    assert said == {
        "how many digits was that": "that was 3 digits .",
        "and what was the first": "the first was 7 .",
        "and what was the last": "the last was 2 .",
    }
    assert world.follow_up(rng, item) is None


def test_strings(prepare, corpus, tmp_path, world):
    done = prepare("--corpus", corpus, *SMALL, "data")
    assert done.returncode == 0, done.stderr
    indices = {"train": {8, 9}, "valid": {5, 6, 7}, "test_known": set(range(5))}
    sizes = dict(zip(SPLITS, (40, 10, 20, 20), strict=True))
    for split in SPLITS:
        utts = kaldi_dir.load_utterances(tmp_path / "data" / split)
        answers = kaldi_dir.read_dict(tmp_path / "data" / split / "answers")
        category = kaldi_dir.read_dict(tmp_path / "data" / split / "category")
        assert len(utts) == sizes[split] == len(answers)
        assert {u.speaker for u in utts} == ({"bob"} if split == "test_new" else {"ann", "cy"})
        for utt in utts:
            assert utt.audio == f"data/{split}/audio/{utt.id}.wav"  # from the recipe's directory
            digits, pauses = parts_of(tmp_path / utt.audio)
            item = world.digit_string([digit for digit, _, _ in digits])
            assert utt.text == item.prompt
            assert answers[utt.id] == item.answers[0] and category[utt.id] == item.category
            assert {speaker for _, speaker, _ in digits} == {utt.speaker}
            assert {index for _, _, index in digits} <= indices.get(split, set(range(10)))
            assert len(pauses) == len(digits) - 1
            assert all(0.05 * 8000 <= pause <= 0.25 * 8000 for pause in pauses)
            assert world.is_train(item) == (split in ("train", "valid"))


def files(directory):
    return {p.relative_to(directory): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def test_the_seed_decides_and_a_second_run_does_nothing(prepare, corpus, tmp_path):
    prepare("--corpus", corpus, *SMALL, "data")
    first = files(tmp_path / "data")
    assert "made already" in prepare("--corpus", corpus, *SMALL, "data").stderr
    (tmp_path / "data/.fsdd").unlink()  # as after a kill: made again, the same
    (tmp_path / "data/train/audio/leftover.wav").touch()
    assert "made already" not in prepare("--corpus", corpus, *SMALL, "data").stderr
    assert files(tmp_path / "data") == first
    prepare("--corpus", corpus, *SMALL, "--seed", 2, "data")
    assert files(tmp_path / "data") != first


def test_other_recordings_are_other_strings(prepare, corpus, tmp_path):
    """As many files of the same names."""
    prepare("--corpus", corpus, *SMALL, "data")
    first = files(tmp_path / "data/test_new")
    for path in (corpus / "recordings").glob("*_bob_*.wav"):
        soundfile.write(path, np.zeros(100), 8000)
    assert "made already" not in prepare("--corpus", corpus, *SMALL, "data").stderr
    assert files(tmp_path / "data/test_new") != first


def test_a_killed_run_with_other_settings_leaves_no_marker(prepare, corpus, tmp_path):
    """It may have written some of the splits: the first settings make all of them again."""
    prepare("--corpus", corpus, *SMALL, "data")
    first = files(tmp_path / "data")
    (tmp_path / "data/valid").rename(tmp_path / "valid")
    (tmp_path / "data/valid").touch()  # a file in the directory's place ends the run here
    assert prepare("--corpus", corpus, *SMALL, "--seed", 2, "data").returncode != 0
    (tmp_path / "data/valid").unlink()
    (tmp_path / "valid").rename(tmp_path / "data/valid")
    assert files(tmp_path / "data") != first
    assert "made already" not in prepare("--corpus", corpus, *SMALL, "data").stderr
    assert files(tmp_path / "data") == first


def test_training_strings_at_other_speeds(prepare, corpus, tmp_path):
    """Kaldi's names; shorter by the speed, a tone as much higher; other splits as they were."""
    for path in (corpus / "recordings").iterdir():
        tone = 0.5 * np.sin(2 * np.pi * 500 * np.arange(2000) / 8000)
        soundfile.write(path, tone, 8000)
    done = prepare("data", "--corpus", corpus, *SMALL, "--speeds", 1, 0.8)
    assert "40 strings of 2 speakers at 2 speeds" in done.stdout
    utts = {u.id: u for u in kaldi_dir.load_utterances(tmp_path / "data/train")}
    assert len(utts) == 80 and list(utts) == sorted(utts)
    assert {u.speaker for u in utts.values()} == {"ann", "cy", "sp0.8-ann", "sp0.8-cy"}
    for id_ in [id_ for id_ in utts if not id_.startswith("sp")]:
        plain, slow = utts[id_], utts[f"sp0.8-{id_}"]
        assert plain.text == slow.text
        (one, _), (other, _) = (soundfile.read(tmp_path / u.audio) for u in (plain, slow))
        assert abs(len(other) - len(one) / 0.8) <= 1
        heights = [np.abs(np.fft.rfft(x)).argmax() * 8000 / len(x) for x in (one, other)]
        assert heights == pytest.approx([500, 400], abs=8)
    for split in SPLITS[1:]:
        utts = kaldi_dir.load_utterances(tmp_path / "data" / split)
        assert not any(u.id.startswith("sp") for u in utts)
    for speeds in ((0.8, 1.2), (1, 3), (1, "nan")):
        fails(prepare("more", "--corpus", corpus, *SMALL, "--speeds", *speeds), "between 0.5 and 2")


def test_bad_corpora(prepare, corpus, tmp_path):
    fails(prepare("--corpus", tmp_path / "no", "data"), "no such directory")
    (tmp_path / "no").mkdir()
    fails(prepare("--corpus", tmp_path / "no", "data"), "no recording like")
    fails(prepare("--corpus", corpus, "data"), "--new_speaker george", "ann, bob, cy")
    fails(prepare("--corpus", corpus, *SMALL, "--num_valid", 0, "data"), "at least one string")
    for path in (corpus / "recordings").glob("7_cy_[5-9].wav"):
        path.unlink()
    fails(prepare("--corpus", corpus, *SMALL, "data"), "2 kinds", "(first: 7 by cy for train)")
    assert not (tmp_path / "data").exists()


def test_bad_recordings(prepare, corpus, tmp_path):
    place = corpus / "recordings"
    (place / "1_ann_8.wav").write_bytes((place / "1_ann_8.wav").read_bytes()[:100])
    (place / "2_ann_8.wav").write_bytes(b"")
    fails(prepare("--corpus", corpus, *SMALL, "data"), "2 of 300", "truncated", "empty")
    soundfile.write(place / "1_ann_8.wav", np.zeros(100), 8000)
    soundfile.write(place / "2_ann_8.wav", np.zeros(100), 16_000)
    fails(prepare("--corpus", corpus, *SMALL, "data"), "2 different rates", "2_ann_8.wav")
    assert not (tmp_path / "data/.fsdd").exists()


def test_the_real_recordings(prepare, shared, tmp_path):
    done = prepare("--corpus", shared / "data/fsdd", "--num_train", 50, tmp_path / "data")
    assert done.returncode == 0, done.stderr
    for split in SPLITS:
        assert validation.validate(tmp_path / "data" / split, require_text=True) == []
    assert {u.speaker for u in kaldi_dir.load_utterances(tmp_path / "data/test_new")} == {"george"}
