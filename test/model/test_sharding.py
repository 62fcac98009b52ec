"""The LLM in two processes: the same numbers, half of its layers in each, one reader."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import sharded_llm
import torch
from chat_llms import llama2_trained, save_tiny_llm
from sharded_llm import CASES
from tiny_models import random_llama, tiny_llama

from espnet_audiollm.model.layers import decoder_layers
from espnet_audiollm.model.recompute import recompute_layers
from espnet_audiollm.model.response_loss import response_nats
from espnet_audiollm.model.sharding import load_shared


def save_tied_llm(directory: Path) -> None:
    """Three layers of odd widths: no part divides evenly."""
    tokenizer = llama2_trained()
    sizes = dict(intermediate_size=23, num_hidden_layers=3, num_key_value_heads=1)
    model = random_llama(len(tokenizer), seed=1, tie_word_embeddings=True, **sizes)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


@pytest.fixture(scope="module")
def observed(tmp_path_factory, root) -> Path:
    """What two processes saw, a file for each case and process."""
    directory = tmp_path_factory.mktemp("sharding")
    save_tiny_llm(directory / "plain")
    save_tied_llm(directory / "tied")
    shutil.copytree(directory / "plain", directory / "first_reads")
    shutil.copytree(directory / "plain", directory / "weightless")
    (directory / "weightless/model.safetensors").unlink()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    torchrun = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(port)]
    done = subprocess.run(
        [sys.executable, *torchrun, sharded_llm.__file__, directory],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return directory


@pytest.fixture(params=[(case, rank) for case in CASES for rank in (0, 1)], ids=str)
def seen(request, observed) -> tuple[str, dict, dict]:
    """A case, what a process saw of the unsharded LLM, and what of the shared one."""
    case, rank = request.param
    both = torch.load(observed / f"{case}.{rank}.pt", weights_only=True)
    return case, both["unsharded"], both["ours"]


def test_losses_and_gradients_are_the_same_to_the_last_bit(seen):
    _, unsharded, ours = seen
    assert len(unsharded["steps"]) == 4  # packed and padded, kept and recomputed
    for a, b in zip(unsharded["steps"], ours["steps"], strict=True):
        assert all(map(torch.equal, a, b))
        assert b[-1].abs().sum() > 0


def test_hidden_states_of_the_shared_llm(seen):
    """Of recomputed layers; to the last bit but one: gradients meet in another order."""
    case, unsharded, ours = seen
    near = dict(rtol=0.02, atol=1e-2) if case == "bfloat16" else dict(rtol=1e-5, atol=1e-6)
    for a, b in zip(unsharded["hidden"], ours["hidden"], strict=True):
        torch.testing.assert_close(b, a, **near)
        assert b[0] == b[1] != unsharded["steps"][0][0]


def test_recomputing_changes_no_bit(seen):
    _, unsharded, _ = seen
    for kept, recomputed in zip(unsharded["steps"][:2], unsharded["steps"][2:], strict=True):
        assert all(map(torch.equal, kept, recomputed))


def test_each_process_holds_half_of_the_layers(seen):
    case, unsharded, ours = seen
    if case == "none":
        assert ours["layers"] == unsharded["layers"]
    elif case == "tied":  # 23 rows in parts of 12 and 11
        assert abs(ours["layers"] / unsharded["layers"] - 1 / 2) < 0.03
    else:
        assert 2 * ours["layers"] == unsharded["layers"]
    assert ours["rest"] == unsharded["rest"]


def test_both_processes_know_the_same_llm(seen):
    case, unsharded, ours = seen
    assert ours["names"] == unsharded["names"]
    assert ours["tied"] == unsharded["tied"] == (case == "tied")
    assert ours["trainable"] == ours["missing"] == 0


def test_only_the_first_process_reads_and_all_hear_what_is_wrong(observed):
    # That this file is there means that the second process had no weights to read, and no need to.
    first, second = (Path(observed / f"refused.{rank}").read_text() for rank in (0, 1))
    assert first == second
    assert "cannot load the weights" in first and "weightless" in first


def test_an_unknown_sharding_is_refused():
    with pytest.raises(ValueError, match="--llm_sharding half is not one of none, node, all"):
        load_shared("anywhere", sharding="half")


def test_one_process_holds_everything(tmp_path, caplog):
    llm = load_shared(str(save_tiny_llm(tmp_path / "llm")), sharding="all")
    assert "one process holds all of the LLM" in caplog.text
    assert sum(p.numel() for p in llm.model.parameters()) == llm.model.num_parameters()


def kept_bytes(llama) -> int:
    """What the forward pass keeps for the backward pass, but for parameters."""
    sizes = {}
    weights = {p.data_ptr() for p in llama.parameters()}

    def keep(tensor):
        if tensor.data_ptr() not in weights:
            sizes[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    prompt_LD = torch.randn(50, 16, dtype=llama.dtype).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        (nats,) = response_nats(llama, [prompt_LD], [torch.tensor([3, 2])])
    nats.sum().backward()
    return sum(sizes.values())


def test_recomputing_keeps_little():
    llama = tiny_llama()
    before = kept_bytes(llama)
    recompute_layers(llama)
    assert kept_bytes(llama) < before / 3
    assert len(decoder_layers(llama)) == 2
