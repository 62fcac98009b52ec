"""Two processes that share the LLM out and recompute its layers learn what one learns."""

import os
import socket
import subprocess
import sys

import torch
from tiny_tasks import task_options

from espnet_audiollm.tasks.audiollm import AudioLLMTask
from espnet_audiollm.train import checkpoints


def test_a_shared_llm_teaches_the_same(data, llm_dir, tmp_path, root):
    # Accumulated batches, validation and DDP over the trained part, around FSDP's hooks.
    optimizer = dict(optim="sgd", optim_conf={"lr": 0.1}, max_epoch=2, accum_grad=2)

    def command(directory, **options):
        target = "response_ids,response,text_int"
        cmd = task_options(data, directory, target, batch_size=2, **optimizer, **options)
        return [*cmd, "--llm", str(llm_dir)]

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    torchrun += ["--master_port", str(port), "-m", "espnet_audiollm.bin.audiollm_train"]
    shared = dict(llm_sharding="node", llm_activation_checkpointing=True)
    two = subprocess.Popen(
        [*torchrun, *command(tmp_path / "two", **shared), "--dist_backend", "gloo"],
        cwd=root,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    AudioLLMTask.main(cmd=command(tmp_path / "one"))
    output, _ = two.communicate(timeout=300)
    assert two.returncode == 0, output[-3000:]
    one, two = (checkpoints.load(tmp_path / name / "2epoch.pth") for name in ("one", "two"))
    assert one["_extra_state"] == two["_extra_state"]
    for key, weight in one.items():
        if isinstance(weight, torch.Tensor):
            torch.testing.assert_close(weight, two[key], rtol=1e-4, atol=1e-6)
