"""What is put around a model for training.

ESPnet scales losses under bfloat16, which needs no scaling. On a processor with bfloat16
instructions, `--use_amp true` works without a GPU as well.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
from espnet2.train.trainer import TrainerOptions

from .accumulate import AccumulatedMean
from .halving import Halving, MemoryLimit
from .precision import cpu_has_bfloat16
from .ranks import Ranks


def build_scaler(options: TrainerOptions) -> torch.amp.GradScaler | None:
    """None without mixed precision on a GPU; a scaler that scales for float16 only."""
    if not options.use_amp or options.ngpu == 0:
        return None
    return torch.cuda.amp.GradScaler(enabled=not torch.cuda.is_bf16_supported())


class CPUAutocast(torch.nn.Module):
    """bfloat16 on the CPU, for one forward pass at a time.

    Without the cache of cast weights: it lives until the outermost autocast is left, which may be
    after an update of the weights."""

    def __init__(self, module: torch.nn.Module):
        super().__init__()
        self.module = module

    def forward(self, **batch):
        """The module's, in bfloat16 where that is safe."""
        with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False):
            return self.module(**batch)


def wrap_autocast(model: torch.nn.Module, options: TrainerOptions) -> torch.nn.Module:
    """`CPUAutocast` when it is asked for and the processor has the instructions."""
    fast = options.use_amp and options.ngpu == 0 and cpu_has_bfloat16()
    return CPUAutocast(model) if fast else model


def wrap_distributed(model, options: TrainerOptions, distributed_option):
    """DistributedDataParallel where there are several processes.

    The LLM is no submodule: it is neither broadcast nor waited for."""
    if not distributed_option.distributed:
        return model
    devices = [torch.cuda.current_device()] if distributed_option.ngpu > 0 else None
    unused = options.unused_parameters or not getattr(model, "uses_all_parameters", False)
    parallel = torch.nn.parallel.DistributedDataParallel(
        WithLayout(model), device_ids=devices, find_unused_parameters=unused
    )
    if not unused:
        lay_out(parallel)
    return parallel


class WithLayout(torch.nn.Module):
    """Around the model in DDP: its forward pass, or without a batch a zero of all parameters."""

    def __init__(self, module: torch.nn.Module):
        super().__init__()
        self.module = module

    def forward(self, **batch):
        """The module's, or the zero."""
        if batch:
            return self.module(**batch)
        trained = [p for p in self.module.parameters() if p.requires_grad]
        return torch.stack([0.0 * p.sum().float() for p in trained]).sum()


def lay_out(parallel: torch.nn.parallel.DistributedDataParallel) -> None:
    """Have DDP lay its buckets out for good, whatever the first batch is.

    Where it does not look for unused parameters it lays them out anew after the first backward
    pass, in that pass's order. Of three processes or more, sums would then be taken in another
    order in the first update after a resume. The pass here, of zeros, is always the same."""
    parallel().backward()
    parallel.zero_grad()


def wrap_halving(
    model: torch.nn.Module,
    wrapped: torch.nn.Module,
    options: TrainerOptions,
    ranks: Ranks,
    limit: MemoryLimit,
) -> torch.nn.Module:
    """`Halving` in one process, where gradients need no scaling (float16) and the model's loss is
    a mean over what its weight counts (`can_be_split`, True unless the model says otherwise)."""
    scaler = build_scaler(options)
    scaled = scaler is not None and scaler.is_enabled()
    if ranks.number > 1 or scaled or not getattr(model, "can_be_split", True):
        return wrapped
    return Halving(wrapped, limit, getattr(model, "term_counts", None))


def wrap(
    model: torch.nn.Module,
    options: TrainerOptions,
    distributed_option,
    ranks: Ranks,
    limit: MemoryLimit,
) -> torch.nn.Module:
    """The model as it is trained: distributed, in mixed precision, in parts where memory is short,
    with accumulated gradients. limit: what is known of the memory."""
    parallel = wrap_distributed(model, options, distributed_option)
    wrapped = wrap_halving(model, wrap_autocast(parallel, options), options, ranks, limit)
    if options.accum_grad == 1:
        return wrapped
    no_sync = getattr(parallel, "no_sync", nullcontext)
    return AccumulatedMean(wrapped, options.accum_grad, ranks, no_sync)
