"""Training over two nodes of a real Slurm: it equals one process, and no fault loses it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from slurm_node import descendants
from tiny_tasks import make_data, make_llm, task_options

ROOT = Path(__file__).parents[2]

TRAIN = [sys.executable, "-m", "espnet_audiollm.bin.audiollm_train"]
PATIENCE = 400.0  # seconds for what takes 20 on a quiet machine
SETTINGS = dict(optim="sgd", optim_conf={"lr": 0.05}, max_epoch=2, log_interval=10)
CONFIG = "default: {mem: 1500M, cpus: 1}\ntrain: {signal: 60}\npoll: 1\nfile_delay: 3\n"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    return make_llm(tmp_path_factory.mktemp("llm"))


@pytest.fixture
def command(data, llm, tmp_path):
    """The command of a training whose files go to a directory of that name."""

    def build(name, **settings):
        target = "response_ids,response,text_int"
        options = task_options(data, tmp_path / name, target, **{**SETTINGS, **settings})
        return [*options, "--llm", str(llm), "--resume", "true"]

    return build


class Training:
    """`utils/slurm.py` with a training of two nodes."""

    def __init__(self, cluster, directory, options):
        self.cluster, self.log, self.read = cluster, directory / "train.log", 0
        (directory / "slurm.yaml").write_text(CONFIG)
        nodes = ["--num_nodes", "2", "--num_procs", "1", "--kind", "train"]
        runner = [sys.executable, str(ROOT / "utils/slurm.py"), *nodes, str(self.log)]
        self.runner = subprocess.Popen(
            [*runner, *TRAIN, *options],
            env={
                **cluster.env,
                "AUDIOLLM_SLURM_CONFIG": str(directory / "slurm.yaml"),
                "AUDIOLLM_STALL_LIMIT": "10",
                "PYTHONPATH": str(ROOT),
            },
            stderr=subprocess.PIPE,
            text=True,
        )

    def output(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def wait_for(self, *words: str) -> None:
        """Each in turn, in what the log got since the last of them."""
        for word in words:
            self.cluster.wait_for(
                lambda word=word: word in self.output()[self.read :] or self.is_over(),
                f"'{word}'",
                PATIENCE,
            )
            assert word in self.output()[self.read :], self.output()[-5000:]
            self.read = self.output().index(word, self.read) + len(word)

    def is_over(self) -> bool:
        return self.runner.poll() is not None

    def job(self) -> str:
        return self.cluster.jobs("-o", "%A")[0]

    def trainer(self, node: str) -> int:
        """The process that trains there."""
        (pid,) = (
            pid
            for pid in descendants(self.cluster.daemons[node].pid)
            if "espnet_audiollm.bin" in (words := command_line(pid)) and "launch.py" not in words
        )
        return pid

    def end(self) -> None:
        _, errors = self.runner.communicate(timeout=PATIENCE)
        assert self.runner.returncode == 0, errors + self.output()[-5000:]


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ")
    except OSError:
        return ""


@pytest.fixture
def train(cluster, tmp_path):
    begun = []

    def start(options):
        begun.append(Training(cluster, tmp_path, options))
        return begun[-1]

    yield start
    for training in begun:
        training.runner.kill()
        training.runner.wait()


def weights(directory, epoch):
    from espnet_audiollm.train import checkpoints

    state = checkpoints.load(directory / f"{epoch}epoch.pth")
    return {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}


def test_two_nodes_equal_one_process(train, command, tmp_path):
    two = train(command("two"))
    from espnet_audiollm.tasks.audiollm import AudioLLMTask

    AudioLLMTask.main(cmd=command("one"))
    two.end()
    found = weights(tmp_path / "two", 2)
    for name, weight in weights(tmp_path / "one", 2).items():
        torch.testing.assert_close(found[name], weight, rtol=1e-4, atol=1e-6, msg=name)
    first = weights(tmp_path / "one", 1)
    assert any(not torch.equal(first[name], found[name]) for name in first)
    assert "[vm:1/2]" not in two.output() and ":0/2]" in two.output()


@pytest.mark.slow
def test_no_fault_changes_the_result(train, command, tmp_path, cluster):
    """One training that is asked to stop, loses a rank, hangs, and is requeued; each time it goes
    on from where it was, and in the end it is, bit for bit, what it would have been."""
    settings = dict(num_iters_per_epoch=400, save_every_minutes=0.005)
    undisturbed = subprocess.Popen(
        [sys.executable, ROOT / "utils/launch.py", "--num_procs", "2", "--"]
        + [*TRAIN, *command("undisturbed", **settings)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    training = train(command("disturbed", **settings))
    training.wait_for("1epoch:train:11-20batch")
    cluster.run(["scancel", "--signal=USR1", training.job()])
    training.wait_for("Saved and stopped in epoch 1")

    training.wait_for("Resumed from", "1epoch:train:", "batch")
    os.kill(training.trainer("n2"), signal.SIGKILL)
    training.wait_for("rank 1 of 2 on n2", "was killed by signal 9 (SIGKILL)")

    training.wait_for("Resumed from", "epoch:train:", "batch")
    os.kill(training.trainer("n1"), signal.SIGSTOP)
    training.wait_for("rank 0 of 2 on n1", "it is stopped (SIGSTOP")

    training.wait_for("Resumed from", "epoch:train:", "batch")
    cluster.run(["scontrol", "requeue", training.job()])
    training.wait_for("Resumed from")
    training.end()
    assert undisturbed.wait(PATIENCE) == 0
    expected = weights(tmp_path / "undisturbed", 2)
    found = weights(tmp_path / "disturbed", 2)
    assert found.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []
