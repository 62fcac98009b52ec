"""What is put around a model for training.

ESPnet scales losses under bfloat16, which needs no scaling. On a processor with bfloat16
instructions, `--use_amp true` works without a GPU as well.
"""

from __future__ import annotations

import torch
from espnet2.train.trainer import TrainerOptions

from .accumulate import AccumulatedMean
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
    fast = options.use_amp and options.ngpu == 0 and torch.cpu._is_avx512_bf16_supported()
    return CPUAutocast(model) if fast else model


def wrap_distributed(model, options: TrainerOptions, distributed_option):
    """DistributedDataParallel where there are several processes.

    The LLM is no submodule: it is neither broadcast nor waited for. Looking for unused parameters
    keeps DDP from laying its buckets out anew after the first step: of three processes or more,
    sums would be taken in another order in the first step after a resume."""
    if not distributed_option.distributed:
        return model
    devices = [torch.cuda.current_device()] if distributed_option.ngpu > 0 else None
    return torch.nn.parallel.DistributedDataParallel(
        model, device_ids=devices, find_unused_parameters=True
    )


def wrap(
    model: torch.nn.Module, options: TrainerOptions, distributed_option, ranks: Ranks
) -> torch.nn.Module:
    """The model as it is trained: distributed, in mixed precision, with accumulated gradients."""
    model = wrap_autocast(wrap_distributed(model, options, distributed_option), options)
    if options.accum_grad == 1:
        return model
    return AccumulatedMean(model, options.accum_grad, ranks)
