import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_audiollm.data import audio, kaldi_dir, validation
from espnet_audiollm.data.formatting import (
    Limits,
    format_dir,
    format_parts,
    merge,
    parts,
)
from espnet_audiollm.types import Utterance

ODD = "a$(touch${IFS}pwned);'b\"`x`&|*"


def noise(seconds, rate=16_000, seed=0):
    samples = int(round(seconds * rate))
    return np.random.default_rng(seed).uniform(-0.3, 0.3, samples).astype("f4")


def make(tmp_path, recordings, texts=None, name="src", **extra):
    """A data directory of {id: (samples, rate)}, as WAV; `texts` overrides transcripts."""
    utts = []
    for number, (id_, (samples, rate)) in enumerate(recordings.items()):
        path = tmp_path / "corpus" / f"{number}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, samples, rate)
        text = {**{id_: f"words of {number}"}, **(texts or {})}[id_]
        utts.append(Utterance(id_, str(path), "spk", text=text))
    kaldi_dir.write_data_dir(tmp_path / name, utts, **extra)
    return tmp_path / name


def snapshot(directory):
    return {p: p.stat().st_mtime_ns for p in sorted(directory.rglob("*"))}


def files(directory):
    return {
        str(p.relative_to(directory)): p.read_bytes()
        for p in sorted(directory.rglob("*"))
        if p.is_file()
    }


@pytest.fixture
def mixed(tmp_path):
    """One of each kind; what stage 2 does with them is in `test_mixed`."""
    recordings = {
        "good": (noise(1.0), 16_000),
        "eight": (noise(0.5, 8000), 8000),
        "stereo": (np.stack([noise(0.25)] * 2, 1), 16_000),
        "short": (noise(0.05), 16_000),
        "least": (noise(0.1), 16_000),
        "long": (noise(2.001), 16_000),
        "most": (noise(2.0), 16_000),
        "silent": (noise(1.0), 16_000),
        ODD: (noise(0.3, 8000), 8000),
        "../up": (noise(0.3, 8000), 8000),
    }
    ids = dict.fromkeys(recordings, "x")
    return make(tmp_path, recordings, {"silent": ""}, answers=ids, category=ids)


LIMITS = Limits(0.1, 2.0)


@pytest.mark.parametrize("nj", [1, 2])
def test_mixed(tmp_path, mixed, nj):
    dst = tmp_path / "dump" / "src"
    summary = format_dir(mixed, dst, LIMITS, nj=nj)
    kept = sorted(["good", "eight", "stereo", "least", "most", ODD, "../up"])
    for name in ("wav.scp", "text", "utt2spk", "utt2dur", "utt2num_samples", "answers", "category"):
        assert list(kaldi_dir.read_dict(dst / name)) == kept
    assert validation.validate(dst, require_text=True) == []
    assert (dst / "dropped.tsv").read_text() == (
        "id\treason\tdetail\n"
        "long\tlonger than 2 s\t2.001 s\n"
        "short\tshorter than 0.1 s\t0.050 s\n"
        "silent\tempty transcript\t\n"
    )
    assert kaldi_dir.read_dict(dst / "utt2dur")["eight"] == "0.500"
    assert kaldi_dir.read_dict(dst / "utt2num_samples")["eight"] == "8000"
    scp = kaldi_dir.read_dict(dst / "wav.scp")
    assert scp["good"] == kaldi_dir.read_dict(mixed / "wav.scp")["good"]  # stays in place
    for id_ in kept:
        found = audio.info(scp[id_])
        assert found.usable_in_place
        assert str(found.frames) == kaldi_dir.read_dict(dst / "utt2num_samples")[id_]
    assert os.path.realpath(scp["../up"]).startswith(os.path.realpath(dst / "audio"))
    assert summary.kept == 7 and sum(summary.dropped.values()) == 3
    assert summary.changes == {"8000 Hz to 16000 Hz": 3, "2 channels to 1": 1}
    assert "converted 3: 8000 Hz to 16000 Hz" in str(summary)
    assert not list(tmp_path.rglob("pwned"))


