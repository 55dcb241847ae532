"""Weights, gradients and optimiser state spread over the processes: torch's fully sharded data parallelism (FSDP2).

Tensors of a sharded model are DTensors, of which each process holds a slice along the first dimension. torch's own functions are
used rather than accelerate's wrapper, which refuses to shard on CPUs, where this is tested.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor


def shard(model: nn.Module, *, bf16: bool) -> None:
    """Spread a model over all processes, in place: gathered block by block, as `_no_split_modules` names their classes.

    bf16: gather weights in bfloat16. Activations between blocks keep their precision; autocast sees to the rest.
    """
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if bf16 else None, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    blocks = getattr(model, "_no_split_modules", None) or ()
    for module in list(model.modules()):
        if type(module).__name__ in blocks:
            fully_shard(module, mp_policy=policy)
    fully_shard(model, mp_policy=policy)


def own_part(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor, the live memory; all of it, if it is not spread."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """The whole tensor. Of a spread one, every process must ask for it alike."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def fill(tensor: Tensor, value: Tensor) -> None:
    """Write a whole value into a tensor, of which this process may hold a part."""
    if not isinstance(tensor, DTensor):
        tensor.copy_(value)
        return
    parts = value.chunk(dist.get_world_size(), dim=0)
    rank = dist.get_rank()
    if rank < len(parts):  # of few rows, some processes hold none
        own_part(tensor).copy_(parts[rank])
