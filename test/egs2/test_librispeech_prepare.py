"""LibriSpeech's data preparation, on a small corpus in the true layout and on the real one."""

import hashlib
import io
import subprocess
import sys
import tarfile

import corpora
import pytest
from corpora import fails, served

from espnet_audiollm.data import kaldi_dir, validation

SUBSET = ("--subset", "true")


@pytest.fixture
def corpus(tmp_path):
    for part in ("train-clean-100", "dev-clean"):
        corpora.librispeech_part(tmp_path / "Libri Speech", part)
    corpora.librispeech_part(tmp_path / "Libri Speech", "test-clean", speakers=("8",))
    return tmp_path / "Libri Speech"  # a path with a space


@pytest.fixture
def prepare(root, tmp_path):
    return corpora.preparer(root, "librispeech", tmp_path)


def test_layout(prepare, corpus, tmp_path):
    splits = ("data/train=train-clean-100,dev-clean", "data/test=test-clean")
    # The same ids stand in two parts here: they are refused, and nothing is taken for complete.
    fails(prepare("--corpus", corpus, *SUBSET, *splits), "8 ids that come twice")
    assert not (tmp_path / "data/train").exists()
    splits = ("data/train=train-clean-100", "data/test=test-clean")
    done = prepare("--corpus", corpus, *SUBSET, *splits)
    assert done.returncode == 0, done.stderr
    assert "data/train: 8 utterances of 2 speakers" in done.stdout
    assert validation.validate(tmp_path / "data/train", require_text=True) == []
    utts = kaldi_dir.load_utterances(tmp_path / "data/train")
    assert [u.id for u in utts][:2] == ["19-198-0000", "19-198-0001"]
    assert (utts[1].text, utts[1].speaker) == ("that's number 1", "19")
    assert utts[1].audio == str(corpus / "train-clean-100/19/198/19-198-0001.flac")


def test_upper_case(prepare, corpus, tmp_path):
    assert prepare("--corpus", corpus, *SUBSET, "--case", "upper", "d=dev-clean").returncode == 0
    assert kaldi_dir.read_dict(tmp_path / "d/text")["7-5-0000"] == "THAT'S NUMBER 0"


def test_all_faults_in_one_report(prepare, corpus, tmp_path):
    (corpus / "dev-clean/7/5/7-5-0001.flac").unlink()
    (corpus / "dev-clean/7/198/7-198.trans.txt").unlink()
    trans = corpus / "dev-clean/19/5/19-5.trans.txt"
    trans.write_text(trans.read_text().splitlines()[0] + "\n")
    (corpus / "test-clean/8/5/8-5.trans.txt").write_bytes(b"8-5-0000 \xff\n")
    (corpus / "empty").mkdir()
    done = prepare(
        "--corpus",
        corpus,
        "d=dev-clean",
        "t=test-clean",
        "x=nothing",
        "e=empty",
        "g=train-clean-100",
    )
    fails(
        done,
        "1 transcripts without audio (first: 7-5-0001)",
        "1 chapters without .trans.txt (first: ",
        f"1 recordings without a transcript (first: {corpus}/dev-clean/19/5/19-5-0001.flac)",
        "1 transcript files with faults (first: ",
        "not UTF-8",
        "4 ids that another split has too (first: 19-198-0000)",
        "1 parts missing (first: nothing)",
        "1 parts without a single utterance (first: empty)",
    )
    assert not any((tmp_path / name).exists() for name in "dtxeg")


def test_counts_are_the_published_ones(prepare, corpus, tmp_path):
    splits = ("train=train-clean-100,test-clean", "valid=dev-clean")
    fails(prepare("--corpus", corpus, *splits), "train: 8 ids that another split has too")
    done = prepare("--corpus", corpus, "valid=dev-clean")
    fails(done, "utterances for valid: 8, not 2703 as published", "--subset true")
    assert not (tmp_path / "valid").exists()


@pytest.mark.parametrize("hours, parts", [(100, 1), (460, 2), (960, 3)])
def test_hours(root, tmp_path, hours, parts):
    """Which parts data.sh asks for: all that are missing are named at once."""
    (tmp_path / "empty").mkdir()
    done = subprocess.run(
        ["local/data.sh", "--librispeech", tmp_path / "empty", "--hours", str(hours)],
        cwd=root / "egs2/librispeech/audiollm1",
        capture_output=True,
        text=True,
    )
    fails(done, f"{parts + 2} parts missing (first: train-clean-100)")


def test_missing_corpus(prepare, tmp_path):
    fails(prepare("--corpus", tmp_path / "no", "d=dev-clean"), "there is no such directory")
    (tmp_path / "no").mkdir()
    fails(prepare("--corpus", tmp_path / "no", "d=dev-clean"), "1 parts missing (first: dev-clean)")
    fails(prepare("--corpus", tmp_path / "no", "d"), "does not read DIR=NAME")
    fails(prepare("d=dev-cleen"), "dev-cleen is no part of LibriSpeech")


def test_download_is_checked(root, tmp_path, corpus):
    """From a server on this machine in place of openslr.org: right checksum, then a wrong one."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add(corpus / "dev-clean", "LibriSpeech/dev-clean")
    (tmp_path / "dev-clean.tar.gz").write_bytes(packed.getvalue())
    md5 = hashlib.md5(packed.getvalue()).hexdigest()
    code = (
        "import sys, prepare\n"
        "prepare.URL = sys.argv[1] + '/{}.tar.gz'\n"
        "prepare.MD5 = {'dev-clean': sys.argv[2]}\n"
        "prepare.main(['--subset', 'true', 'data/valid=dev-clean'])"
    )

    def call(checksum):
        with served(tmp_path) as url:
            return subprocess.run(
                [sys.executable, "-c", code, url, checksum],
                cwd=tmp_path,
                env={"PYTHONPATH": f"{root}:{root}/egs2/librispeech/audiollm1/local"},
                capture_output=True,
                text=True,
            )

    fails(call("0" * 32), f"the checksum is {md5}, not 000")
    assert not list((tmp_path / "downloads").iterdir())
    done = call(md5)
    assert done.returncode == 0, done.stderr
    scp = kaldi_dir.read_dict(tmp_path / "data/valid/wav.scp")
    assert scp["7-5-0000"] == "downloads/LibriSpeech/dev-clean/7/5/7-5-0000.flac"


def test_the_real_corpus(prepare, shared, tmp_path):
    place = shared / "data/LibriSpeech"
    splits = ("train=train-clean-100", "valid=dev-clean", "test=test-clean")
    done = prepare("--corpus", place, *SUBSET, *splits)
    assert done.returncode == 0, done.stderr
    for split, number in (("train", 161), ("valid", 20), ("test", 20)):
        assert validation.validate(tmp_path / split, require_text=True) == []
        assert len(kaldi_dir.load_utterances(tmp_path / split)) == number
