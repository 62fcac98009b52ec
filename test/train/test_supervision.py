"""What a training process leaves for its launcher."""

import errno
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from espnet_audiollm.train import supervision


@pytest.fixture
def run_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("AUDIOLLM_RUN_DIR", str(tmp_path))
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setattr(supervision, "pulse", supervision.Pulse())
    monkeypatch.setattr(supervision, "requests", supervision.StopRequest())
    return tmp_path


def test_nothing_is_written_without_a_launcher(tmp_path, monkeypatch):
    monkeypatch.delenv("AUDIOLLM_RUN_DIR", raising=False)
    monkeypatch.setattr(supervision, "requests", supervision.StopRequest())
    monkeypatch.chdir(tmp_path)
    supervision.beat("train", 1)
    supervision.saved()
    supervision.stopped()
    assert list(tmp_path.iterdir()) == []
    assert not supervision.install().asked()


def test_beat(run_dir):
    for phase, step in [("start", 0), ("train", 1), ("train", 2), ("save", 2), ("train", 12)]:
        supervision.beat(phase, step)
        time.sleep(0.02 if phase == "train" else 0.1)
    pid, phase, step, longest = (run_dir / "rank3").read_text().split()
    assert (int(pid), phase, step) == (os.getpid(), "train", "12")
    assert 0.02 <= float(longest) < 0.1  # The time of a batch; the save does not count.
    supervision.beat("save", 12)
    assert 0.1 <= float((run_dir / "rank3").read_text().split()[3])


def test_beat_of_a_first_batch_knows_no_pace(run_dir):
    for phase in ("train", "valid"):
        supervision.beat(phase, 1)
        assert (run_dir / "rank3").read_text().split()[3] == "0.000"


def test_marks(run_dir):
    supervision.saved()
    assert {path.name for path in run_dir.iterdir()} == {"saved"}
    supervision.stopped()
    assert {path.name for path in run_dir.iterdir()} == {"saved", "stopped"}


def test_launcher_asks_through_a_file(run_dir):
    request = supervision.install()
    assert not request.asked()
    (run_dir / "stop").touch()
    assert request.asked()


def test_signals_are_not_touched_where_we_are_guests():
    before = [signal.getsignal(number) for number in supervision.ASKING]
    supervision.install()
    assert [signal.getsignal(number) for number in supervision.ASKING] == before


@pytest.mark.parametrize(
    "error, kind, shown",
    [
        (ValueError("no such LLM"), "user", "No such LLM!"),
        (FileNotFoundError(errno.ENOENT, "absent"), "user", "[Errno 2] absent!"),
        (torch.cuda.OutOfMemoryError("tried to allocate"), "user", "lower --batch_bins"),
        (MemoryError(), "user", "this node's memory is full"),
        (AssertionError("x"), "bug", "AssertionError: x"),
        (RuntimeError("shapes (3, 4) and (5, 6)"), "bug", "shapes (3, 4)"),
        (KeyError("feats"), "bug", "KeyError: 'feats'"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "lost", "reset"),
        (TimeoutError("slow"), "lost", "slow"),
        (OSError(errno.ESTALE, "Stale file handle"), "passing", "Stale"),
        (RuntimeError("[../gloo/transport/tcp/pair.cc:534] Read error"), "lost", "gloo"),
        (torch.distributed.DistBackendError("NCCL"), "lost", "DistBackendError"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed"), "passing", "pid 7"),
        (RuntimeError("CUDA error: uncorrectable ECC error"), "passing", "ECC"),
    ],
    ids=str,
)
def test_who_can_mend_it(error, kind, shown, monkeypatch):
    monkeypatch.delenv("AUDIOLLM_DEBUG", raising=False)
    found, text = supervision.classify(error, lambda error: f"{str(error).capitalize()}!")
    assert found == kind
    assert shown.lower() in text.lower()
    assert (type(error).__name__ in text) == (not text.endswith("!"))


def test_debugging_shows_the_traceback_of_user_errors(monkeypatch):
    monkeypatch.setenv("AUDIOLLM_DEBUG", "1")
    assert supervision.classify(ValueError("x")) == ("bug", "ValueError: x")


PROCESS = """
import os, signal, sys
from espnet_audiollm.train import supervision
with supervision.report_errors(lambda error: f"error: {error}"):
    request = supervision.install()
    exec(sys.argv[2])
"""


def run(root, code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", PROCESS, str(root), code],
        env={**os.environ, "PYTHONPATH": str(root), **environment},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stderr


def test_error_is_left_for_the_launcher_to_show(root, tmp_path):
    status, shown = run(root, "raise ValueError('mend me')", AUDIOLLM_RUN_DIR=str(tmp_path))
    assert (status, shown) == (1, "")
    word = json.loads((tmp_path / "rank0.error").read_text())
    assert (word["kind"], word["text"]) == ("user", "error: mend me")
    assert not (tmp_path / "rank0.done").exists()


def test_good_end_is_marked(root, tmp_path):
    assert run(root, "pass", AUDIOLLM_RUN_DIR=str(tmp_path), RANK="1") == (0, "")
    assert (tmp_path / "rank1.done").exists()


def test_without_a_launcher_a_stopped_training_is_not_a_finished_one(root):
    """Exit status 0 would let a recipe go on to the next stage."""
    ask = "os.kill(os.getpid(), signal.SIGTERM); assert request.asked(); supervision.stopped()"
    assert run(root, ask) == (75, "")
    assert run(root, "supervision.saved()") == (0, "")
    assert "ValueError: seen" in run(root, "raise ValueError('seen')")[1]


def test_data_loaders_end_with_their_trainer(root, tmp_path):
    """Those of a killed one as well; and a signal that asks for a checkpoint does not end them."""
    code = """
import multiprocessing, time
def load():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(1000)
child = multiprocessing.get_context("fork").Process(target=load)
child.start()
time.sleep(0.5)
with open(os.environ["AUDIOLLM_RUN_DIR"] + "/child", "w") as file:
    print(child.pid, child.is_alive(), file=file)
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert run(root, code, AUDIOLLM_RUN_DIR=str(tmp_path))[0] == -signal.SIGKILL
    pid, alive = (tmp_path / "child").read_text().split()
    assert alive == "True"
    deadline = time.monotonic() + 5
    while os.path.exists(f"/proc/{pid}") and not zombie(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def zombie(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
