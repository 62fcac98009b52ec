"""One of the two processes of test_sharding.py: what the LLM says in it, and what it holds.

    python -m torch.distributed.run --nproc_per_node 2 test/sharded_llm.py DIRECTORY

DIRECTORY has the LLMs `plain` and `tied`, and as `first_reads` one whose weights only the first
process can see. Each case leaves DIRECTORY/CASE.RANK.pt.
"""

import sys
from datetime import timedelta
from itertools import chain
from pathlib import Path

import torch
import torch.distributed as dist

from espnet_audiollm.data.prompt import AUDIO_SLOT
from espnet_audiollm.model.layers import decoder_layers
from espnet_audiollm.model.llm import LLM, load
from espnet_audiollm.model.recompute import recompute_layers
from espnet_audiollm.model.response_loss import embed_prompt
from espnet_audiollm.model.sharding import load_shared
from espnet_audiollm.model.targets import PAPER, Targets

CASES = {  # LLM, type, sharding
    "all": ("plain", "float32", "all"),
    "node": ("plain", "float32", "node"),
    "none": ("plain", "float32", "none"),
    "bfloat16": ("plain", "bfloat16", "all"),
    "tied": ("tied", "float32", "all"),
}
HIDDEN = Targets(1.0, 0.0, 1.0, (1, -1))  # the LLM reads the text as well


def loss_and_gradients(model, packed: bool, targets: Targets = PAPER) -> list[torch.Tensor]:
    """Loss under no_grad, loss, and the audio's gradients; the processes have other batches."""
    rank = dist.get_rank()
    torch.manual_seed(rank)
    audio_PD = [torch.randn(n, 16, dtype=model.dtype).requires_grad_() for n in (3 + rank, 5)]
    responses = [torch.tensor([10, 11, 2]), torch.tensor([2 + rank, 7, 9, 2])]
    texts = {"text_prompt": torch.tensor([[1, 6, 4], [1, 8, 4]]), "text_prompt_lengths": [3, 3]}

    def loss():
        prompts = [embed_prompt(model, [1, AUDIO_SLOT, 4], [audio]) for audio in audio_PD]
        return targets.losses(model, prompts, responses, texts, packed)[0]

    with torch.no_grad():
        validation = loss()
    training = loss()
    training.backward()
    return [validation, training.detach(), *(audio.grad for audio in audio_PD)]


def held(module) -> int:
    """Numbers of the module's parameters that lie in this process."""
    local = (p.to_local() if hasattr(p, "to_local") else p for p in module.parameters())
    return sum(p.numel() for p in local)


def observe(llm: LLM) -> dict:
    model = llm.model
    observed = {
        "names": [llm.fingerprint, *map(str, llm.eos_ids)],
        "layers": sum(map(held, decoder_layers(model))),
        "rest": held(model) - sum(map(held, decoder_layers(model))),
        "tied": model.lm_head.weight is model.get_input_embeddings().weight,
        "trainable": sum(p.requires_grad for p in model.parameters()),
        "missing": sum(t.is_meta for t in chain(model.parameters(), model.buffers())),
    }
    steps = [loss_and_gradients(model, packed) for packed in (True, False)]
    recompute_layers(model)
    steps += [loss_and_gradients(model, packed) for packed in (True, False)]
    hidden = [loss_and_gradients(model, packed, HIDDEN) for packed in (True, False)]
    return {**observed, "steps": steps, "hidden": hidden}


def main(directory: Path) -> None:
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    rank = dist.get_rank()
    for case, (name, dtype, sharding) in CASES.items():
        unsharded = load(str(directory / name), dtype=dtype)
        ours = load_shared(str(directory / name), dtype=dtype, sharding=sharding)
        results = {"unsharded": observe(unsharded), "ours": observe(ours)}
        torch.save(results, directory / f"{case}.{rank}.pt")
    names = ["first_reads", "weightless"]
    load_shared(str(directory / names[min(rank, 1)]), sharding="all")
    try:
        load_shared(str(directory / names[1 - min(rank, 1)]), sharding="all")
    except ValueError as error:
        (directory / f"refused.{rank}").write_text(str(error))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
