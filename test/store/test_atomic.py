"""What is written aside: names of one process on one machine, and what a sweep does not touch."""

import multiprocessing
import os
import socket
import time

import pytest
from written_runs import NO_PROCESS

from espnet_audiollm.store.atomic import (
    FORGOTTEN,
    aside_of,
    atomic_write,
    new_directories,
    remove_asides,
)

HERE = socket.gethostname()


@pytest.fixture
def other_machine(monkeypatch):
    """Names as another machine with the same process number would make them."""

    def name(path):
        with monkeypatch.context() as there:
            there.setattr(socket, "gethostname", lambda: "node2")
            return aside_of(path)

    return name


def test_what_a_killed_process_of_an_equal_number_left_is_in_nobodys_way(tmp_path):
    """As the first process of each container has."""
    target = tmp_path / "made"
    (aside_of(target) / "half").mkdir(parents=True)
    with new_directories(target) as (aside,):
        (aside / "file").touch()
    assert [path.name for path in target.iterdir()] == ["file"]


def test_two_machines_with_equal_process_numbers_write_the_same_file(tmp_path, other_machine):
    path = tmp_path / "wav.scp"
    other = other_machine(path)
    with atomic_write(path) as out:
        other.write_text("theirs")
        out.write("ours")
    assert (path.read_text(), other.read_text()) == ("ours", "theirs")


def test_a_sweep_removes_what_nobody_writes_any_more(tmp_path, other_machine):
    path = tmp_path / "shard.1"
    child = multiprocessing.Process(target=time.sleep, args=(60,))
    child.start()
    old = time.time() - FORGOTTEN - 1
    made = {
        "killed here": tmp_path / f".shard.1.{HERE}.{NO_PROCESS}.tmp",
        "alive here": tmp_path / f".shard.1.{HERE}.{child.pid}.tmp",
        "alive there": other_machine(path),
        "killed there": tmp_path / f".shard.1.node2.{NO_PROCESS}.tmp",
        "of another file": tmp_path / f".other.{HERE}.{NO_PROCESS}.tmp",
    }
    for aside in made.values():
        aside.touch()
    os.utime(made["killed there"], (old, old))
    remove_asides(tmp_path, "shard.*")
    child.kill()
    child.join()
    left = [what for what, aside in made.items() if aside.exists()]
    assert left == ["alive here", "alive there", "of another file"]
