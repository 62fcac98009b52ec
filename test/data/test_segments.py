"""Utterances that are parts of recordings, and recordings that are no files, from stage 1's report
to stage 2's directory."""

import shutil

import kaldiio
import numpy as np
import pytest
import soundfile

from espnet_audiollm.bin.format_data import main as format_data
from espnet_audiollm.corpus import repair
from espnet_audiollm.data import audio, kaldi_dir, segments, validation
from espnet_audiollm.data.formatting import Limits, format_dir, format_parts, merge

RAMP = np.arange(-32_000, 32_000, 2, dtype=np.int16)  # 2 s; each sample says where it is


def samples_of(path):
    samples, found = audio.read_mono(path)
    return np.round(samples * 32768).astype(int)


def write(directory, **tables):
    for name, rows in tables.items():
        kaldi_dir.write_table(directory / name.replace("wav_scp", "wav.scp"), rows.items())
    return directory


@pytest.fixture
def cut(tmp_path):
    """Two recordings, three utterances of them."""
    for name in ("one", "two"):
        soundfile.write(tmp_path / f"{name}.wav", RAMP, 16_000)
    ids = {"a-1": "x", "a-2": "y", "b-1": "z"}
    return write(
        tmp_path / "data",
        wav_scp={"one": f"{tmp_path}/one.wav", "two": f"{tmp_path}/two.wav"},
        segments={"a-1": "one 0.00 0.50", "a-2": "two 1 -1", "b-1": "one 0.25 1.25"},
        utt2spk=dict.fromkeys(ids, "s"),
        text=ids,
        answers=ids,
    )


def test_stage_2_cuts(tmp_path, cut):
    assert validation.validate(cut, require_text=True) == []
    dump = tmp_path / "dump"
    summary = format_dir(cut, dump)
    assert (summary.kept, summary.changes) == (3, {"segment to FLAC": 3})
    scp = kaldi_dir.read_dict(dump / "wav.scp")
    assert (samples_of(scp["a-1"]) == RAMP[:8000]).all()
    assert (samples_of(scp["a-2"]) == RAMP[16_000:]).all()
    assert (samples_of(scp["b-1"]) == RAMP[4000:20_000]).all()
    assert kaldi_dir.read_dict(dump / "utt2dur") == {"a-1": "0.500", "a-2": "1.000", "b-1": "1.000"}
    assert kaldi_dir.read_dict(dump / "answers") == {"a-1": "x", "a-2": "y", "b-1": "z"}
    assert validation.validate(dump, require_text=True) == []
    assert format_dir(cut, dump).already_done


def test_other_times_and_other_tables_are_seen(tmp_path, cut):
    dump = tmp_path / "dump"
    format_dir(cut, dump)
    write(cut, segments={"a-1": "one 0.00 0.75", "a-2": "two 1 -1", "b-1": "one 0.25 1.25"})
    (cut / "answers").unlink()
    assert format_dir(cut, dump).kept == 3
    assert kaldi_dir.read_dict(dump / "utt2dur")["a-1"] == "0.750"
    assert not (dump / "answers").exists()
    for name in ("segments", "text", "utt2spk"):  # the recordings themselves are the utterances now
        (cut / name).unlink()
    write(cut, utt2spk={"one": "s", "two": "s"})
    assert format_dir(cut, dump).kept == 2


def test_jobs(tmp_path, cut):
    for job in (1, 2, 3):
        format_parts(cut, tmp_path / "jobs", job=job, num_jobs=3)
    assert merge(cut, tmp_path / "jobs").kept == 3
    format_dir(cut, tmp_path / "dump")
    for name in ("utt2dur", "text"):
        found = [(tmp_path / place / name).read_bytes() for place in ("jobs", "dump")]
        assert found[0] == found[1]


