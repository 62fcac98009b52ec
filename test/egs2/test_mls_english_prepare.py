"""Multilingual LibriSpeech's preparation on a small corpus in the true layout."""

import importlib.util

import corpora
import pytest
from corpora import fails, utterances

from espnet_audiollm.data import audio


@pytest.fixture
def mls(tmp_path):
    corpora.mls(tmp_path / "mls english")
    return tmp_path / "mls english"


@pytest.fixture
def prepare(root, tmp_path):
    return corpora.preparer(root, "mls_english", tmp_path)


SUBSET = ("--subset", "true")


@pytest.mark.parametrize("suffix", ["opus", "flac"])
def test_layout(prepare, tmp_path, suffix):
    corpora.mls(tmp_path / "mls", suffix)
    done = prepare("--corpus", tmp_path / "mls", *SUBSET, "data")
    assert done.returncode == 0, done.stderr
    assert "data/train: 6 utterances of 2 speakers" in done.stdout
    assert "data/train: of 0.03 hours" in done.stdout  # 6 x 18 s
    train = utterances(tmp_path / "data/train")
    assert list(train)[:3] == ["100_7_000000", "100_7_000001", "10_70_000000"]
    utt = train["10_7_000001"]
    assert (utt.text, utt.speaker) == ("well-known number 1", "10")
    assert utt.audio == str(tmp_path / f"mls/train/audio/10/7/10_7_000001.{suffix}")
    assert abs(len(audio.read_mono_16k(utt.audio)) - 1600) <= 320  # 0.1 s; Opus pads
    assert list(utterances(tmp_path / "data/valid")) == ["3_1_000000", "3_1_000001"]
    assert list(utterances(tmp_path / "data/test")) == ["4_2_000000", "4_2_000001"]
    assert {path.name for path in (tmp_path / "data").iterdir()} == {"train", "valid", "test"}


def test_counts_are_the_published_ones(prepare, mls, tmp_path):
    sentence = "utterances for data/train: 6, not 10808037 as published; utterances for data/valid"
    fails(prepare("--corpus", mls, "data"), sentence, "say --subset true")
    assert not (tmp_path / "data/train").exists()


def test_limited_supervision(prepare, mls, tmp_path):
    for part, ids in (("1h", ["10_7_000001"]), ("10h", ["10_70_000000", "10_7_000001"])):
        done = prepare("--corpus", mls, *SUBSET, "--train_part", part, "data")
        assert done.returncode == 0, done.stderr
        assert list(utterances(tmp_path / "data/train")) == ids
    (mls / "train/limited_supervision/9hr/handles.txt").unlink()
    fails(prepare("--corpus", mls, "--train_part", "10h", "data"), "holds no 9hr/handles.txt")


@pytest.fixture
def complete(root, mls, tmp_path, monkeypatch, capsys):
    """call(): prepare a corpus of which no more than this is published; what stderr says."""
    path = root / "egs2/mls_english/audiollm1/local/prepare.py"
    spec = importlib.util.spec_from_file_location("mls_english_prepare", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "PUBLISHED", {"train": 6, "dev": 2, "test": 2})
    monkeypatch.chdir(tmp_path)

    def call():
        assert module.main(["--corpus", str(mls), "data"]) == 0
        return capsys.readouterr().err

    return call


def test_a_second_run_does_nothing_until_the_corpus_changes(complete, mls, tmp_path):
    complete()
    before = (tmp_path / "data/train/text").stat().st_mtime_ns
    assert "made already" in complete()
    assert (tmp_path / "data/train/text").stat().st_mtime_ns == before
    transcripts = mls / "train/transcripts.txt"
    transcripts.write_text(transcripts.read_text().replace("well-known", "famous"))
    assert "made already" not in complete()
    assert utterances(tmp_path / "data/train")["10_7_000000"].text == "famous number 0"


def test_a_part_of_the_corpus_may_grow(complete, prepare, mls, tmp_path):
    """Recordings that came since the last run are found, and no marker speaks for the others."""
    complete()
    later = mls / "train/audio/10/7/10_7_000000.opus"
    later.rename(tmp_path / "later.opus")
    prepare("--corpus", mls, *SUBSET, "data")
    assert "10_7_000000" not in utterances(tmp_path / "data/train")
    (tmp_path / "later.opus").rename(later)
    assert "made already" not in prepare("--corpus", mls, *SUBSET, "data").stderr
    assert "10_7_000000" in utterances(tmp_path / "data/train")
    assert "made already" not in complete()


def spoil(mls):
    (mls / "train/audio/10/7/10_7_000000.opus").unlink()
    transcripts = mls / "train/transcripts.txt"
    lines = transcripts.read_text().splitlines()
    lines.remove("100_7_000001\twell-known number 1")
    transcripts.write_bytes(
        b"\xef\xbb\xbf"  # a byte order mark and Windows' line ends are no fault
        + "\r\n".join([*reversed(lines), "10_70_000001\ttwice", "10_70_000001 no tab", ""]).encode()
        + b"\r\n100_7_000000\tna\xefve\r\n"
    )


def test_all_faults_in_one_report(prepare, mls, tmp_path):
    spoil(mls)
    fails(
        prepare("--corpus", mls, "data"),
        "1 transcripts without audio (first: 10_7_000000)",
        f"1 recordings without a transcript (first: {mls}/train/audio/100/7/100_7_000001.opus)",
        "1 ids that come twice (first: 10_70_000001)",
        "1 lines that are not SPEAKER_BOOK_NUMBER<TAB>TEXT (first: line 7)",
        "1 lines that are not UTF-8 (first: line 9)",
        "unpack the archive again; where a part of the corpus is meant, say --subset true",
    )
    assert not (tmp_path / "data/train").exists()
    assert not list((tmp_path / "data").iterdir())  # nothing half-sorted either


def test_a_subset_leaves_gaps_out_but_no_faults(prepare, mls, tmp_path):
    (mls / "train/audio/10/7/10_7_000000.opus").unlink()
    with open(mls / "train/transcripts.txt", "a") as out:
        out.write("9_9_000000\t \n")
    done = prepare("--corpus", mls, *SUBSET, "data")
    assert done.returncode == 0, done.stderr
    assert "left out 1 transcripts without audio (first: 10_7_000000)" in done.stdout
    assert "left out 1 transcripts without a word (first: 9_9_000000)" in done.stdout
    assert "10_7_000000" not in utterances(tmp_path / "data/train")
    spoil_ids = mls / "dev/transcripts.txt"
    spoil_ids.write_text(spoil_ids.read_text() * 2)
    fails(prepare("--corpus", mls, *SUBSET, "data"), "2 ids that come twice (first: 3_1_000000)")


def test_missing_corpus(prepare, mls, tmp_path):
    fails(prepare("--corpus", tmp_path / "no", "data"), "--mls_english", "no such directory")
    (mls / "dev/transcripts.txt").rename(mls / "dev/text.txt")
    fails(prepare("--corpus", mls, "data"), "holds no transcripts.txt")
