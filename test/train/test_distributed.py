"""Two processes learn what one learns: losses are divided by the tokens of all of them."""

import os
import subprocess
import sys

import pytest
import torch
from tiny_tasks import task_options

from espnet_audiollm.tasks import base
from espnet_audiollm.tasks.audiollm import AudioLLMTask
from espnet_audiollm.train import checkpoints


@pytest.fixture
def unequal(data):
    """Unequal lengths of responses: a mean of processes' or of batches' means would differ."""
    lines = (f"u{i} {' '.join(['7'] * (1 + 3 * (i % 2) + i // 4))} 2\n" for i in range(8))
    (data / "unequal_ids").write_text("".join(lines))
    return data


def options(data, llm_dir, directory, batch_size, accum_grad):
    optimizer = dict(optim="sgd", optim_conf={"lr": 0.1})  # no adaptive scale
    size = dict(batch_size=batch_size, accum_grad=accum_grad, max_epoch=2)
    cmd = task_options(data, directory, "unequal_ids,response,text_int", **optimizer, **size)
    return [*cmd, "--llm", str(llm_dir)]


def weights(directory, epoch=2):
    state = checkpoints.load(directory / f"{epoch}epoch.pth")
    return {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}


def test_processes_and_accumulated_batches_equal_one(unequal, llm_dir, tmp_path, root):
    def start(name, *size):
        train = [sys.executable, "-m", "espnet_audiollm.bin.audiollm_train"]
        return subprocess.Popen(
            [sys.executable, root / "utils/launch.py", "--num_procs", "2", "--", *train]
            + options(unequal, llm_dir, tmp_path / name, *size),
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    both = [start("two processes", 4, 1), start("two processes, two batches", 4, 2)]
    for name, *size in (("one, small", 4, 1), ("one, large", 8, 1), ("two batches", 4, 2)):
        AudioLLMTask.main(cmd=options(unequal, llm_dir, tmp_path / name, *size))
    for process in both:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output[-3000:]
    for one, other in [
        ("one, small", "two processes"),
        ("one, large", "two batches"),
        ("one, large", "two processes, two batches"),
    ]:
        found = weights(tmp_path / other)
        for name, weight in weights(tmp_path / one).items():
            torch.testing.assert_close(found[name], weight, rtol=1e-4, atol=1e-6, msg=name)
    name = "adapter.project.weight"
    last = weights(tmp_path / "one, small")[name]
    assert not torch.equal(last, weights(tmp_path / "one, small", 1)[name])  # something was learned
    assert not torch.allclose(last, weights(tmp_path / "one, large")[name], rtol=1e-4, atol=1e-6)


@pytest.fixture
def args():
    def build(*words):
        given = ["--output_dir", "exp", "--llm", "llm", *words]
        return AudioLLMTask.get_parser().parse_args(given)

    return build


@pytest.mark.parametrize("ngpu, backend", [(0, "gloo"), (1, "nccl"), (4, "nccl")])
def test_one_process_of_many_takes_one_gpu_at_most(args, monkeypatch, ngpu, backend):
    monkeypatch.setenv("WORLD_SIZE", "8")
    found = args("--ngpu", str(ngpu))
    base.take_place(found)
    assert (found.dist_backend, found.ngpu) == (backend, min(ngpu, 1))


@pytest.mark.parametrize(
    "words, message",
    [
        (["--ngpu", "2"], "--ngpu 2: a process drives one GPU.*--num_procs 2"),
        (["--multiprocessing_distributed", "true"], "started by utils/launch.py"),
        (["--no_such_option", "1"], "unrecognized arguments: --no_such_option"),
        (["--llm", "none"], "arguments are required: --llm"),
    ],
)
def test_wrong_options_are_sentences(args, monkeypatch, words, message):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(ValueError, match=message):
        AudioLLMTask.main(cmd=["--output_dir", "exp", "--llm", "llm", *words])