def test_second_run_does_nothing_and_a_change_is_seen(tmp_path, mixed):
    dst = tmp_path / "dump"
    format_dir(mixed, dst, LIMITS)
    before = snapshot(dst)
    assert format_dir(mixed, dst, LIMITS).already_done
    assert snapshot(dst) == before
    assert format_dir(mixed, dst, Limits(0.1, 3.0)).kept == 8
    scp = kaldi_dir.read_dict(mixed / "wav.scp")
    soundfile.write(scp["eight"], noise(0.75, 8000), 8000)  # same path, another recording
    assert not format_dir(mixed, dst, Limits(0.1, 3.0)).already_done
    assert kaldi_dir.read_dict(dst / "utt2dur")["eight"] == "0.750"
    converted = [p for p in (dst / "audio").rglob("*") if p.is_file()]
    assert len(converted) == 4  # the old recording's conversion is gone


def test_a_copy_elsewhere_gets_tables_of_its_own(tmp_path, mixed):
    format_dir(mixed, tmp_path / "dump", LIMITS)
    (tmp_path / "dump").rename(tmp_path / "moved")
    before = (tmp_path / "moved/.done").read_text().splitlines()[0]
    assert not format_dir(mixed, tmp_path / "moved", LIMITS, drop_bad_audio=True).already_done
    assert (tmp_path / "moved/.done").read_text() == f"{before}\n{tmp_path}/moved\n"
    paths = kaldi_dir.read_dict(tmp_path / "moved/wav.scp").values()
    assert all(Path(path).exists() for path in paths)
    assert any(path.startswith(f"{tmp_path}/moved/") for path in paths)


def test_text_that_goes_away_does_not_stay_behind(tmp_path, mixed):
    dst = tmp_path / "dump"
    format_dir(mixed, dst, LIMITS)
    for name in ("text", "answers"):
        (mixed / name).unlink()
    assert format_dir(mixed, dst, LIMITS).kept == 8
    assert not (dst / "text").exists() and not (dst / "answers").exists()
    assert (dst / "category").exists()


@pytest.fixture
def damaged(tmp_path):
    src = make(tmp_path, {id_: (noise(0.5), 16_000) for id_ in ("a", "b", "c", "d", "e", "f")})
    scp = kaldi_dir.read_dict(src / "wav.scp")
    complete = open(scp["b"], "rb").read()
    open(scp["b"], "wb").write(complete[:5000])
    open(scp["c"], "wb").write(b"this is a web page, not a recording")
    soundfile.write(scp["d"], np.zeros(0), 16_000)
    soundfile.write(scp["e"], np.full(8000, np.nan), 16_000, "FLOAT")
    return src


@pytest.mark.parametrize("nj", [1, 2])
def test_all_bad_recordings_are_in_one_error(tmp_path, damaged, nj):
    dst = tmp_path / "dump"
    with pytest.raises(ValueError, match=r"4 of 6 recordings cannot be used \(first: b\)") as error:
        format_dir(damaged, dst, nj=nj)
    for words in ("truncated", "not audio", "no samples", "NaN", "--drop_bad_audio true"):
        assert words in str(error.value)
    assert sorted(p.name for p in dst.iterdir()) == ["bad_audio.tsv", "parts"]
    assert [row.split("\t")[0] for row in (dst / "bad_audio.tsv").open()] == list("bcde")


def test_bad_recordings_can_be_dropped(tmp_path, damaged):
    dst = tmp_path / "dump"
    summary = format_dir(damaged, dst, drop_bad_audio=True)
    assert (summary.kept, summary.dropped) == (2, {"unreadable audio": 4})
    assert list(kaldi_dir.read_dict(dst / "wav.scp")) == ["a", "f"]


