"""subset.py: which utterances are taken, that all tables come along, and what is refused."""

import os
import socket
import subprocess
import sys

import pytest

SPEAKERS = {"a1": "ann", "a2": "ann", "b1": "bob", "c1": "cyd", "c2": "cyd", "c3": "cyd"}
SECONDS = {"a1": 1800, "a2": 3600, "b1": 1800, "c1": 3600, "c2": 1800, "c3": 5400}  # 5 hours


@pytest.fixture
def data(make_dir):
    return make_dir(
        "data",
        utt2spk=SPEAKERS,
        text={id_: f"text of {id_}" for id_ in SPEAKERS},
        answers={id_: id_.upper() for id_ in SPEAKERS},
        utt2dur={id_: str(seconds) for id_, seconds in SECONDS.items()},
        utt2note={"a2": "a  note", "c3": ""},
        spk2gender={"ann": "f", "bob": "m", "cyd": "f"},
        spk2utt={"ann": "a1 a2"},
        README={"This": "is no table"},
    )


def taken(tmp_path, name="part"):
    lines = (tmp_path / name / "utt2spk").read_text().splitlines()
    return [line.split()[0] for line in lines]


def test_the_first_with_all_tables(tool, data, tmp_path, tables_of):
    done = tool("subset", "data", "part", "--first", 3)
    done.says("part: 3 utterances of 2 speakers, 2.00 hours (of 6 utterances) with utt2spk, ")
    done.says("not carried: README, spk2utt")
    ids = ["a1", "a2", "b1"]
    assert tables_of(tmp_path / "part") == {
        "answers": {"a1": "A1", "a2": "A2", "b1": "B1"},
        "spk2gender": {"ann": "f", "bob": "m"},
        "text": {id_: f"text of {id_}" for id_ in ids},
        "utt2dur": {"a1": "1800", "a2": "3600", "b1": "1800"},
        "utt2note": {"a2": "a  note"},
        "utt2spk": {"a1": "ann", "a2": "ann", "b1": "bob"},
        "wav.scp": {id_: str(tmp_path / f"data.{id_}.wav") for id_ in ids},
    }
    assert tool("validate", "part").status == 0


def test_chance_follows_from_the_seed(tool, data, tmp_path):
    found = {}
    for name, seed in {"x": 1, "y": 1, **{str(seed): seed for seed in range(2, 6)}}.items():
        tool("subset", "data", name, "--random", 2, "--seed", seed).says("2 utterances")
        found[name] = taken(tmp_path, name)
    assert found["x"] == found["y"]
    assert len({tuple(ids) for ids in found.values()}) > 1
    assert all(ids == sorted(ids) and len(set(ids)) == 2 for ids in found.values())


def test_by_speakers(tool, data, tmp_path):
    tool("subset", "data", "part", "--speakers", "cyd,bob").says("4 utterances of 2 speakers")
    assert taken(tmp_path) == ["b1", "c1", "c2", "c3"]
    (tmp_path / "list").write_text("ann\n\nbob x\n")
    tool("subset", "data", "listed", "--speaker_list", "list").says("3 utterances")
    assert taken(tmp_path, "listed") == ["a1", "a2", "b1"]
    tool("subset", "data", "two", "--num_speakers", 2).says("of 2 speakers")
    names = {SPEAKERS[id_] for id_ in taken(tmp_path, "two")}
    assert taken(tmp_path, "two") == [id_ for id_ in SPEAKERS if SPEAKERS[id_] in names]


def test_by_ids(tool, data, tmp_path):
    (tmp_path / "ids").write_text("c2 a line of text\na1\n")
    tool("subset", "data", "part", "--ids", "ids").says("2 utterances")
    assert taken(tmp_path) == ["a1", "c2"]


@pytest.mark.parametrize("seed", range(4))
def test_by_hours(tool, data, tmp_path, seed):
    """At most so many, and no room for the utterance that would have come next."""
    tool("subset", "data", "part", "--hours", 2.5, "--seed", seed).says("hours")
    hours = sum(SECONDS[id_] for id_ in taken(tmp_path)) / 3600
    assert 2.5 - 5400 / 3600 < hours <= 2.5


