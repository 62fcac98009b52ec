"""What the two workers of bench_peers.py share: JSON lines, one process's time and memory.

Needs only torch: the other project's environment runs it as well."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

KIB = 1024


def resident(field: str = "VmRSS") -> int:
    """Bytes of this process that are in memory (VmHWM: that were, at most)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * KIB
    raise ValueError(f"/proc/self/status has no {field}: run this on Linux")


def forget_peak() -> None:
    """VmHWM begins at what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")


def fill(rows: int, lengths: list[int], vocab: int) -> torch.Tensor:
    """(rows, longest) random token ids; 0 to 2 are special ones."""
    return torch.randint(3, vocab, (rows, max(lengths)))


def serve(build: Callable[[dict], tuple]) -> None:
    """Answer each line of standard input by one, in the open file whose number is the argument.

    The first line is the setting, for `build`, which gives (step, facts): `step(batch)` prepares a
    batch and gives a function that learns from it and answers counts. Every other line is a batch:
    {"seconds": [...], "responses": [...], "transcripts": [...]}."""
    lines, answers = sys.stdin, os.fdopen(int(sys.argv[1]), "w")

    def answer(value: dict) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    setting = json.loads(lines.readline())
    torch.set_num_threads(setting["threads"])
    torch.manual_seed(setting["seed"])
    prepare, facts = build(setting)
    start = resident()
    forget_peak()
    answer(facts)
    for line in lines:
        learn = prepare(json.loads(line))
        began = time.process_time()
        counts = learn()
        seconds = time.process_time() - began
        answer({"seconds": seconds, "peak": resident("VmHWM") - start, **counts})