def test_everything_dropped(tmp_path):
    src = make(tmp_path, {"a": (noise(0.5), 16_000), "b": (noise(0.01), 16_000)})
    with pytest.raises(ValueError, match="all 2 utterances would be dropped .*1 longer.*1 shorter"):
        format_dir(src, tmp_path / "dump", Limits(0.1, 0.2))
    assert [p.name for p in (tmp_path / "dump").iterdir()] == ["parts"]


def test_an_invalid_directory_is_refused(tmp_path, mixed):
    (mixed / "utt2spk").write_text("good s\r\n")
    with pytest.raises(ValueError, match="CRLF"):
        format_dir(mixed, tmp_path / "dump", LIMITS)
    assert not (tmp_path / "dump").exists()
    with pytest.raises(ValueError, match="missing directory"):
        format_dir(tmp_path / "none", tmp_path / "dump", LIMITS)
    with pytest.raises(ValueError, match="same directory"):
        format_dir(mixed, mixed, LIMITS)
    with pytest.raises(ValueError, match="--min_audio 3 is not below --max_audio 2"):
        format_dir(mixed, tmp_path / "dump", Limits(3, 2))


def test_killed_at_any_moment_it_goes_on(tmp_path, root):
    recordings = {f"u{i:03d}": (noise(1.5, 44_100, i), 44_100) for i in range(150)}
    src = make(tmp_path, recordings)
    format_dir(src, tmp_path / "complete")
    command = [sys.executable, "-m", "espnet_audiollm.bin.format_data", str(src)]
    kills = 0
    for wanted in (5, 60, 120):
        process = subprocess.Popen([*command, str(tmp_path / "cut"), "--nj", "1"], cwd=root)
        while process.poll() is None and _converted(tmp_path / "cut") < wanted:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        assert not (tmp_path / "cut" / "wav.scp").exists()
    assert kills == 3
    before = snapshot(tmp_path / "cut" / "audio")
    format_dir(src, tmp_path / "cut")
    after = snapshot(tmp_path / "cut" / "audio")
    kept = [p for p in before if p.suffix == ".flac" and after[p] == before[p]]
    assert len(kept) >= 120  # converted once only
    cut, complete = files(tmp_path / "cut"), files(tmp_path / "complete")
    for name in ("wav.scp", ".done"):  # they say where they are
        assert cut.pop(name).replace(b"/cut", b"/complete") == complete.pop(name)
    assert cut == complete  # and no leftover of the killed runs


def _converted(dst):
    return sum(1 for _ in dst.glob("audio/*/[!.]*"))


def test_a_worker_that_is_killed_is_no_hang(tmp_path, mixed, monkeypatch):
    monkeypatch.setattr(audio, "opened", lambda *args: os.kill(os.getpid(), 9))
    with pytest.raises(ValueError, match="worker process was killed"):
        format_dir(mixed, tmp_path / "dump", LIMITS, nj=2)
    assert not (tmp_path / "dump" / "wav.scp").exists()


def test_killed_main_process_leaves_no_workers(tmp_path, root):
    recordings = {f"u{i:03d}": (noise(1.5, 44_100, i), 44_100) for i in range(150)}
    src, dst = make(tmp_path, recordings), tmp_path / "dump"
    command = [sys.executable, "-m", "espnet_audiollm.bin.format_data", str(src), str(dst)]
    process = subprocess.Popen([*command, "--nj", "2"], cwd=root)
    while _converted(dst) < 5:
        time.sleep(0.002)
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    process.wait()
    assert len(workers) == 2
    end = time.monotonic() + 20
    while any(_alive(pid) for pid in workers):
        assert time.monotonic() < end
        time.sleep(0.01)


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


# --- jobs ---------------------------------------------------------------------------------------


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of one to three utterances."""
    monkeypatch.setattr(parts, "PART", 200)


@pytest.mark.parametrize("num_jobs", [2, 3, 40])
def test_jobs_and_a_merge_equal_one_process(tmp_path, mixed, small_parts, num_jobs):
    format_dir(mixed, tmp_path / "complete", LIMITS)
    made = [
        format_parts(mixed, tmp_path / "jobs", LIMITS, 1, job=job, num_jobs=num_jobs)
        for job in range(1, num_jobs + 1)
    ]
    made_parts = list((tmp_path / "jobs" / "parts").iterdir())
    assert sum(made) == len(made_parts) > 3
    assert not (tmp_path / "jobs" / "wav.scp").exists()
    summary = merge(mixed, tmp_path / "jobs", LIMITS)
    assert summary.kept == 7 and sum(summary.dropped.values()) == 3
    jobs, complete = files(tmp_path / "jobs"), files(tmp_path / "complete")
    for name in ("wav.scp", ".done"):  # they say where they are
        assert jobs.pop(name).replace(b"/jobs", b"/complete") == complete.pop(name)
    assert jobs == complete
    before = snapshot(tmp_path / "jobs")
    assert merge(mixed, tmp_path / "jobs", LIMITS).already_done
    assert format_parts(mixed, tmp_path / "jobs", LIMITS, job=1, num_jobs=7) == 0
    assert snapshot(tmp_path / "jobs") == before


def test_a_merge_wants_all_parts(tmp_path, mixed, small_parts):
    dst = tmp_path / "dump"
    format_parts(mixed, dst, LIMITS, job=1, num_jobs=2)
    with pytest.raises(ValueError, match=r"part 2 of \d+ is missing, or .*--merge for every job"):
        merge(mixed, dst, LIMITS)
    format_parts(mixed, dst, LIMITS, job=2, num_jobs=2)
    with pytest.raises(ValueError, match=r"part 1 of \d+ is missing, or was made of other data"):
        merge(mixed, dst, Limits(0.1, 3.0))
    lines = (mixed / "text").read_text().replace("words of 4", "other words")
    (mixed / "text").write_text(lines)
    with pytest.raises(ValueError, match="was made of other data"):
        merge(mixed, dst, LIMITS)
    assert not (dst / "wav.scp").exists()


def test_only_the_part_of_a_changed_recording_is_made_again(tmp_path, mixed, small_parts):
    dst = tmp_path / "dump"
    format_dir(mixed, dst, LIMITS)
    scp = kaldi_dir.read_dict(mixed / "wav.scp")
    soundfile.write(scp["stereo"], noise(0.75), 16_000)
    before = snapshot(dst / "parts")
    assert format_dir(mixed, dst, LIMITS).kept == 7
    after = snapshot(dst / "parts")
    changed = [p for p in after if p.is_file() and before.get(p) != after[p]]
    assert len(changed) == 1 and "stereo" in changed[0].read_text()
    assert kaldi_dir.read_dict(dst / "utt2dur")["stereo"] == "0.750"


def test_bad_recordings_of_all_jobs_are_in_one_error(tmp_path, damaged, small_parts):
    dst = tmp_path / "dump"
    for job in (1, 2):
        format_parts(damaged, dst, job=job, num_jobs=2)
    with pytest.raises(ValueError, match=r"4 of 6 recordings cannot be used \(first: b\)"):
        merge(damaged, dst)
    assert format_parts(damaged, dst, job=2, num_jobs=2) > 0  # what was bad is tried again
    scp = kaldi_dir.read_dict(damaged / "wav.scp")
    soundfile.write(scp["e"], noise(0.5), 16_000)
    format_parts(damaged, dst, drop_bad_audio=True)
    assert merge(damaged, dst, drop_bad_audio=True).dropped == {"unreadable audio": 3}
    assert list(kaldi_dir.read_dict(dst / "wav.scp")) == ["a", "e", "f"]
    with pytest.raises(ValueError, match="3 of 6 recordings"):
        merge(damaged, dst)


def test_a_table_out_of_order_across_parts_is_refused(tmp_path, mixed, small_parts):
    lines = (mixed / "utt2spk").read_text().splitlines(keepends=True)
    (mixed / "utt2spk").write_text("".join(lines[5:] + lines[:5]))
    with pytest.raises(ValueError, match="is missing in|out of order"):
        format_parts(mixed, tmp_path / "dump", LIMITS)
