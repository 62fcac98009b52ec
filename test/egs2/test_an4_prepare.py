"""AN4's preparation on a small corpus in both of CMU's layouts, read by the real libsndfile."""

import corpora
import numpy as np
import pytest
from corpora import an4_samples, fails, utterances, write_sphere

from espnet_audiollm.data import audio


@pytest.fixture
def prepare(root, tmp_path):
    return corpora.preparer(root, "an4", tmp_path)


@pytest.fixture
def an4(tmp_path):
    corpora.an4(tmp_path / "an4")
    return tmp_path / "an4"


SUBSET = ("--subset", "true")


def samples_of(path) -> np.ndarray:
    return np.round(audio.read_mono_16k(path) * 32768).astype(int)


@pytest.mark.parametrize("suffix", [".sph", ".raw"])
def test_layout(prepare, tmp_path, suffix, monkeypatch):
    monkeypatch.chdir(tmp_path)  # converted files are named from the recipe's directory
    corpora.an4(tmp_path / "a corpus", suffix)
    done = prepare("--corpus", tmp_path / "a corpus", *SUBSET, "data")
    assert done.returncode == 0, done.stderr
    valid = utterances(tmp_path / "data/valid")  # the first speaker of the two
    assert {id_: utt.text for id_, utt in valid.items()} == {
        "fash-an251-fash-b": "yes",
        "fash-cen4-fash-b": "p i t t s b u r g h",
    }
    train = utterances(tmp_path / "data/train")
    assert train["mblw-cen7-mblw-b"].text == "november eighth nineteen sixty"
    assert train["mblw-cen7-mblw-b"].speaker == "mblw"
    test = utterances(tmp_path / "data/test")
    assert [utt.text for utt in test.values()] == ["rubout g m e f three nine"]
    for utt, number in ((valid["fash-cen4-fash-b"], 1), (train["mblw-cen7-mblw-b"], 2)):
        assert (samples_of(utt.audio) == an4_samples(number)).all()
        assert audio.info(utt.audio).container == {".sph": "NIST", ".raw": "FLAC"}[suffix]


def test_bare_samples_are_converted_once(prepare, tmp_path):
    """A new FLAC would be another one to whatever is made from it."""
    corpora.an4(tmp_path / "an4", ".raw")
    flacs = [tmp_path / f"data/audio/train/{id_}.flac" for id_ in ("cen4-fash-b", "cen7-mblw-b")]
    made = []
    for _ in range(2):
        assert prepare("--corpus", tmp_path / "an4", *SUBSET, "data").returncode == 0
        made.append([flac.stat().st_mtime_ns for flac in flacs])
    assert made[0] == made[1]
    raw = tmp_path / "an4/wav/an4_clstk/fash/cen4-fash-b.raw"
    raw.write_bytes(an4_samples(5).astype(">i2").tobytes())
    flacs[1].write_bytes(b"fLaC")
    assert prepare("--corpus", tmp_path / "an4", *SUBSET, "data").returncode == 0
    assert (samples_of(flacs[0]) == an4_samples(5)).all()
    assert (samples_of(flacs[1]) == an4_samples(2)).all()


def test_little_endian_samples_are_refused(prepare, tmp_path):
    """CMU's other archive has the same names; read as big-endian it is noise."""
    corpora.an4(tmp_path / "an4", ".raw")
    for path in tmp_path.glob("an4/wav/*/*/*.raw"):
        path.write_bytes(np.frombuffer(path.read_bytes(), ">i2").astype("<i2").tobytes())
    fails(
        prepare("--corpus", tmp_path / "an4", *SUBSET, "data"),
        "an4_train: 3 recordings whose samples are in little-endian order (first: ",
        "an251-fash-b.raw); give the directory of an4_sphere or an4_raw.bigendian",
        "an4_test: 1 recordings",
    )
    assert not list((tmp_path / "data").iterdir())


def test_counts_are_the_published_ones(prepare, an4, tmp_path):
    words = ("utterances for data/train and data/valid: 3, not 948", "data/test: 1, not 130")
    fails(prepare("--corpus", an4, "data"), *words)
    assert not (tmp_path / "data/train").exists()


def test_all_faults_in_one_report(prepare, an4, tmp_path):
    (an4 / "wav/an4_clstk/fash/cen4-fash-b.sph").unlink()
    transcription, fileids = an4 / "etc/an4_train.transcription", an4 / "etc/an4_train.fileids"
    lines = transcription.read_text().splitlines()
    transcription.write_text("\r\n".join([lines[0], lines[1], lines[1], "NO ID", ""]))
    fileids.write_text(fileids.read_text() + "../../etc/passwd\n")
    fails(
        prepare("--corpus", an4, "data"),
        "1 transcripts without audio (first: cen4-fash-b)",
        "1 recordings without a transcript",
        "cen7-mblw-b.sph",
        "1 ids that come twice (first: cen4-fash-b)",
        "1 lines that do not end in (ID) (first: line 4)",
        "1 lines that are not SET/SPEAKER/ID (first: line 4)",
    )
    assert not (tmp_path / "data/train").exists()


def test_missing_corpus(prepare, an4, tmp_path):
    fails(prepare("--corpus", tmp_path / "no", "data"), "--an4", "no such directory")
    (an4 / "etc/an4_test.fileids").unlink()
    fails(prepare("--corpus", an4, "data"), "holds no etc/an4_test.fileids")


@pytest.mark.parametrize("order", ["01", "10"])
def test_sphere_is_read_in_both_byte_orders(tmp_path, order):
    path = write_sphere(tmp_path / "a.sph", an4_samples(3), order)
    assert (samples_of(path) == an4_samples(3)).all()
    assert audio.info(path).rate == 16_000


def test_a_sphere_file_cut_short_is_noticed(tmp_path):
    """libsndfile by itself reads the samples that are there without a word."""
    path = write_sphere(tmp_path / "a.sph", an4_samples(3))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(audio.AudioError, match="promises 3200 bytes of samples, 3100 are there"):
        audio.info(path)


def test_compressed_sphere_is_refused(tmp_path):
    path = write_sphere(tmp_path / "a.sph", an4_samples(3))
    coding = b"sample_coding -s26 pcm,embedded-shorten-v2.00\n"
    old = b"sample_sig_bits -i 16\n"
    path.write_bytes(path.read_bytes().replace(old, coding).replace(b" " * 24, b"", 1))
    with pytest.raises(audio.AudioError, match=r"embedded-shorten.*sph2pipe -f wav"):
        audio.info(path)
