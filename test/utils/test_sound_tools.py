"""speed_perturb, segments and statistics, run as a user runs them, on recordings whose tones are
known."""

import base64
import io
import json
import re
import shutil
import subprocess
import time

import numpy as np
import pytest
import soundfile

from espnet_audiollm.corpus.derived import at_speed
from espnet_audiollm.data import audio, kaldi_dir, validation

RATE = 16_000


def tone(seconds, hertz, rate=RATE):
    return (0.4 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype("f4")


def hertz(path):
    samples, found = audio.read_mono(path)
    return np.abs(np.fft.rfft(samples)).argmax() * found.rate / len(samples)


def table(path):
    return kaldi_dir.read_dict(path)


@pytest.fixture
def data(tmp_path, make_dir):
    """a: 1 s of 400 Hz; b: 2 s of 600 Hz at 8 kHz; two speakers, a partial table, a speakers'."""
    soundfile.write(tmp_path / "a.wav", tone(1, 400), RATE)
    soundfile.write(tmp_path / "b.flac", tone(2, 600, 8000), 8000)
    return make_dir(
        "data",
        **{"wav.scp": {"a": f"{tmp_path}/a.wav", "b": f"{tmp_path}/b.flac"}},
        utt2spk={"a": "s", "b": "t"},
        text={"a": "one two", "b": "three"},
        utt2dur={"a": "1.000", "b": "2.000"},
        category={"a": "x", "b": "y"},
        hint={"b": "only b"},
        spk2gender={"s": "f", "t": "m"},
    )


# --- speed_perturb ------------------------------------------------------------------------------


@pytest.mark.parametrize("nj", [1, 2])
def test_speeds(tmp_path, data, tool, nj):
    tool("speed_perturb", data, "sp", "--nj", nj).says("sp: 6 utterances", "4 recordings written")
    ids = ["a", "b", "sp0.9-a", "sp0.9-b", "sp1.1-a", "sp1.1-b"]
    for name in ("wav.scp", "text", "utt2spk", "utt2dur", "category", "utt2uniq"):
        assert list(table(tmp_path / "sp" / name)) == ids
    scp = table(tmp_path / "sp/wav.scp")
    assert scp["a"] == f"{tmp_path}/a.wav"
    for id_, expected in {"sp0.9-a": 360, "sp1.1-a": 440, "sp0.9-b": 540, "sp1.1-b": 660}.items():
        assert hertz(tmp_path / scp[id_]) == pytest.approx(expected, abs=1.5)
    durations = {"a": "1.000", "b": "2.000", "sp0.9-a": "1.111", "sp0.9-b": "2.222"}
    durations |= {"sp1.1-a": "0.909", "sp1.1-b": "1.818"}
    assert table(tmp_path / "sp/utt2dur") == durations
    assert audio.info(tmp_path / scp["sp0.9-b"]).rate == 8000
    assert table(tmp_path / "sp/utt2spk")["sp1.1-b"] == "sp1.1-t"
    assert table(tmp_path / "sp/utt2uniq")["sp1.1-b"] == "b"
    assert table(tmp_path / "sp/text")["sp0.9-b"] == "three"
    assert table(tmp_path / "sp/hint") == {id_: "only b" for id_ in ids if id_.endswith("b")}
    assert table(tmp_path / "sp/spk2gender") == {
        f"{prefix}{speaker}": gender
        for prefix in ("", "sp0.9-", "sp1.1-")
        for speaker, gender in (("s", "f"), ("t", "m"))
    }


def test_a_second_run_of_speeds_changes_nothing(tmp_path, data, tool):
    tool("speed_perturb", data, "sp").says("6 utterances")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "sp").rglob("*")}
    tool("speed_perturb", data, "sp").says("6 utterances")
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "sp").rglob("*")}
    tool("speed_perturb", data, "sp", "--speeds", "0.8").fails("is there already")


