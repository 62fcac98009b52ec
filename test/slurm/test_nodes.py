"""utils/launch.py on two nodes of a real Slurm: a rank or a node that is lost ends the other."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from jobs import processes
from slurm_node import descendants

ROOT = Path(__file__).parents[2]


LIGHT = ROOT / "test/shell/light_training.py"
FOREVER = "100000"  # steps
MINUTE = 60.0


class Step:
    """`launch.py` on two nodes, as a runner starts it."""

    def __init__(self, cluster, directory, *command, options=()):
        self.cluster, self.begun = cluster, time.monotonic()
        self.log, self.verdicts = directory / "log", directory / "verdicts"
        self.verdicts.mkdir()
        srun = ["srun", "--nodes", "2", "--ntasks", "2", "--ntasks-per-node", "1", "-w", "n1,n2"]
        srun += ["--kill-on-bad-exit=1", "--mem", "100", sys.executable, ROOT / "utils/launch.py"]
        srun += ["--num_nodes", "2", "--num_procs", "1", *options, "--", *command]
        with open(self.log, "w") as log:
            self.srun = subprocess.Popen(
                [str(word) for word in srun],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**cluster.env, "AUDIOLLM_VERDICTS": str(self.verdicts)},
            )

    def output(self) -> str:
        return self.log.read_text()

    def wait_for(self, *lines: str) -> None:
        self.cluster.wait_for(lambda: all(line in self.output() for line in lines), str(lines))

    def verdict(self, node: int) -> str:
        path = self.verdicts / f"node{node}"
        self.cluster.wait_for(path.exists, f"the verdict of node {node}")
        return path.read_text()

    def job(self) -> str:
        return self.cluster.jobs("-o", "%A")[0]


@pytest.fixture
def step(cluster, tmp_path):
    begun = []

    def start(*command, **options):
        begun.append(Step(cluster, tmp_path, *command, **options))
        return begun[0]

    yield start
    for each in begun:
        each.srun.kill()
        each.srun.wait()


def trainers(cluster, node: str) -> list[int]:
    """The processes on a node that train."""
    found = []
    for pid in descendants(cluster.daemons[node].pid):
        words = command_line(pid)
        if LIGHT.name in " ".join(words) and "launch.py" not in " ".join(words):
            found.append(pid)
    return found


def command_line(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    except OSError:
        return []


def test_ranks_and_meeting_point_are_slurms(step):
    names = "RANK LOCAL_RANK WORLD_SIZE MASTER_ADDR SLURMD_NODENAME"
    code = f"import os; words = [os.environ[name] for name in '{names}'.split()]\n"
    code += "os.write(1, (' '.join(words) + chr(10)).encode())"
    two = step(sys.executable, "-c", code)
    assert two.srun.wait(MINUTE) == 0, two.output()
    assert sorted(two.output().splitlines()) == ["0 0 2 127.0.0.1 n1", "1 0 2 127.0.0.1 n2"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_lost_rank_ends_both_nodes_within_a_minute(step, cluster, number):
    two = step(sys.executable, LIGHT, "well", "all", FOREVER, options=("--stall_limit", "5"))
    two.wait_for("rank 0 step 2", "rank 1 step 2")
    (pid,) = trainers(cluster, "n2")
    os.kill(pid, number)
    begin = time.monotonic()
    two.srun.wait(MINUTE)
    assert time.monotonic() - begin < MINUTE
    assert two.verdict(1) == "76"
    cause = {
        signal.SIGKILL: "killed by signal 9 (SIGKILL): out of memory?",
        signal.SIGSTOP: "hung: nothing for 5 s; it is stopped (SIGSTOP",
    }
    blamed = [line for line in two.output().splitlines() if "launch.py: rank 1 of 2 on n2" in line]
    assert len(blamed) == 1 and cause[number] in blamed[0], two.output()
    assert trainers(cluster, "n1") == trainers(cluster, "n2") == []


def test_frozen_node_ends_the_other_within_a_minute(step, cluster):
    """Not even its launcher runs: the rank that is left waits, and is found to wait."""
    command = (sys.executable, LIGHT, "wait-for-all", "all", FOREVER)
    two = step(*command, options=("--stall_limit", "5"))
    two.wait_for("rank 0 step 2", "rank 1 step 2")
    frozen = descendants(cluster.daemons["n2"].pid)
    try:
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        begin = time.monotonic()
        assert two.verdict(0) == "76"
        assert time.monotonic() - begin < MINUTE
    finally:
        for pid in frozen:
            processes.send(pid, signal.SIGCONT)
    assert "rank 0 of 2 on n1" in two.output() and "in all_reduce" in two.output()


def test_scancel_signal_asks_all_ranks(step, cluster):
    two = step(sys.executable, LIGHT, "well", "all", FOREVER)
    two.wait_for("rank 0 step 2", "rank 1 step 2")
    cluster.run(["scancel", "--signal=USR1", two.job()])
    two.srun.wait(MINUTE)
    assert (two.verdict(0), two.verdict(1)) == ("75", "75"), two.output()