def test_segments_out_of_range_are_in_one_report(tmp_path, cut):
    rows = {"a-1": "one 0 0.5", "a-2": "two 1.5 2.6", "b-1": "one 3 4"}
    write(cut, segments=rows)
    with pytest.raises(ValueError) as found:
        format_dir(cut, tmp_path / "dump")
    assert "2 of 3 recordings cannot be used (first: a-2)" in str(found.value)
    assert "1.5 to 2.6 s, is not in the recording, which has 2.000 s" in str(found.value)
    assert "b-1: " in str(found.value)
    assert not (tmp_path / "dump/wav.scp").exists()
    assert format_dir(cut, tmp_path / "dump", drop_bad_audio=True).kept == 1
    write(cut, segments={**rows, "a-2": "two 1.5 2.4", "b-1": "one 1 2"})  # Kaldi's half second
    assert format_dir(cut, tmp_path / "dump").kept == 3
    assert kaldi_dir.read_dict(tmp_path / "dump/utt2dur")["a-2"] == "0.500"


BAD = {
    "a-1": ("one 0.5", segments.MALFORMED),
    "a-2": ("one x 1", segments.MALFORMED),
    "a-3": ("one -1 1", segments.MALFORMED),
    "a-4": ("one 0 nan", segments.MALFORMED),
    "a-5": ("one 0 1 left", segments.MALFORMED),
    "b-1": ("one 1.5 1", segments.REVERSED),
    "b-2": ("one 1 1", segments.REVERSED),
    "c-1": ("none 0 1", segments.LOST),
    "d-1": ("one 0 1", ""),
}


def test_stage_1_reports_all_that_is_wrong_with_segments(tmp_path, cut):
    write(cut, segments={id_: value for id_, (value, _) in BAD.items()}, text={"d-1": "x"})
    write(cut, utt2spk=dict.fromkeys([*BAD, "z-1"], "s"), answers={"d-1": "x"})
    problems = validation.validate(cut)
    found = {(p.file.rsplit("/", 1)[1], p.kind): (p.count, p.first) for p in problems}
    assert found == {
        ("segments", segments.MALFORMED): (5, "a-1 one 0.5"),
        ("segments", segments.REVERSED): (2, "b-1 one 1.5 1"),
        ("segments", segments.LOST): (1, "c-1 of none"),
        ("text", "ids missing"): (8, "a-1"),
        ("answers", "ids missing"): (8, "a-1"),
        ("utt2spk", "ids not in segments"): (1, "z-1"),
    }
    with pytest.raises(ValueError) as raised:  # stage 2 gives the same report
        format_dir(cut, tmp_path / "dump")
    assert str(raised.value).count("segments") >= 3 and "z-1" in str(raised.value)
    assert not (tmp_path / "dump/wav.scp").exists()


def test_fix_keeps_recordings(tmp_path, cut):
    (cut / "segments").write_text("b-1 one 0.25 1.25\na-1 one 0.00 0.50\n\na-9 two 0 1\n")
    (cut / "wav.scp").write_text(f"two {tmp_path}/two.wav\none {tmp_path}/one.wav\n")
    done = repair.fix(cut)
    removed = [done[f"utterances removed from {name}"] for name in ("segments", "text")]
    assert removed == [1, 1]
    assert list(kaldi_dir.read_dict(cut / "segments")) == ["a-1", "b-1"]
    assert list(kaldi_dir.read_dict(cut / "wav.scp")) == ["one", "two"]
    assert validation.validate(cut, require_text=True) == []


def test_channels(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.stack([RAMP, -RAMP], 1), 16_000)
    data = write(
        tmp_path / "data",
        wav_scp={"call": f"{tmp_path}/a.wav"},
        segments={"A": "call 0 1 0", "B": "call 0 1 1"},
        utt2spk={"A": "A", "B": "B"},
    )
    format_dir(data, tmp_path / "dump")
    scp = kaldi_dir.read_dict(tmp_path / "dump/wav.scp")
    assert (samples_of(scp["A"]) == -samples_of(scp["B"])).all()
    assert (samples_of(scp["A"]) == RAMP[:16_000]).all()


# --- recordings that are no files ---------------------------------------------------------------


