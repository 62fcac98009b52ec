"""Whether a processor multiplies in bfloat16 by itself."""

from __future__ import annotations

import torch


def cpu_has_bfloat16() -> bool:
    """Whether the processor's own instructions multiply in bfloat16.

    Without them bfloat16 is emulated. `ATEN_CPU_CAPABILITY=avx2` in the environment hides AVX-512
    from PyTorch, `ONEDNN_MAX_CPU_ISA=AVX2` from oneDNN: so runs a machine that has it like one that
    has not."""
    seen = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return seen and torch.cpu._is_avx512_bf16_supported()
