"""What the processes of a training agree on. All of them must ask alike; alone, each gets its own answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch import Tensor

_OPERATIONS = {"least": dist.ReduceOp.MIN, "most": dist.ReduceOp.MAX, "sum": dist.ReduceOp.SUM}


@dataclass(frozen=True)
class Process:
    """Which of the processes that train this is, and what they share."""

    rank: int
    world: int
    seed: int
    device: torch.device


def training_state() -> PartialState:
    """The processes as accelerate knows them. Without being told it does not count those that train on CPUs."""
    return PartialState(cpu=not torch.cuda.is_available())


def training_device() -> torch.device:
    """Where a process works: its GPU, or the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", training_state().local_process_index)


def agreed(value: float, kind: Literal["first", "least", "most", "sum"]) -> float:
    """The first process's number, or the least, the most or the sum of all."""
    return float(combined(torch.tensor([value], dtype=torch.float64), kind))


def combined(values: Tensor, kind: Literal["first", "least", "most", "sum"]) -> Tensor:
    """As `agreed`, for each of a tensor's numbers; on the CPU."""
    if not (dist.is_available() and dist.is_initialized()):
        return values.cpu()
    # NCCL takes nothing else than the process's own GPU's memory.
    there = values.to(training_device())
    if kind == "first":
        dist.broadcast(there, 0)
    else:
        dist.all_reduce(there, _OPERATIONS[kind])
    return there.cpu()
