"""The processes of a training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Ranks:
    """The processes of a training; each sees all of them together, in the same order."""

    rank: int = 0
    number: int = 1
    device: str = "cpu"

    @classmethod
    def of(cls, option) -> Ranks:
        """From ESPnet's DistributedOption."""
        if not option.distributed:
            return cls()
        device = "cuda" if option.ngpu > 0 else "cpu"
        return cls(option.dist_rank, torch.distributed.get_world_size(), device)

    @property
    def first(self) -> bool:
        """Whether this process writes files and logs."""
        return self.rank == 0

    def gather(self, value: Any) -> list:
        """One value of each rank."""
        values = [value] * self.number
        if self.number > 1:
            torch.distributed.all_gather_object(values, value)
        return values

    def from_first(self, value: Any) -> Any:
        """The first process's value, in every process."""
        box = [value]
        if self.number > 1:
            torch.distributed.broadcast_object_list(box, src=0)
        return box[0]

    def any(self, *flags: bool) -> list[bool]:
        """For each flag, whether it is set on any rank."""
        if self.number == 1:
            return list(flags)
        together = torch.tensor([float(flag) for flag in flags], device=self.device)
        torch.distributed.all_reduce(together, torch.distributed.ReduceOp.MAX)
        return [bool(flag) for flag in together.tolist()]

    def sum(self, value: float) -> float:
        """The sum over all processes, in float64."""
        return self.sums([value])[0]

    def sums(self, values: list[float]) -> list[float]:
        """The sum of each value over all processes, in float64."""
        if self.number == 1:
            return values
        totals = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(totals)
        return totals.tolist()

    def wait(self) -> None:
        """Until all processes are here."""
        if self.number > 1:
            torch.distributed.barrier()
