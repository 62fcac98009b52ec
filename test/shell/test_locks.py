"""utils/with_lock.py: one run at a time; whom a second one waits for; disks without locks."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time

import pytest
from jobs import locks
from jobs.slurm_queue import Queue

PATIENCE = 20.0  # seconds


@pytest.fixture
def with_lock(root, tmp_path):
    """Start a command under a lock in tmp_path; all are ended with the test."""
    started = []

    def start(*command, **options):
        words = [sys.executable, root / "utils/with_lock.py", "data/.lock", *command]
        options = {"cwd": tmp_path, "text": True, "stderr": subprocess.PIPE, **options}
        started.append(subprocess.Popen(words, **options))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def wait_for(what):
    deadline = time.monotonic() + PATIENCE
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def test_a_second_run_says_for_whom_it_waits(with_lock, tmp_path):
    lock = tmp_path / "data/.lock"
    first = with_lock("sleep", "60")
    wait_for(lambda: lock.exists() and lock.read_text())
    second = with_lock("touch", "done")
    line = second.stderr.readline()
    assert "data/.lock" in line and f"process {first.pid} on {os.uname().nodename}" in line
    assert not (tmp_path / "done").exists()
    first.kill()
    assert second.wait(PATIENCE) == 0 and (tmp_path / "done").exists()


def test_children_of_a_killed_run_hold_the_lock(with_lock, tmp_path):
    first = with_lock("sh", "-c", "sleep 60 & echo $! > child.new; mv child.new child; wait")
    wait_for((tmp_path / "child").exists)
    first.kill()
    first.wait()
    second = with_lock("true")
    assert "waiting for data/.lock" in second.stderr.readline()
    os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)
    assert second.wait(PATIENCE) == 0


def test_the_command_ends_with_what_called_it(root, tmp_path):
    script = root / "utils/with_lock.py"
    command = f"{sys.executable} {script} lock sleep 60 & echo $! > pid.new; mv pid.new pid; wait"
    caller = subprocess.Popen(["sh", "-c", command], cwd=tmp_path)
    wait_for((tmp_path / "pid").exists)
    wait_for(lambda: (tmp_path / "lock").exists() and (tmp_path / "lock").read_text())
    number = int((tmp_path / "pid").read_text())
    caller.kill()
    caller.wait()
    wait_for(lambda: not os.path.exists(f"/proc/{number}/stat") or is_zombie(number))


def is_zombie(number):
    with open(f"/proc/{number}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] == "Z"


def test_a_command_that_is_not_there(with_lock):
    done = with_lock("no-such-command")
    assert done.wait(PATIENCE) == 2 and "no-such-command: No such file" in done.stderr.read()


@pytest.mark.parametrize("number", locks.NO_LOCKS)
def test_a_disk_without_locks(tmp_path, monkeypatch, number):
    def none(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", none)
    with open(tmp_path / "lock", "a+") as file:
        assert locks.take(file, pytest.fail, given_up=lambda: False)
        assert not locks.supported(file)


def test_a_disk_that_fails_is_an_error(tmp_path, monkeypatch):
    def fails(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", fails)
    with open(tmp_path / "lock", "a+") as file, pytest.raises(OSError):
        locks.take(file, pytest.fail, given_up=lambda: False)


def test_cancelling_does_not_wait_for_a_dead_node(tmp_path, monkeypatch):
    """squeue shows the cancelled job as COMPLETING for ever."""
    for name, text in (("scancel", ""), ("squeue", "echo '12|12|N/A|COMPLETING|None'")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr("jobs.slurm_queue.ENDING", 0.5)
    notes = []
    begin = time.monotonic()
    Queue("a job", 900.0, notes.append).cancel()
    assert time.monotonic() - begin < 10
    (note,) = notes
    assert "1 cancelled jobs" in note and "first: 12, COMPLETING" in note
    assert "scontrol show job 12" in note