@pytest.fixture
def arks(tmp_path):
    objects = {"a": (16_000, RAMP), "b": (8000, RAMP[:8000])}
    kaldiio.save_ark(str(tmp_path / "raw.ark"), objects, scp=str(tmp_path / "raw.scp"))
    scp = dict(line.split() for line in (tmp_path / "raw.scp").read_text().splitlines())
    ids = {"a": "x", "b": "y"}
    return write(tmp_path / "data", wav_scp=scp, utt2spk=ids, text=ids)


def test_arks_are_converted(tmp_path, arks):
    assert validation.validate(arks) == []
    dump = tmp_path / "dump"
    summary = format_dir(arks, dump)
    assert summary.changes == {"ark to FLAC": 1, "8000 Hz to 16000 Hz": 1}
    scp = kaldi_dir.read_dict(dump / "wav.scp")
    assert (samples_of(scp["a"]) == RAMP).all()
    assert all(value.startswith(f"{dump}/audio/") for value in scp.values())
    (tmp_path / "raw.ark").write_bytes((tmp_path / "raw.ark").read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"1 of 2 recordings.*\n.*b: .*the entry promises"):
        format_dir(arks, dump)


def test_arks_that_are_not_there(tmp_path, arks):
    write(arks, wav_scp={"a": f"{tmp_path}/none.ark:2", "b": f"{tmp_path}/raw.ark:99999999"})
    (problem,) = validation.validate(arks)
    assert (problem.kind, problem.count) == ("audio files that do not exist", 2)


@pytest.fixture
def piped(tmp_path):
    soundfile.write(tmp_path / "a.wav", RAMP, 16_000)
    command = f"sox {tmp_path}/a.wav -t wav - |"
    ids = {"a": command, "b": command, "c": f"{tmp_path}/a.wav"}
    return write(tmp_path / "data", wav_scp=ids, utt2spk=dict.fromkeys(ids, "s"))


def test_pipes_are_refused_unless_asked_for(tmp_path, piped, capsys):
    (problem,) = validation.validate(piped)
    assert (problem.kind, problem.count) == ("pipes", 2)
    assert "a sox" in str(problem) and "--allow_pipes true" in str(problem)
    for more in ([], ["--drop_bad_audio", "true"]):
        with pytest.raises(SystemExit):
            format_data([str(piped), str(tmp_path / "dump"), *more])
        assert "--allow_pipes true" in capsys.readouterr().err
    assert not (tmp_path / "dump/wav.scp").exists()


@pytest.mark.skipif(not shutil.which("sox"), reason="no sox")
def test_pipes_that_are_asked_for(tmp_path, piped, capsys):
    assert validation.validate(piped, allow_pipes=True) == []
    dump = tmp_path / "dump"
    format_data([str(piped), str(dump), "--allow_pipes", "true"])
    assert "kept 3 of 3 utterances" in capsys.readouterr().out
    scp = kaldi_dir.read_dict(dump / "wav.scp")
    assert scp["c"] == f"{tmp_path}/a.wav"
    assert (samples_of(scp["a"]) == RAMP).all() and "|" not in scp["b"]
    allowed = Limits(allow_pipes=True)
    assert format_dir(piped, dump, allowed).already_done
    soundfile.write(tmp_path / "a.wav", RAMP[:16_000], 16_000)  # what the command reads
    assert format_dir(piped, dump, allowed).num_samples == 3 * 16_000
    write(piped, segments={"u": "a 0.5 1"}, utt2spk={"u": "s"})
    assert format_dir(piped, tmp_path / "cut", allowed).num_samples == 8000


def test_pipes_that_cannot_be_run(tmp_path, piped):
    rows = {"a": "cat x |", "b": "sox x - ; rm y |", "c": f"{tmp_path}/a.wav"}
    write(piped, wav_scp=rows)
    (problem,) = validation.validate(piped, allow_pipes=True)
    assert (problem.kind, problem.count) == ("pipes that cannot be run", 2)
    assert "'cat' is not one of the programs allowed" in problem.first
