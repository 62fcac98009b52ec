"""The memory of a training step, predicted: the model's own step, of tensors without values.

Nothing is written down twice: what each layer keeps for the backward pass is what it keeps.
Attention is counted as on a GPU, all else as on a processor: a GPU's autocast leaves a few results
in 32 bits that are in 16 here, and FlashAttention for variable lengths needs no padding; allocator,
libraries and context come on top.
"""

# B batch, D LLM width, V vocabulary

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from .attention import as_on_gpu
from .audiollm import AudioLLMESPnetModel
from .conformer import ConformerEncoder
from .ctc import CTCESPnetModel
from .layers import decoder_layers
from .live_bytes import Pretended

Model = AudioLLMESPnetModel | CTCESPnetModel
Optimize = Callable[[nn.Module], torch.optim.Optimizer]

FROZEN, TRAINED, OPTIMIZER, HELD = "the LLM", "trained weights", "optimizer", "held gradients"
DATA, FRONT_END, SUBSAMPLING, ENCODER = "batch", "front end", "subsampling", "encoder's layers"
LAYERS, OUTPUTS, UPDATE = "LLM's layers", "outputs", "update"
BACKWARD = "backward"  # to the encoder's output
BACK_IN_ENCODER, BACK_IN_SUBSAMPLING = "backward in the encoder", "backward in its subsampling"


@dataclass(frozen=True)
class StepMemory:
    """Of one process, bytes.

    peaks: in each part of a step, when most was needed, by the part that it was made in."""

    peaks: dict[str, dict[str, int]]
    trained: int  # weights
    audio: int  # samples of the batch, padding included
    positions: int  # of the LLM, likewise; 0: there is none
    predicted: int  # rows of the outputs: response tokens, or frames of CTC

    @property
    def where(self) -> str:
        """The part of the step that needs most."""
        return max(self.peaks, key=lambda part: sum(self.peaks[part].values()))

    @property
    def parts(self) -> dict[str, int]:
        """What lives then."""
        return {name: size for name, size in self.peaks[self.where].items() if size}

    @property
    def bytes(self) -> int:
        """The peak."""
        return sum(self.parts.values())


def step_memory(
    model: Model,
    batch: Mapping[str, Any],
    optimize: Optimize,
    amp: bool = False,
    accumulated: bool = False,
    distributed: bool = False,
    shards: int = 1,
    gpu: bool = True,
) -> StepMemory:
    """Of forward pass, backward pass and update; on any device, "meta" too, which is not touched.
    What the prompts begin with is read in it, as in the first step with such prompts.

    Args:
        model: as it is trained; layers that are computed again count so.
        batch: what the model is given; of tensors the shapes count.
        optimize: makes a model's optimizer.
        amp: bfloat16 where that is safe.
        accumulated: gradients of batches before this one are there (`accum_grad`).
        distributed: DDP keeps them once more.
        shards: processes that share out the LLM's layers (FSDP).
        gpu: attention in the dtype that a GPU computes it in; False: in a processor's.

    Errors (torch's own): a step that depends on values."""
    counted = Pretended()
    model = _without_values(model, counted)
    counted.count(parameters(model), TRAINED)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = optimize(model)
    with counted, as_on_gpu() if gpu else nullcontext():
        held = _begin(counted, optimizer, trained, accumulated, distributed)
        shapes = _forward_and_backward(counted, model, _data(batch, counted), amp)
        counted.phase = UPDATE
        optimizer.step()
        held.clear()
    peaks = {part: dict(sizes) for part, sizes in counted.peaks.items()}
    if isinstance(model, AudioLLMESPnetModel):
        frozen = frozen_bytes(model.llm.model, shards)
        for sizes in peaks.values():
            sizes[FROZEN] = frozen
    return StepMemory(peaks, sum(p.numel() for p in trained), **shapes)


def parameters(model: nn.Module) -> list[torch.Tensor]:
    """Of a model, with its buffers."""
    return [*model.parameters(), *model.buffers()]


def frozen_bytes(llm: nn.Module, shards: int = 1) -> int:
    """Of an LLM's weights in a process: a share of the layers, and two that are gathered (the
    present one and the next); what is no layer is in each."""
    total = sum(map(_size, parameters(llm)))
    if shards == 1:
        return total
    layers = [sum(map(_size, parameters(layer))) for layer in decoder_layers(llm)]
    return total - sum(layers) + sum(layers) // shards + 2 * max(layers)


