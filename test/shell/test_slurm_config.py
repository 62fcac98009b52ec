"""What the runner asks a cluster for, by configuration and kind of job."""

import pytest
from jobs.contract import parse
from jobs.slurm_config import load_config


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