def test_killed_it_leaves_nothing_that_a_rerun_takes_for_complete(tmp_path, make_dir, tool, root):
    ids = [f"u{number:03d}" for number in range(60)]
    for id_ in ids:
        soundfile.write(tmp_path / f"{id_}.wav", tone(2, 300), RATE)
    paths = {id_: f"{tmp_path}/{id_}.wav" for id_ in ids}
    make_dir("data", **{"wav.scp": paths}, utt2spk=dict.fromkeys(ids, "s"))
    command = [root / "utils/data/speed_perturb.py", "data", "sp", "--speeds", "0.9", "--nj", "2"]
    process = subprocess.Popen(command, cwd=tmp_path)
    while len(list(tmp_path.glob(".sp.*/audio/*/*.flac"))) < 3:
        assert process.poll() is None
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert not (tmp_path / "sp").exists()
    tool("speed_perturb", "data", "sp", "--speeds", "0.9").says("60 recordings written")
    assert len(list((tmp_path / "sp").rglob("*.flac"))) == 60
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()].count("sp") == 1
    assert not list(tmp_path.glob(".sp.*"))


@pytest.mark.parametrize(
    ("speeds", "says"),
    [(["x"], "'x' is not a number"), (["0.3"], "not between 0.5 and 2.0"), (["1", "1.0"], "twice")],
)
def test_other_speeds(tmp_path, data, tool, speeds, says):
    tool("speed_perturb", data, "sp", "--speeds", *speeds).fails(says)
    assert not (tmp_path / "sp").exists()


def test_speeds_of_damaged_recordings(tmp_path, data, tool):
    (tmp_path / "b.flac").write_bytes((tmp_path / "b.flac").read_bytes()[:-2000])
    (tmp_path / "a.wav").unlink()
    done = tool("speed_perturb", data, "sp", "--speeds", "0.9")
    done.fails("2 of 2 recordings cannot be used", "sp0.9-a: ", "cannot be opened", "truncated")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.flac", "data"]


def test_speed_is_that_of_kaldi():
    """sox's `speed` 1.1: the file is N / 1.1 long, and a tone of 400 Hz is one of 440."""
    assert len(at_speed(tone(11, 400), 1.1)) == 10 * RATE


@pytest.mark.skipif(not shutil.which("sox"), reason="no sox")
@pytest.mark.parametrize("speed", ["0.9", "1.1"])
def test_speed_is_that_of_sox(tmp_path, speed):
    rng = np.random.default_rng(0)
    smooth = np.convolve(rng.normal(size=2 * RATE), np.hanning(40) / 100, "same").astype("f4")
    soundfile.write(tmp_path / "a.wav", smooth, RATE)
    theirs, _ = audio.read_mono(f"sox {tmp_path}/a.wav -t wav - speed {speed} |", allow_pipes=True)
    ours = at_speed(audio.read_mono(tmp_path / "a.wav")[0], float(speed))
    assert abs(len(ours) - len(theirs)) <= 1
    length = min(len(ours), len(theirs))
    difference = np.abs(ours[:length] - theirs[:length])[200:-200].max()
    assert difference < 2e-3 < 0.1 < np.abs(theirs).max()


# --- segments -----------------------------------------------------------------------------------


@pytest.fixture
def calls(tmp_path, make_dir):
    """A call: 1 s of 400 Hz, 1 s of 600 Hz, 1 s of 800 Hz."""
    samples = np.concatenate([tone(1, 400), tone(1, 600), tone(1, 800)])
    soundfile.write(tmp_path / "call.flac", samples, RATE)
    return make_dir(
        "calls",
        **{"wav.scp": {"call": f"{tmp_path}/call.flac"}},
        segments={"u1": "call 0 1", "u2": "call 1.0 1.5", "u3": "call 2 -1"},
        utt2spk={"u1": "s", "u2": "s", "u3": "t"},
        text={"u1": "a", "u2": "b", "u3": "c"},
        answers={"u1": "a", "u2": "b", "u3": "c"},
        reco2file={"call": "call A"},
    )