def _size(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _without_values(model: Model, counted: Pretended) -> Model:
    memo: dict[int, Any] = {}  # the LLM is no submodule: without an entry its weights were copied
    if isinstance(model, AudioLLMESPnetModel):
        llm = counted.copy(model.llm.model, memo)
        memo[id(model.llm)] = replace(model.llm, model=llm)
        counted.count(parameters(llm), FROZEN)
    return counted.copy(model, memo).train()


def _data(batch: Mapping[str, Any], counted: Pretended) -> dict[str, Any]:
    counted.phase = DATA
    return {
        name: counted.empty(*value.shape, dtype=value.dtype)
        if isinstance(value, torch.Tensor) and not name.endswith("_lengths")
        else value
        for name, value in batch.items()
    }


def _begin(
    counted: Pretended,
    optimizer: torch.optim.Optimizer,
    trained: Sequence[nn.Parameter],
    accumulated: bool,
    distributed: bool,
) -> list[torch.Tensor]:
    """After some updates: the optimizer has what it remembers. Returns DDP's memory."""
    counted.phase = OPTIMIZER
    for weight in trained:
        weight.grad = torch.empty_like(weight)
    optimizer.step()
    optimizer.zero_grad()
    counted.peaks.clear()
    counted.phase = HELD
    if accumulated:
        for weight in trained:
            weight.grad = torch.empty_like(weight)
    return [torch.empty_like(weight) for weight in trained] if distributed else []


def _forward_and_backward(
    counted: Pretended, model: Model, batch: dict[str, Any], amp: bool
) -> dict[str, int]:
    """The sizes of what was computed, for StepMemory."""
    shapes = {"audio": batch["speech"].numel(), "positions": 0, "predicted": 0}

    def begins(phase: str, module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        counted.phase = phase
        if phase == LAYERS and torch.is_grad_enabled():  # not the teacher's
            shapes["positions"] = kwargs["inputs_embeds"].shape[:2].numel()
        if phase == OUTPUTS:
            shapes["predicted"] = args[0].shape[:-1].numel()

    def made(phase: str, module: nn.Module, args: tuple, output: tuple[torch.Tensor, ...]) -> None:
        output[0].register_hook(partial(_set_phase, counted, phase))

    with ExitStack() as hooks:
        for phase, module in _begin_parts(model):
            hook = partial(begins, phase)
            hooks.enter_context(module.register_forward_pre_hook(hook, with_kwargs=True))
        for phase, module in _end_backward(model):
            hooks.enter_context(module.register_forward_hook(partial(made, phase)))
        with torch.autocast("cpu", torch.bfloat16, enabled=amp):
            loss, _, _ = model(**batch)
    counted.phase = BACKWARD
    loss.backward()
    return shapes


def _set_phase(counted: Pretended, phase: str, gradient: torch.Tensor) -> None:
    counted.phase = phase


def _begin_parts(model: Model) -> list[tuple[str, nn.Module]]:
    """The modules with which a part of the forward pass begins."""
    encoder = model.speech_encoder.encoder
    found = [(FRONT_END, model.speech_encoder)]
    if isinstance(encoder, ConformerEncoder):
        found += [(SUBSAMPLING, encoder.subsample), (ENCODER, encoder.layers[0])]
    else:
        found += [(ENCODER, encoder)]
    if isinstance(model, CTCESPnetModel):
        return [*found, (OUTPUTS, model.ctc_out)]
    llm = model.llm.model
    return [*found, (LAYERS, llm.base_model), (OUTPUTS, llm.get_output_embeddings())]


def _end_backward(model: Model) -> list[tuple[str, nn.Module]]:
    """Those with whose outputs' gradients a part of the backward pass begins."""
    encoder = model.speech_encoder.encoder
    found = [(BACK_IN_ENCODER, getattr(model, "adapter", model.speech_encoder))]
    if isinstance(encoder, ConformerEncoder):
        found += [(BACK_IN_SUBSAMPLING, encoder.subsample)]
    return found
