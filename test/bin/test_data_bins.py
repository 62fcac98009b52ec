"""The command lines of the data side: what a user sees of bad input."""

import resource
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from espnet_audiollm.data import kaldi_dir
from espnet_audiollm.types import Utterance


@pytest.fixture
def run(root):
    """run(tool, *arguments, **Popen options): (status, stdout, stderr)."""

    def call(tool, *arguments, **options):
        command = [sys.executable, "-m", f"espnet_audiollm.bin.{tool}", *map(str, arguments)]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, **options)
        return done.returncode, done.stdout, done.stderr

    return call


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(0)
    utts = []
    for i in range(6):
        path = tmp_path / f"{i}.wav"
        soundfile.write(path, rng.uniform(-0.5, 0.5, 44_100), 44_100)
        utts.append(Utterance(f"u{i}", str(path), "s", text="one two"))
    kaldi_dir.write_data_dir(tmp_path / "data", utts)
    return tmp_path / "data"


def fails(result, *words):
    status, _, stderr = result
    assert status == 1
    assert "Traceback" not in stderr
    for word in words:
        assert word in stderr


TOOLS = ["format_data", "tokenize_text", "data_lengths"]


@pytest.mark.parametrize("tool", TOOLS)
def test_help_needs_no_torch(run, tool):
    status, stdout, _ = run(tool, "--help")
    assert status == 0 and "usage" in stdout
    code = f"import espnet_audiollm.bin.{tool}, sys; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).stdout == b"False\n"


def test_format(run, data, tmp_path):
    status, stdout, stderr = run("format_data", data, tmp_path / "dump", "--nj", 2)
    assert status == 0 and "kept 6 of 6" in stdout and "6/6 utt" in stderr
    status, stdout, _ = run("format_data", data, tmp_path / "dump")
    assert status == 0 and "nothing to do" in stdout


def test_format_by_jobs(run, data, tmp_path):
    fails(run("format_data", data, tmp_path / "dump", "--merge"), "part 1 of 1 is missing")
    fails(run("format_data", data, tmp_path / "dump", "--job", 3, "--num_jobs", 2), "--job 3")
    for job in (1, 2):
        status, stdout, _ = run(
            "format_data", data, tmp_path / "dump", "--job", job, "--num_jobs", 2
        )
        assert status == 0 and f"{2 - job} parts made by job {job} of 2" in stdout
    status, stdout, _ = run("format_data", data, tmp_path / "dump", "--merge")
    assert status == 0 and "kept 6 of 6" in stdout


def test_unknown_option_and_bad_values(run, data, tmp_path):
    status, _, stderr = run("format_data", data, tmp_path / "dump", "--max_adio", 3)
    assert status == 2 and "--max_adio" in stderr
    fails(run("format_data", data, tmp_path / "dump", "--nj", 0), "--nj 0")


def full_disk(result, dump):
    fails(result, "disk is full", "free some space")
    assert not (dump / ".done").exists() and not (dump / "wav.scp").exists()
    assert not list(dump.rglob("*.tmp"))


@pytest.mark.parametrize("nj", [1, 2])
def test_a_file_size_limit_stands_for_a_full_disk(run, data, tmp_path, nj):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    full_disk(
        run("format_data", data, tmp_path / "dump", "--nj", nj, preexec_fn=limit), tmp_path / "dump"
    )
    assert run("format_data", data, tmp_path / "dump")[0] == 0


def test_a_disk_that_is_really_full(run, data, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting needs root; the file size limit is tested above")
    try:
        full_disk(run("format_data", data, disk / "dump"), disk / "dump")
        assert list(disk.rglob("*.flac"))  # what fitted is kept, complete, for the next run
        subprocess.run(["mount", "-o", "remount,size=1m", str(disk)], check=True)
        assert run("format_data", data, disk / "dump")[0] == 0
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_tokenize(run, data, tmp_path):
    options = ("--text", data / "text", "--output", tmp_path / "bpe", "--vocab_size")
    fails(run("tokenize_text", *options, 5000), "the largest that works is")
    assert not (tmp_path / "bpe").exists()
    status, stdout, _ = run("tokenize_text", *options, 9)
    assert status == 0 and "9 unigram pieces from 6 transcripts" in stdout
    assert (tmp_path / "bpe" / "tokens.txt").read_text().count("\n") == 9
    assert "nothing to do" in run("tokenize_text", *options, 9)[1]
    fails(run("tokenize_text", "--text", tmp_path / "no", "--output", tmp_path), "run stage 2")


def test_lengths(run, data, tmp_path):
    assert run("format_data", data, tmp_path / "dump")[0] == 0
    assert run("tokenize_text", "--text", data / "text", "--output", tmp_path, "--vocab_size", 9)
    options = ("--data", tmp_path / "dump", "--output", tmp_path / "stats")
    status, stdout, _ = run("data_lengths", *options, "--bpemodel", tmp_path / "bpe.model")
    assert status == 0 and "speech_shape and text_shape of 6 utterances" in stdout
    assert (tmp_path / "stats" / "speech_shape").read_text().startswith("u0 16000\nu1 16000\n")
    fails(run("data_lengths", *options, "--responses", tmp_path / "no"), "no does not exist")
