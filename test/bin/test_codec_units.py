"""Codecs in bin/learn_units, extract_units, report_units, extend_llm and speak."""

import shutil

import pytest
import soundfile
from codecs_of_tests import save_codec

from espnet_audiollm.data.audio import read_comment, read_mono_16k
from espnet_audiollm.data.kaldi_dir import read_dict
from espnet_audiollm.data.unit_tables import iter_levels, read_set
from espnet_audiollm.model.codec import load_codec


@pytest.fixture(scope="module")
def place(systems, tmp_path_factory):
    """A codec, the quantiser that it is, and units of two levels."""
    from espnet_audiollm.bin import extract_units, learn_units

    place = tmp_path_factory.mktemp("codec")
    save_codec("mimi", place / "mimi")
    words = ["--source", f"codec:{place}/mimi", "--levels", "2", "--output", f"{place}/q"]
    assert learn_units.main(words) == 0
    words = ["--quantiser", f"{place}/q", "--data", f"{systems}/data", "--shard_size", "5"]
    assert extract_units.main([*words, "--output", f"{place}/u"]) == 0
    return place


def test_units_of_a_batch_are_those_of_each_recording(systems, place):
    unit_set, rows = read_set(place / "u"), list(iter_levels(place / "u"))
    assert (unit_set.size, unit_set.levels, unit_set.frames_per_second) == (16, 2, 150.0)
    codec, audio = load_codec(place / "mimi"), read_dict(f"{systems}/data/wav.scp")
    assert len(rows) == len(audio) == 12
    for row in rows[::5]:
        single = codec.units(read_mono_16k(audio[row.id]), 2)
        assert [list(level) for level in row.levels] == single


def test_a_codec_speaks_its_units(place, run, tmp_path):
    words = ["--vocoder", f"codec:{place}/mimi", "--units", place / "u"]
    run("speak", *words, "--output", tmp_path / "o", "--shard_size", 5).says("12 utterances")
    codec = load_codec(place / "mimi")
    spoken = read_dict(tmp_path / "o/wav.scp")
    row = next(iter(iter_levels(place / "u")))
    wave = soundfile.read(spoken[row.id])[0]
    theirs = codec.wave([list(level) for level in row.levels])
    assert len(wave) == len(theirs) and abs(wave - theirs.clip(-1, 1)).max() < 1e-3
    assert all(read_comment(path).startswith("Generated speech") for path in spoken.values())
    shuffled = [*words, "--shuffle", "true", "--output", tmp_path / "s"]
    run("speak", *shuffled).says("12 utterances")
    lengths = [read_dict(tmp_path / name / "utt2num_samples") for name in "os"]
    assert lengths[0] == lengths[1]


def test_reported_and_given_to_an_llm(systems, place, run, tmp_path):
    run("report_units", place / "u", "--data", f"{systems}/data").says("level 1", "level 2")
    llm = ["--llm", f"{systems}/llm", "--quantiser", place / "q", "--output", tmp_path / "joint"]
    run("extend_llm", *llm, "--init", "centroid").fails("--init centroid", "--init mean")
    run("extend_llm", *llm).says("18 more for 16 units of codec")


def test_what_is_refused(systems, place, run, tmp_path):
    learn = ["--output", tmp_path / "q", "--source"]
    run("learn_units", *learn, f"codec:{tmp_path}/gone").fails("does not exist", "codec:DIR")
    run("learn_units", *learn, f"codec:{systems}/llm").fails("llama; codecs", "dac")
    run("learn_units", *learn, f"codec:{place}/mimi", "--levels", 9).fails("1 to 4 codebooks")
    run("learn_units", *learn, f"codec:{place}/mimi:3").fails("a codec has no layers")
    run("learn_units", *learn, "fbank").fails("needs --data")
    other = save_codec("mimi", tmp_path / "other", seed=1)
    words = ["--quantiser", place / "q", "--data", f"{systems}/data", "--output", tmp_path / "u"]
    run("extract_units", *words, "--encoder", other).fails("other weights", "--encoder")
    moved = shutil.copytree(place / "mimi", tmp_path / "moved")
    run("extract_units", *words, "--encoder", moved).says("units of 12 recordings")
    speak = ["--units", place / "u", "--output", tmp_path / "o", "--vocoder"]
    run("speak", *speak, f"codec:{other}").fails("not those of the codec")
    mimi = [*speak, f"codec:{place}/mimi"]
    run("speak", *mimi, "--voice", "x").fails("--voice x", "voice of the recording")
    run("speak", *mimi, "--durations", "predicted").fails("one frame each")
    run("speak", "--units", place / "u/units", *mimi[2:]).fails("is no directory")
