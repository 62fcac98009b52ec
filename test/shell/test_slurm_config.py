"""What the runner asks a cluster for, by configuration and kind of job."""

import pytest
from jobs.contract import UserError, parse
from jobs.slurm_config import load_config, seconds


@pytest.fixture
def asked(tmp_path):
    """asked(yaml, WORD...): the processors and the options of sbatch for a runner's words."""

    def ask(yaml: str, *words: str) -> list[str]:
        (tmp_path / "slurm.yaml").write_text(yaml)
        options = parse([*words, "a.log", "true"])
        return load_config(str(tmp_path / "slurm.yaml"), options.kind).options(options)

    return ask


TRAINING = ("--gpu", "4", "--num_nodes", "2", "--num_procs", "4")


@pytest.mark.parametrize(
    ("yaml", "words", "expected"),
    [
        ("train: {cpus_per_gpu: 5}", TRAINING, "--cpus-per-task=20"),
        ("train: {cpus_per_gpu: 5, cpus: 6}", TRAINING, "--cpus-per-task=6"),
        ("train: {cpus_per_gpu: 5}", (*TRAINING, "--num_threads", "7"), "--cpus-per-task=7"),
        ("", TRAINING, "--cpus-per-task=4"),
        ("", TRAINING, "--nodes=2"),
        ("train: {cpus_per_gpu: 5}", ("--num_procs", "3"), "--cpus-per-task=3"),
        ("train: {gpu: '--gpus-per-node=a100:{n}'}", TRAINING, "--gpus-per-node=a100:4"),
        ("default: {mem: 8G}\ncpu: {mem: 2G}", (), "--mem=2G"),
        ("cpu: {mem: 2G}", ("--mem", "3"), "--mem=3G"),
    ],
)
def test_options(asked, yaml, words, expected):
    assert expected in asked(yaml, *words)


def test_time_limits_are_slurms():
    limits = {
        "1": 60, "90": 5400, "1:30": 90, "1:00:00": 3600, "1-00": 86_400, "2-1:30": 178_200,
        "1-0:0:5": 86_405, "UNLIMITED": None, "": None, "1:2:3:4": None,
    }  # fmt: skip
    assert {limit: seconds(limit) for limit in limits} == limits


@pytest.mark.parametrize("words", [("--num_procs", "1"), ("--num_procs", "1", "--time", "5")])
def test_a_training_that_would_be_stopped_before_it_begins_is_refused(asked, words):
    yaml = "train: {signal: 300, time: '%s'}"
    with pytest.raises(UserError, match="300 s before.*'time', or lower 'signal', for 'train'"):
        asked(yaml % "0:06:00", *words)
    assert "--time=6:01" in asked(yaml % "5", "--num_procs", "1", "--time", "6:01")
    assert "--signal=B:USR1@300" in asked(yaml % "0:06:01", "--num_procs", "1")
    assert "--time=5" in asked("default: {signal: 300, time: '5'}")  # it is no training
