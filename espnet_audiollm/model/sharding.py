"""The frozen LLM in a training of several processes: read once, in full or in parts on each.

Sharding is FSDP2's (`fully_shard`), a decoder layer at a time, and not tensor parallelism. Each
process keeps a batch of its own, so data, losses and DDP over the trained part stay what they are;
tensor parallelism wants the same batch in every process of a group. A layer's arithmetic is that
of the LLM on one device, to the last bit. And what is frozen has no gradients to reduce: the only
traffic is the gathering of each layer's weights, once forward and once backward, while the layer
before computes. That traffic is the price, twice the LLM's layers for every batch; hence `node`,
which keeps it within a node, before `all`. Embeddings, final norm and output layer are on each:
they are a few per cent, and are called by themselves.

Every process must run the LLM the same number of times, as DDP demands as well.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from transformers import PretrainedConfig, PreTrainedModel

from . import llm as llms
from .layers import decoder_layers

SHARDINGS = ("none", "node", "all")
LONGEST_READ = timedelta(hours=2)


@dataclass(frozen=True)
class _Header:
    """What the other processes need before the weights come."""

    config: PretrainedConfig
    dtype: torch.dtype
    tensors: list[tuple[str, torch.Size, torch.dtype]]
    fingerprint: str
    eos_ids: tuple[int, ...]


def load_shared(
    llm: str,
    chat_template: str | None = None,
    dtype: str = "auto",
    device: str = "cpu",
    sharding: str = "none",
) -> llms.LLM:
    """`llms.load` for the processes of torch.distributed: the first one reads, the others receive.

    The host's memory holds the weights once, the file system gives them once. The fingerprint is
    that of the complete LLM; the first process computes it.

    sharding: "none" (each holds all of it), "node" (the processes of a node share the decoder
    layers out), "all" (all processes do).

    Errors (ValueError): those of `llms.load`, in every process."""
    if sharding not in SHARDINGS:
        raise ValueError(f"--llm_sharding {sharding} is not one of {', '.join(SHARDINGS)}")
    if not dist.is_initialized() or dist.get_world_size() == 1:
        if sharding != "none":
            logging.warning(f"--llm_sharding {sharding}: one process holds all of the LLM")
        return llms.load(llm, chat_template, dtype, device)
    model, header = None, None
    if dist.get_rank() == 0:
        model, header = _read(llm, chat_template, dtype, device)
    header = _from_first(header)
    if isinstance(header, str):
        raise ValueError(header)
    if model is None:
        model = llms.empty_llm(header.config, header.dtype)
    assert _listed(model) == header.tensors, "transformers differs between processes"
    _distribute(model, torch.device(device), sharding)
    tokenizer = llms.load_tokenizer(llm, chat_template)
    return llms.LLM(
        model=model,
        tokenizer=tokenizer,
        name=llm,
        fingerprint=header.fingerprint,
        chat_template_hash=llms.chat_template_hash(tokenizer),
        eos_ids=header.eos_ids,
    )


def _read(
    llm: str, chat_template: str | None, dtype: str, device: str
) -> tuple[PreTrainedModel | None, _Header | str]:
    """The LLM in the host's memory, and what the others need: a _Header, or what is wrong."""
    try:
        tokenizer = llms.load_tokenizer(llm, chat_template)
        model, known = llms.read_known(llm, dtype, device)
        eos_ids = llms.eos_ids(model, tokenizer)
    except ValueError as error:
        return None, str(error)
    header = _Header(model.config, model.dtype, _listed(model), known, eos_ids)
    return model, header


def _from_first(value: Any) -> Any:
    """The first process's `value`, in all of them.

    Not over the GPUs' own group: that gives up after ten minutes, and a large LLM on a slow disk
    takes longer to read."""
    patient = dist.new_group(backend="gloo", timeout=LONGEST_READ)
    box = [value]
    dist.broadcast_object_list(box, src=0, group=patient)
    dist.destroy_process_group(patient)
    return box[0]


def _listed(model: PreTrainedModel) -> list[tuple[str, torch.Size, torch.dtype]]:
    named = chain(model.named_parameters(), model.named_buffers())
    return [(name, tensor.shape, tensor.dtype) for name, tensor in named]


def _distribute(model: PreTrainedModel, device: torch.device, sharding: str) -> None:
    """Weights from the first process to all; a device holds one complete layer at a time."""
    mesh = _mesh(device, sharding)
    if mesh is None:
        _receive(model, device)
        return
    for layer in decoder_layers(model):
        _receive(layer, device)
        fully_shard(layer, mesh=mesh, reshard_after_forward=True)
    _receive(model, device)
    # The decoder itself shards nothing: it tells the layers apart, so that each is gathered while
    # the one before computes.
    complete = {p for p in model.base_model.parameters() if not isinstance(p, DTensor)}
    fully_shard(model.base_model, mesh=mesh, ignored_params=complete)


def _receive(module: torch.nn.Module, device: torch.device) -> None:
    """Replace weights and buffers by those of the first process, but for what is sharded already.

    What is tied stays tied."""
    received: dict[torch.Tensor, torch.Tensor] = {}
    for owner in module.modules():
        own = chain(owner.named_parameters(recurse=False), owner.named_buffers(recurse=False))
        for name, tensor in list(own):
            if isinstance(tensor, DTensor):
                continue
            if tensor not in received:
                received[tensor] = _received(tensor, device)
            setattr(owner, name, received[tensor])


def _received(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    if tensor.is_meta:
        here = torch.empty_like(tensor, device=device)
    else:
        here = tensor.detach().to(device).contiguous()
    dist.broadcast(here.flatten().view(torch.uint8), src=0)
    return torch.nn.Parameter(here, False) if isinstance(tensor, torch.nn.Parameter) else here


def _mesh(device: torch.device, sharding: str) -> DeviceMesh | None:
    """The processes that share one LLM; None where each holds all of it."""
    if sharding == "none":
        return None
    world = dist.get_world_size()
    size = world if sharding == "all" else int(os.environ.get("LOCAL_WORLD_SIZE", world))
    if world % size:
        raise ValueError(
            f"--llm_sharding {sharding}: {world} processes are no multiple of the {size} of this "
            "node; take the same number of GPUs on every node, or --llm_sharding all"
        )
    if size == 1:
        logging.warning(f"--llm_sharding {sharding}: the only process of a node holds all of it")
        return None
    mesh = init_device_mesh(device.type, (world // size, size), mesh_dim_names=("group", "part"))
    return mesh["part"]