def test_all_hours_are_all_utterances(tool, data, tmp_path):
    tool("subset", "data", "part", "--hours", 5).says("6 utterances")


@pytest.mark.parametrize(
    "options, words",
    [
        (["--first", 7], ["--first 7: data has 6 utterances; ask for 1 to 6"]),
        (["--random", 0], ["--random 0: data has 6 utterances"]),
        (["--num_speakers", 4], ["data has 3 speakers; ask for 1 to 3"]),
        (["--hours", 6], ["--hours 6: data has 5 hours"]),
        (["--hours", 0.25], ["longer than that"]),
        (["--speakers", "eve,ann,dan"], ["does not know 2 of 3 speakers", "first: dan, eve"]),
        (["--ids", "ids"], ["does not know 1 of 2 utterances asked for (first: zz)"]),
        (["--ids", "none"], ["No such file", "none"]),
    ],
)
def test_what_is_refused(tool, data, tmp_path, options, words):
    (tmp_path / "ids").write_text("a1\nzz\n")
    tool("subset", "data", "part", *options).fails("subset: error: ", *words)
    assert sorted(path.name for path in tmp_path.iterdir() if "part" in path.name) == []


def test_one_way_is_needed(tool, data):
    for options in ([], ["--first", 1, "--random", 1]):
        assert tool("subset", "data", "part", *options).status == 2


def test_tables_that_do_not_fit_together(tool, data, tmp_path):
    (data / "text").write_text("a1 x\nb1 y\n")
    tool("subset", "data", "part", "--first", 2).fails("a2 is missing in text", "validate.py data")
    assert not (tmp_path / "part").exists()
    tool("subset", "none", "part", "--first", 2).fails("none: there is no such directory")


def test_a_rerun_and_another_run(tool, data, tmp_path):
    tool("subset", "data", "part", "--first", 2).says("2 utterances")
    before = os.stat(tmp_path / "part/text").st_mtime_ns
    tool("subset", "data", "part", "--first", 2).says("2 utterances")
    assert os.stat(tmp_path / "part/text").st_mtime_ns == before
    tool("subset", "data", "part", "--first", 3).fails("part is there already", "something else")
    tool("subset", "data", "data", "--first", 3).fails("data is there already")
    assert taken(tmp_path) == ["a1", "a2"] and len(taken(tmp_path, "data")) == 6
    assert not list(tmp_path.glob(".*"))


def test_what_a_killed_run_left_is_removed(tool, data, tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    start = f".part.{socket.gethostname()}"
    for process in (ended.pid, os.getppid()):
        (tmp_path / f"{start}.{process}.tmp").mkdir()
    tool("subset", "data", "part", "--first", 2).says("2 utterances")
    assert [path.name for path in tmp_path.glob(".part*")] == [f"{start}.{os.getppid()}.tmp"]


def test_segments_keep_the_recordings_they_need(tool, make_dir, tmp_path, tables_of):
    make_dir(
        "cut",
        utt2spk={"u1": "s", "u2": "s", "u3": "t"},
        segments={"u1": "r2 0 1", "u2": "r1 0.5 2", "u3": "r3 0 -1"},
        reco2dur={"r1": "9", "r2": "9", "r3": "9"},
        **{"wav.scp": {"r1": "/r1.wav", "r2": "/r2.wav", "r3": "/r3.wav"}},
    )
    tool("subset", "cut", "part", "--first", 2).says("2 utterances of 1 speakers")
    found = tables_of(tmp_path / "part")
    assert found["wav.scp"] == {"r1": "/r1.wav", "r2": "/r2.wav"}
    assert found["reco2dur"] == {"r1": "9", "r2": "9"}
    assert found["segments"] == {"u1": "r2 0 1", "u2": "r1 0.5 2"}


def test_hours_from_recordings(tool, make_dir, tmp_path):
    import numpy as np
    import soundfile

    paths = {f"u{n}": str(tmp_path / f"{n}.wav") for n in range(3)}
    for path in paths.values():
        soundfile.write(path, np.zeros(8000), 8000)
    make_dir("data", utt2spk=dict.fromkeys(paths, "s"), **{"wav.scp": paths})
    tool("subset", "data", "part", "--hours", 2.5 / 3600).says("part: 2 utterances")