def test_segments_are_listed(tmp_path, calls, tool):
    tool("segments", "list", calls, "out").says("3 utterances; 0 recordings written")
    path = f"{tmp_path}/call.flac"
    listed = {"u1": f"{path}#t=0,1", "u2": f"{path}#t=1,1.5", "u3": f"{path}#t=2,"}
    assert table(tmp_path / "out/wav.scp") == listed
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "answers",
        "text",
        "utt2spk",
        "wav.scp",
    ]
    assert validation.validate(tmp_path / "out", require_text=True) == []


def test_segments_are_cut(tmp_path, calls, tool):
    tool("segments", "cut", calls, "out", "--nj", "2").says("3 recordings written")
    scp = table(tmp_path / "out/wav.scp")
    assert [round(hertz(tmp_path / scp[id_])) for id_ in ("u1", "u2", "u3")] == [400, 600, 800]
    assert [audio.info(tmp_path / path).duration for path in scp.values()] == [1, 0.5, 1]
    assert table(tmp_path / "out/answers") == {"u1": "a", "u2": "b", "u3": "c"}


def test_segments_are_joined_and_cut_again(tmp_path, calls, tool):
    tool("segments", "cut", calls, "cut").says("3 utterances")
    tool("segments", "join", "cut", "joined", "--gap", "0.25").says("3 utterances; 2 recordings")
    expected = {"u1": "s-0001 0 1", "u2": "s-0001 1.25 1.75", "u3": "t-0001 0 1"}
    assert table(tmp_path / "joined/segments") == expected
    assert table(tmp_path / "joined/text") == {"u1": "a", "u2": "b", "u3": "c"}
    scp = table(tmp_path / "joined/wav.scp")
    assert audio.info(tmp_path / scp["s-0001"]).duration == 1.75
    tool("validate", "joined").says("no error found")
    tool("segments", "cut", "joined", "again").says("3 recordings written")
    for id_, path in table(tmp_path / "cut/wav.scp").items():
        ours, _ = audio.read_mono(tmp_path / path)
        again, _ = audio.read_mono(tmp_path / table(tmp_path / "again/wav.scp")[id_])
        assert (ours == again).all()


def test_joined_recordings_are_not_too_long(tmp_path, calls, tool):
    tool("segments", "join", calls, "joined", "--seconds", "1.2").says("3 recordings written")
    assert list(table(tmp_path / "joined/wav.scp")) == ["s-0001", "s-0002", "t-0001"]


def test_segments_that_cannot_be(tmp_path, calls, data, tool):
    rows = {"u1": "call 0 9", "u2": "call 5 6", "u3": "call 0 1"}
    kaldi_dir.write_table(calls / "segments", rows.items())
    for action in ("cut", "join"):
        done = tool("segments", action, calls, "out")
        done.fails("2 of 3 recordings cannot be used", "u1: ", "0 to 9 s, is not in the recording")
    rows = {"u1": "call 2 1", "u2": "x 0 1", "u3": "call 0 1"}
    kaldi_dir.write_table(calls / "segments", rows.items())
    tool("segments", "list", calls, "out").fails("u1 call 2 1: segments that end before they begin")
    tool("segments", "cut", data, "out").fails("data/segments does not exist")
    assert not (tmp_path / "out").exists()


# --- statistics ---------------------------------------------------------------------------------


