"""Two processes learn what one learns: losses are divided by the tokens of all of them."""

import os
import socket
import subprocess
import sys

import torch
from tiny_tasks import task_options

from espnet_audiollm.tasks import checkpoints
from espnet_audiollm.tasks.audiollm import AudioLLMTask


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_two_processes_equal_one(data, llm_dir, tmp_path, root):
    # Unequal lengths of responses: a mean of the two processes' means would differ.
    lines = (f"u{i} {' '.join(['7'] * (1 + 3 * (i % 2)))} 2\n" for i in range(8))
    (data / "unequal_ids").write_text("".join(lines))
    optimizer = dict(optim="sgd", optim_conf={"lr": 0.1}, max_epoch=2)  # no adaptive scale

    def command(directory):
        cmd = task_options(data, directory, "unequal_ids,response,text_int", **optimizer)
        return [*cmd, "--llm", str(llm_dir)]

    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    torchrun += ["--master_port", str(free_port()), "-m", "espnet_audiollm.bin.audiollm_train"]
    two = subprocess.Popen(
        [*torchrun, *command(tmp_path / "two"), "--dist_backend", "gloo"],
        cwd=root,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    AudioLLMTask.main(cmd=command(tmp_path / "one"))
    output, _ = two.communicate(timeout=300)
    assert two.returncode == 0, output.decode()[-3000:]
    a, b = (checkpoints.load(tmp_path / name / "2epoch.pth") for name in ("one", "two"))
    moved = checkpoints.load(tmp_path / "one" / "1epoch.pth")
    for key, weight in a.items():
        if isinstance(weight, torch.Tensor):
            torch.testing.assert_close(weight, b[key], rtol=1e-4, atol=1e-6)
    assert not torch.equal(moved["adapter.project.weight"], a["adapter.project.weight"])
