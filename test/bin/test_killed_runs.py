"""Noise and stages 6, 7 and 10 in three jobs and a merge, killed at moments of many kinds, then run
again: the final files are those of one process in peace, and nothing else is left."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def commands(root):
    llm, data = ["--llm", f"{root}/llm"], ["--data", f"{root}/data"]
    answered = [*llm, *data, "--references", f"{root}/responses"]
    return {
        "add_noise": [*data, "--noise", "white:0"],
        "ctc_decode": [*data, "--exp", f"{root}/ctc", "--batch_seconds", "3"],
        "generate_responses": [*llm, *data, "--batch_size", "2", "--device", "cpu"],
        "generate_responses teacher": [*llm, *data, "--batch_size", "2", "--device", "cpu"]
        + ["--teacher_top_k", "3"],
        "respond audiollm": [*answered, "--system", "audiollm", "--exp", f"{root}/align"],
        "respond talks": [*llm, "--system", "reference", "--data", f"{root}/talks.jsonl"]
        + ["--references", f"{root}/talks_responses"],
        "respond cascade": [*answered, "--system", "cascade", "--hyp", f"{data[1]}/text"],
    }


@pytest.mark.parametrize(
    ("which", "moments"),
    [
        ("add_noise", "1 *.flac .shard.*.part shard.00001.jsonl 1 *.flac noise.json text wav.scp"),
        (
            "ctc_decode",
            ".shard.*.part 1 *.tmp shard.00000.jsonl 1 hyp errors.txt wer.json inputs.json",
        ),
        ("generate_responses", "store.json .shard.*.part 1 *.tmp 1 shard.*.jsonl 1 response_ids"),
        ("generate_responses teacher", ".parts 1 top_k response_ids 1 top_k.bin prompt_ids 1"),
        ("respond audiollm", "1 .shard.*.part *.tmp 1 shard.00002.jsonl similarity token_nats 1"),
        ("respond talks", ".shard.*.part 1 *.tmp shard.00001.jsonl answers.jsonl run.json 1"),
        ("respond cascade", ".shard.*.part 1 *.tmp shard.00001.jsonl nats hyp run.json"),
    ],
)
def test_killed_again_and_again(systems, tmp_path, which, moments):
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("killed_runs.py"), tmp_path, "3", "17"]
        + [moments.replace(" ", ","), which.split()[0], "--shard_size", "3"]
        + commands(systems)[which],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["ended"] and report["orphans"] is None
    assert len(report["sizes"]) >= len(moments.split()) / 2  # a kill may come too late, most not
    assert len({size for size in report["sizes"] if size}) >= 2  # some in the midst of the work
    assert contents(tmp_path / "killed") == contents(tmp_path / "complete")


def contents(directory):
    """Everything there is, hidden files too; tables may name files of the directory."""
    files = (path for path in directory.rglob("*") if path.is_file())
    own = str(directory).encode()
    return {str(path.relative_to(directory)): path.read_bytes().replace(own, b"") for path in files}
