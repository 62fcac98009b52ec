"""What a training cost: time, memory and trained parameters, as its directory says.

cost.json    written with every checkpoint. Time is of all calls that the training took, work
             that a kill lost left out; memory is of the process that needed most.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path

from .json_files import read_record, write_json

FILE, LOG = "cost.json", "train.log"
NEXT = "remove it: the next checkpoint writes it anew"
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9}


@dataclass(frozen=True)
class TrainingCost:
    """Of one training."""

    seconds: float
    trained: int  # parameters that learn
    memory: int  # bytes of main memory, of the process that needed most; 0: not known
    gpu_memory: int = 0  # likewise, of tensors on the GPU; 0: none, or not known
    processes: int = 1
    machine: str = ""
    predicted: int = 0  # bytes of the GPU's tensors in the largest batch; 0: not predicted


def write_cost(directory: str | Path, cost: TrainingCost) -> None:
    """Write cost.json."""
    write_json(Path(directory) / FILE, asdict(cost))


def read_cost(directory: str | Path) -> TrainingCost | None:
    """Of cost.json; of the job's log where there is none, without memory; None: neither is there.

    Errors (ValueError): cost.json is damaged."""
    directory = Path(directory)
    if (directory / FILE).is_file():
        return read_record(directory / FILE, TrainingCost, NEXT)
    if not (directory / LOG).is_file():
        return None
    return parse_log((directory / LOG).read_text(encoding="utf-8", errors="replace"))


def parse_log(text: str) -> TrainingCost | None:
    """Of a log of utils/jobs: its last line of time, and ESPnet's rounded number of parameters."""
    trained = re.findall(r"Number of trainable parameters: ([\d.]+) ?([KMB]?)\b", text)
    seconds = re.findall(r"^# end: .*\(after (\d+) s\)", text, re.MULTILINE)
    if not trained or not seconds:
        return None
    value, unit = trained[-1]
    return TrainingCost(sum(map(float, seconds)), round(float(value) * _UNITS[unit]), 0)
