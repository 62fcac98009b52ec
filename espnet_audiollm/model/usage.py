"""What this process used of the machine: peak memory, and what the machine is."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import torch


def peak_memory() -> int:
    """The most bytes of main memory that this process held so far (Linux's VmHWM)."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def peak_gpu_memory(device: str) -> int | None:
    """The most bytes that tensors took of the GPU so far; None: the device is no GPU."""
    return torch.cuda.max_memory_allocated() if device.startswith("cuda") else None


def machine(device: str) -> str:
    """ "2 processors, Intel(R) Xeon(R) ...", the GPU where the device is one; no host's name."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    found = re.search(r"^model name\s*: (.*)", info, re.MULTILINE)
    number = len(os.sched_getaffinity(0))
    words = [f"{number} processors, {found[1] if found else platform.machine()}"]
    if device.startswith("cuda"):
        words.append(torch.cuda.get_device_name())
    return ", ".join(words)
