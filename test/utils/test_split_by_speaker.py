"""split_by_speaker.py: no speaker in two parts, sizes as asked, the same seed the same split."""

import pytest

PARTS = ("train", "valid", "test")


@pytest.fixture
def data(make_dir):
    """40 speakers with 1 to 4 utterances each, 100 in all, of 36 s each: 1 hour."""
    speakers = {f"s{n:02d}-{i}": f"s{n:02d}" for n in range(40) for i in range(1 + n % 4)}
    assert len(speakers) == 100
    return make_dir(
        "all",
        utt2spk=speakers,
        text=dict.fromkeys(speakers, "one two"),
        utt2dur=dict.fromkeys(speakers, "36"),
        spk2age={f"s{n:02d}": str(20 + n) for n in range(40)},
    )


@pytest.fixture
def split(tool, tmp_path, tables_of):
    """split(sizes, *options): {part: its tables}, after checking that nothing is in two."""

    def run(sizes, *options):
        given = [f"{part}={size}" for part, size in zip(PARTS, sizes, strict=False)]
        done = tool("split_by_speaker", "all", *given, *options)
        assert done.status == 0, done.err
        found = {part: tables_of(tmp_path / part) for part in PARTS[: len(sizes)]}
        for name in ("utt2spk", "spk2age"):
            ids = [id_ for tables in found.values() for id_ in tables[name]]
            assert len(ids) == len(set(ids))
        for tables in found.values():
            assert set(tables["utt2spk"].values()) == set(tables["spk2age"])
            assert tables["utt2spk"].keys() == tables["text"].keys() == tables["utt2dur"].keys()
        return done, found

    return run


@pytest.mark.parametrize(
    "sizes, utterances",
    [
        (("0.8", "0.1", "0.1"), (80, 10, 10)),
        (("80%", "10%", "10%"), (80, 10, 10)),
        (("rest", "15", "5"), (80, 15, 5)),
        (("rest", "0.2h", "0.1h"), (70, 20, 10)),
    ],
)
def test_sizes_are_met_but_for_a_speaker(data, split, sizes, utterances):
    """A part may miss its size by the largest speaker's 4 utterances."""
    done, found = split(sizes)
    counts = [len(found[part]["utt2spk"]) for part in PARTS]
    assert sum(counts) == 100
    assert all(abs(count - asked) <= 4 for count, asked in zip(counts, utterances, strict=True))
    done.says(*(f"{part}: {n} utterances of" for part, n in zip(PARTS, counts, strict=True)))
    done.says(f"(asked: {sizes[1]})", f"{counts[1] * 36 / 3600:.2f} hours")


def test_sizes_in_speakers(data, split):
    _, found = split(("rest", "5spk", "3spk"))
    assert [len(found[part]["spk2age"]) for part in PARTS] == [32, 5, 3]


def test_what_is_in_no_part(data, split):
    done, found = split(("20spk", "4spk"))
    assert [len(found[part]["spk2age"]) for part in PARTS[:2]] == [20, 4]
    left = 100 - sum(len(tables["utt2spk"]) for tables in found.values())
    done.says(f"{left} of 100 utterances are in no part")


def test_every_part_gets_a_speaker(tool, make_dir, tmp_path, tables_of):
    """Two speakers left for two small parts: shares are not met, and the page says so."""
    make_dir("all", utt2spk={"a": "x", "b": "y", "c": "z"})
    done = tool("split_by_speaker", "all", "train=0.98", "valid=0.01", "test=0.01")
    done.says("test: 1 utterances of 1 speakers, 33.3 % of the utterances (asked: 0.01)")
    done.says("each utterance has a speaker of its own")


def test_the_seed_decides(tool, data, split, tmp_path):
    one = split(("0.8", "0.1", "0.1"), "--seed", 3)[1]
    assert split(("0.8", "0.1", "0.1"), "--seed", 3)[1] == one  # made again: the same
    others = {part: f"{part}2" for part in PARTS}
    given = [f"{others[part]}={size}" for part, size in zip(PARTS, (0.8, 0.1, 0.1), strict=True)]
    tool("split_by_speaker", "all", *given, "--seed", 4).says("train2: ")
    assert (tmp_path / "test2/utt2spk").read_text() != (tmp_path / "test/utt2spk").read_text()


@pytest.mark.parametrize(
    "parts, words",
    [
        (["a=0.9", "b=0.2"], ["a=0.9 b=0.2 is 110 % of all (100 utterances of 40 speakers)"]),
        (["a=rest", "b=1.0"], ["a=rest b=1.0 is 100 % of all", "ask for less"]),
        (["a=rest", "b=2h"], ["is 200 % of all", "1.00 hours"]),
        (["a=rest", "b=rest"], ["more than one part is the rest"]),
        (["a=many"], ["a=many: a size is one of 0.9, 90%, 2h"]),
        (["a=0"], ["a=0: a size is one of"]),
        (["a"], ["a does not read DIR=NAME"]),
        ([f"p{n}=1spk" for n in range(41)], ["102.5 %"]),
    ],
)
def test_what_is_refused(tool, data, tmp_path, parts, words):
    before = sorted(tmp_path.iterdir())
    tool("split_by_speaker", "all", *parts).fails("split_by_speaker: error: ", *words)
    assert sorted(tmp_path.iterdir()) == before


def test_fewer_speakers_than_parts(tool, make_dir):
    make_dir("all", utt2spk={"a": "x", "b": "x"})
    done = tool("split_by_speaker", "all", "train=0.5", "test=0.5")
    done.fails("all has 1 speakers, fewer than 2 parts")


def test_all_parts_or_none(tool, data, tmp_path):
    """test is there already and is other: train is not made either."""
    (tmp_path / "test").mkdir()
    (tmp_path / "test/notes").write_text("mine")
    tool("split_by_speaker", "all", "train=0.9", "test=0.1").fails("test is there already")
    assert not (tmp_path / "train").exists() and not list(tmp_path.glob(".*"))
    assert [path.name for path in (tmp_path / "test").iterdir()] == ["notes"]
