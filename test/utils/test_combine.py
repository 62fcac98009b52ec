"""combine.py: all tables of all directories, clashes named, prefixes."""

import pytest


@pytest.fixture
def two(make_dir):
    make_dir(
        "a",
        utt2spk={"u1": "ann", "u3": "bob"},
        text={"u1": "one", "u3": "three"},
        spk2gender={"ann": "f", "bob": "m"},
        utt2note={"u3": "loud"},
    )
    make_dir("b", utt2spk={"u2": "cyd"}, text={"u2": "two"}, spk2gender={"cyd": "f"})


def test_side_by_side(tool, two, tmp_path, tables_of):
    tool("combine", "all", "b", "a").says("all: 3 utterances of 2 directories with utt2spk")
    found = tables_of(tmp_path / "all")
    assert found.pop("wav.scp") == {
        "u1": f"{tmp_path}/a.u1.wav",
        "u2": f"{tmp_path}/b.u2.wav",
        "u3": f"{tmp_path}/a.u3.wav",
    }
    assert found == {
        "utt2spk": {"u1": "ann", "u2": "cyd", "u3": "bob"},
        "text": {"u1": "one", "u2": "two", "u3": "three"},
        "spk2gender": {"ann": "f", "bob": "m", "cyd": "f"},
        "utt2note": {"u3": "loud"},
    }
    assert tool("validate", "all").status == 0


def test_clashes_are_counted_together(tool, two, tmp_path):
    done = tool("combine", "all", "a", "b", "a")
    done.fails(
        "combine: error: a and a: 2 ids that two of the directories have (first: u1)",
        "as in --prefixes a- b-",
    )
    assert not (tmp_path / "all").exists()


def test_speakers_of_one_name(tool, make_dir, tmp_path, tables_of):
    make_dir("a", utt2spk={"u1": "ann", "u3": "bob"})
    make_dir("b", utt2spk={"u2": "bob"})
    done = tool("combine", "all", "a", "b")
    done.fails("a and b: 1 speakers that two of the directories have (first: bob)", "--same_speak")
    tool("combine", "same", "a", "b", "--same_speakers", "true").says("3 utterances")
    assert tables_of(tmp_path / "same")["utt2spk"] == {"u1": "ann", "u2": "bob", "u3": "bob"}
    tool("combine", "apart", "a", "b", "--prefixes", "x-", "y-").says("3 utterances")
    assert tables_of(tmp_path / "apart")["utt2spk"] == {
        "x-u1": "x-ann",
        "x-u3": "x-bob",
        "y-u2": "y-bob",
    }


def test_prefixes_of_recordings_and_segments(tool, make_dir, tmp_path, tables_of):
    for name in "ab":
        scp = {"r": f"/{name}.wav"}
        make_dir(name, utt2spk={"u": "s"}, segments={"u": "r 0 1"}, **{"wav.scp": scp})
    done = tool("combine", "all", "a", "b")
    done.fails("1 ids", "1 speakers", "1 ids that two of the directories have, with other")
    tool("combine", "all", "a", "b", "--prefixes", "a", "b").says("2 utterances")
    assert tables_of(tmp_path / "all") == {
        "segments": {"au": "ar 0 1", "bu": "br 0 1"},
        "utt2spk": {"au": "as", "bu": "bs"},
        "wav.scp": {"ar": "/a.wav", "br": "/b.wav"},
    }


def test_two_parts_of_the_same_recordings(tool, make_dir, tmp_path, tables_of):
    for id_, times in (("u1", "r 0 1"), ("u2", "r 1 2")):
        scp = {"r": "/r.wav"}
        make_dir(id_, utt2spk={id_: "s"}, segments={id_: times}, **{"wav.scp": scp})
    tool("combine", "all", "u1", "u2", "--same_speakers", "true").says("2 utterances")
    assert tables_of(tmp_path / "all")["wav.scp"] == {"r": "/r.wav"}


def test_a_table_that_one_lacks(tool, two, make_dir, tmp_path, tables_of):
    make_dir("c", utt2spk={"v": "dan"})
    tool("combine", "all", "a", "c").fails("1 tables are not in all", "text, which c lacks")
    tool("combine", "all", "a", "c", "--common_tables", "true").says("3 utterances")
    assert sorted(tables_of(tmp_path / "all")) == ["spk2gender", "utt2note", "utt2spk", "wav.scp"]


def test_segments_in_one_only(tool, two, make_dir):
    make_dir("c", utt2spk={"v": "s"}, segments={"v": "r 0 1"}, **{"wav.scp": {"r": "/r.wav"}})
    done = tool("combine", "all", "a", "c")
    done.fails("c has segments and a has none", "utils/data/segments.py")


@pytest.mark.parametrize(
    "options, words",
    [
        (["--prefixes", "x"], ["--prefixes: 1 for 2 directories"]),
        (["--prefixes", "x", "y z"], ["white space"]),
    ],
)
def test_what_is_refused(tool, two, tmp_path, options, words):
    tool("combine", "all", "a", "b", *options).fails(*words)
    assert not (tmp_path / "all").exists() and not list(tmp_path.glob(".*"))