def test_statistics(tmp_path, data, tool):
    done = tool("statistics", data)
    done.says("2 utterances, 0.00 hours, 2 speakers", "3 words, 3 distinct", "8000 Hz: 1")
    found = json.loads((data / "statistics/statistics.json").read_text())
    assert found["utterances"] == 2 and found["hours"] == pytest.approx(3 / 3600)
    spread = {"min": 1, "p5": 1.05, "median": 1.5, "mean": 1.5, "p95": 1.95, "max": 2}
    assert found["seconds"] == spread
    assert (found["words"], found["characters"], found["rate_unit"]) == (3, 12, "words a second")
    assert (found["rate"]["min"], found["rate"]["max"]) == (0.5, 2)
    assert found["alphabet"]["e"] == 3 and " " not in found["alphabet"]
    assert found["sample_rates"] == {"8000": 1, "16000": 1}
    assert sum(found["histograms"]["seconds"]["counts"]) == 2
    assert (data / "statistics/statistics.png").read_bytes().startswith(b"\x89PNG")
    assert done.out.startswith((data / "statistics/statistics.txt").read_text())


@pytest.mark.parametrize("source", ["utt2dur", "headers", "segments"])
def test_durations_come_from_where_they_are(tmp_path, data, calls, tool, source):
    if source == "utt2dur":  # what it says is believed; the recordings need not be there
        kaldi_dir.write_table(data / "utt2dur", {"a": "3", "b": "5"}.items())
        (tmp_path / "a.wav").unlink()
    else:
        (data / "utt2dur").unlink()
    done = tool("statistics", calls if source == "segments" else data, "--output", "out")
    assert done.status == 0, done.err
    found = json.loads((tmp_path / "out/statistics.json").read_text())
    expected = {"utt2dur": 8, "headers": 3, "segments": 2.5}[source]
    assert found["hours"] * 3600 == pytest.approx(expected)


def test_outliers_are_named(tmp_path, make_dir, tool):
    said = {f"u{n:02d}": "word " * 10 for n in range(20)} | {"mute": "word", "mad": "w " * 99}
    durations = {f"u{n:02d}": f"{3 + n / 100}" for n in range(20)} | {"mute": "9", "mad": "2"}
    make_dir("data", utt2spk=dict.fromkeys(said, "s"), text=said, utt2dur=durations)
    done = tool("statistics", "data", "--output", "out")
    done.says("more than 7 words a second: 1\n       49.50 /s  mad")
    done.says("less than 0.3 words a second: 1\n        0.11 /s  mute")
    found = json.loads((tmp_path / "out/statistics.json").read_text())["outliers"]
    assert found["longest"]["named"][0] == {"value": 9, "id": "mute"}
    assert [one["id"] for one in found["shortest"]["named"][:2]] == ["mad", "u00"]
    assert len(found["longest"]["named"]) == 10


def test_a_language_without_spaces_is_counted_in_characters(tmp_path, make_dir, tool):
    said = {"a": "今天天气很好我们去公园散步吧", "b": "你好吗我的朋友我很好谢谢你"}
    make_dir("data", utt2spk={"a": "s", "b": "s"}, text=said, utt2dur={"a": "3", "b": "0.1"})
    done = tool("statistics", "data", "--output", "out")
    done.says("more than 40 characters a second: 1", " b\n")


def test_statistics_without_text_and_with_damage(tmp_path, data, tool):
    (data / "text").unlink()
    (data / "utt2dur").unlink()
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    tool("statistics", data).says("1 utterances", "no text", "1 recordings cannot be read", "a: ")
    (tmp_path / "b.flac").unlink()
    tool("statistics", data, "--output", "out").fails("none of 2 recordings can be read")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "long"])
def test_durations_that_cannot_be(tmp_path, data, tool, value):
    kaldi_dir.write_table(data / "utt2dur", {"a": value, "b": "2"}.items())
    tool("statistics", data, "--output", "out").fails("utt2dur: a is", value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["speed_perturb", "segments", "statistics", "listen"])
def test_help_and_missing_directories(tmp_path, tool, name):
    tool(name, "--help").says("example: utils/data/")
    words = {"segments": ["cut"]}.get(name, [])
    output = ["out"] if name in ("segments", "speed_perturb") else ["--output", "out"]
    tool(name, *words, "none", *output).fails("none")
    assert not (tmp_path / "out").exists()


