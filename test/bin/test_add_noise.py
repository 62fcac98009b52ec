"""A noisy copy of a test set: the same whoever makes it, complete or not at all."""

import json
import shutil

import numpy as np
import pytest
import soundfile

from espnet_audiollm.bin.add_noise import main
from espnet_audiollm.data import kaldi_dir
from espnet_audiollm.types import Utterance

IDS = ["a/b", *(f"u{number}" for number in range(6))]


@pytest.fixture
def data(tmp_path):
    """Seven half seconds of noise-like speech of three speakers, as stage 2 leaves them."""
    utts = []
    for number, id_ in enumerate(IDS):
        path = tmp_path / f"{number}.wav"
        samples = np.random.default_rng(number).normal(0, 0.02 * (number + 1), 8000)
        soundfile.write(path, samples.clip(-1, 1), 16_000)
        utts.append(Utterance(id_, str(path), f"s{number % 3}", text="one two"))
    tables = {"utt2dur": "0.500", "utt2num_samples": "8000", "answers": "yes | no"}
    extra = {name: dict.fromkeys(IDS, value) for name, value in tables.items()}
    kaldi_dir.write_data_dir(tmp_path / "test", utts, **extra)
    (tmp_path / "test/.done").write_text("1")
    return tmp_path / "test"


def add(data, name, *words, noise="babble:0"):
    output = data.parent / name
    main(["--data", str(data), "--noise", noise, "--output", str(output), *map(str, words)])
    return output


def contents(output):
    """{path: bytes} of a copy, wav.scp without its own name."""
    return {
        path.relative_to(output).as_posix(): path.read_bytes().replace(str(output).encode(), b"")
        for path in output.rglob("*")
        if path.is_file() and path.name != "inputs.json"
    }


def test_copy_has_the_tables_and_its_own_audio(data, capsys):
    copy = add(data, "copy")
    for name in ("text", "utt2spk", "utt2dur", "utt2num_samples", "answers"):
        assert (copy / name).read_bytes() == (data / name).read_bytes()
    for utt in kaldi_dir.load_utterances(copy):
        info = soundfile.info(utt.audio)
        assert (info.samplerate, info.channels, info.frames) == (16_000, 1, 8000)
        assert utt.audio.startswith(f"{copy}/audio/")
    about = json.loads((copy / "noise.json").read_text())
    assert {name: about[name] for name in ("kind", "snr_db", "voices", "seed", "from")} == {
        "kind": "babble", "snr_db": 0.0, "voices": 6, "seed": 0, "from": "test",
    }  # fmt: skip
    assert about["num_utts"] == 7
    assert "babble:0 in 7 utterances" in capsys.readouterr().out


def test_snr_in_the_files_and_none_is_clipped(data):
    copy = add(data, "copy", noise="white:-20")
    pairs = zip(kaldi_dir.load_utterances(data), kaldi_dir.load_utterances(copy), strict=True)
    scaled = 0
    for clean, noisy in pairs:
        speech, mixture = soundfile.read(clean.audio)[0], soundfile.read(noisy.audio)[0]
        peak = np.abs(mixture).max()
        assert peak <= 0.99 + 2**-15
        scaled += peak > 0.989
        scale = mixture @ speech / (speech @ speech)  # of the speech in the mixture, roughly
        added = mixture - np.clip(scale, 0, 1) * speech
        if peak < 0.989:
            ratio = 10 * np.log10(np.mean(speech**2) / np.mean((mixture - speech) ** 2))
            assert ratio == pytest.approx(-20, abs=0.1)
        else:
            assert np.mean(added**2) > 30 * np.mean((scale * speech) ** 2)
    about = json.loads((copy / "noise.json").read_text())
    assert about["scaled"] == scaled > 0
    assert 0 < about["smallest_scale"] < 1


@pytest.mark.parametrize("noise", ["babble:5", "room"])
def test_jobs_and_shards_change_nothing(data, noise):
    single = add(data, "single", noise=noise)
    for job in (3, 1, 2):
        add(data, "jobs", "--job", job, "--num_jobs", 3, "--shard_size", 2, noise=noise)
    assert not (data.parent / "jobs/wav.scp").exists()
    jobs = add(data, "jobs", "--num_jobs", 3, "--shard_size", 2, "--merge", noise=noise)
    assert contents(jobs) == contents(single)


def test_killed_in_the_middle_it_goes_on(data, monkeypatch):
    from espnet_audiollm.bin import add_noise

    complete = contents(add(data, "complete"))
    made = []

    def dying(*arguments):
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(arguments)
        return write(*arguments)

    write = add_noise.write
    monkeypatch.setattr(add_noise, "write", dying)
    monkeypatch.setattr(add_noise, "BATCH", 2)
    with pytest.raises(KeyboardInterrupt):
        add(data, "copy")
    assert not (data.parent / "copy/wav.scp").exists()
    monkeypatch.setattr(add_noise, "write", lambda *a: made.append(a) or write(*a))
    assert contents(add(data, "copy")) == complete
    assert len(made) == 3 + 5  # of the batch that was cut, one again
    add(data, "copy")
    assert len(made) == 8


def test_other_settings_or_data_make_it_anew(data):
    first = contents(add(data, "copy"))
    other = contents(add(data, "copy", "--seed", 1))
    assert first.keys() == other.keys() and first != other
    assert contents(add(data, "copy")) == first
    for name in ("wav.scp", "utt2spk", "text", "utt2dur", "utt2num_samples", "answers"):
        kept = (data / name).read_text().splitlines(keepends=True)[:-1]
        (data / name).write_text("".join(kept))
    fewer = contents(add(data, "copy"))
    assert len(fewer) == len(first) - 1  # the recording of nobody is gone


def test_recordings_of_noise(data, tmp_path):
    (tmp_path / "noise/deep").mkdir(parents=True)
    path = tmp_path / "noise/deep/hum.WAV"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, (3000, 2)), 8000)
    first = contents(add(data, "copy", noise=f"files:{tmp_path}/noise:0"))
    assert json.loads(first["noise.json"])["directory"] == f"{tmp_path}/noise"
    shutil.copy(path, path.with_name("more.wav"))
    assert contents(add(data, "copy", noise=f"files:{tmp_path}/noise:0")) != first


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--noise", "babel:1"], "'babel:1' is no noise"),
        (["--noise", "white:99"], "99 dB SNR is not between -30 and 60"),
        (["--noise", "files:/nowhere:1"], "no .wav or .flac file is there"),
        (["--job", "3", "--num_jobs", "2"], "--job 3 is not one of 1 to --num_jobs 2"),
        (["--merge"], "1 of 1 shards are missing"),
        (["--data", "/nowhere"], "/nowhere/wav.scp does not exist"),
    ],
)
def test_mistakes_leave_nothing(data, capsys, words, message):
    with pytest.raises(SystemExit):
        add(data, "copy", *words)
    assert message in capsys.readouterr().err
    assert not (data.parent / "copy").exists()
    with pytest.raises(SystemExit):
        add(data, "test")
    assert "is --data itself" in capsys.readouterr().err


def test_one_speaker_gives_no_babble(data, capsys):
    kaldi_dir.write_table(data / "utt2spk", dict.fromkeys(IDS, "me").items())
    with pytest.raises(SystemExit):
        add(data, "copy")
    assert "all 7 utterances are of one (me)" in capsys.readouterr().err
    assert not (data.parent / "copy").exists()