# --- listen -------------------------------------------------------------------------------------


def items_of(path):
    found = re.search(r'id="data">(.*?)</script>', path.read_text(), re.DOTALL)
    return {item["id"]: item for item in json.loads(found[1])}


def test_listen_to_segments(tmp_path, calls, tool):
    tool("listen", calls, "--output", "page.html").says("3 of 3 utterances, by chance, seed 0")
    found = items_of(tmp_path / "page.html")
    assert [item["seconds"] for item in found.values()] == [1, 0.5, 1]
    assert found["u2"]["facts"][:2] == ["0.50 s", "16 kHz segment"]
    assert found["u2"]["more"] == {"answers": "b"} and found["u2"]["speaker"] == "s"
    coded = base64.b64decode(found["u2"]["audio"].removeprefix("data:audio/mpeg;base64,"))
    samples, rate = soundfile.read(io.BytesIO(coded))
    assert np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples) == pytest.approx(600, abs=3)


def test_what_a_recording_is_like(tmp_path, make_dir, tool):
    loud, quiet = np.clip(3 * tone(0.5, 300), -1, 1), np.zeros(8000)
    for name, samples in (("loud", loud), ("quiet", quiet), ("half", 0.5 * np.ones(240))):
        soundfile.write(tmp_path / f"{name}.wav", samples, RATE)
    paths = {name: f"{tmp_path}/{name}.wav" for name in ("half", "loud", "quiet")}
    make_dir("data", **{"wav.scp": paths}, utt2spk=dict.fromkeys(paths, "s"))
    tool("listen", "data", "--output", "page.html", "--longest", "0.25").says("3 of 3")
    found = items_of(tmp_path / "page.html")
    assert {"clipped!", "the first 0.25 s are here"} <= set(found["loud"]["facts"])
    assert "silent!" in found["quiet"]["facts"] and max(found["quiet"]["peaks"]) == 0
    assert found["half"]["peaks"] == [50] * 240
    assert "peak -6 dB, mean -6 dB" in found["half"]["facts"]
    assert found["loud"]["seconds"] == 0.25 and found["loud"]["text"] is None


def test_listening_that_cannot_be(tmp_path, data, tool):
    output = ["--output", "page.html"]
    done = tool("listen", data, *output, "--ids", "a", "x", "y")
    done.fails("2 of 3 ids are not there (first: x)")
    tool("listen", data, *output, "--number", "0").fails("at least one utterance is needed")
    tool("listen", data, *output, "--longest", "-1").fails("--longest -1")
    (tmp_path / "b.flac").write_bytes(b"fLaC")
    tool("listen", data, *output).says("2 of 2 utterances", "1 cannot be read (first: ", "b.flac")
    (tmp_path / "page.html").unlink()
    (tmp_path / "a.wav").unlink()
    tool("listen", data, *output).fails("none of 2 recordings can be read", "a.wav")
    assert not (tmp_path / "page.html").exists()


@pytest.mark.skipif(not shutil.which("sox"), reason="no sox")
def test_commands_are_run_where_that_is_allowed(tmp_path, data, tool):
    paths = {"a": f"sox {tmp_path}/a.wav -t wav - |", "b": f"{tmp_path}/b.flac"}
    kaldi_dir.write_table(data / "wav.scp", paths.items())
    (data / "utt2dur").unlink()
    runs = {
        "statistics": ([data, "--output", "st"], "2 utterances"),
        "listen": ([data, "--output", "page.html"], "2 of 2 utterances, by chance, seed 0; open"),
        "speed_perturb": ([data, "sp", "--speeds", "0.9"], "2 recordings written"),
    }
    for name, (arguments, says) in runs.items():
        without = tool(name, *arguments)
        assert "--allow_pipes true" in without.out + without.err
        tool(name, *arguments, "--allow_pipes", "true").says(says)
