"""Several processes at one plan: whole groups dealt out among them (see `plan_rounds`), or one sequence shared by all.

Of a shared sequence each process holds a share of every latent's patches, and all keys and values are gathered.

Gathering costs 2 · 2 bytes per channel and token while attention costs 4 · tokens operations for it, so from some ten thousand
tokens on, where several GPUs are worth having, the link hardly shows. Unlike Ulysses' exchange of heads it works for any number
of heads: CogVideoX-2B has 30, which four GPUs cannot share out.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import ProcessException, spawn

from avatarcli.errors import AvatarError, DeviceError
from avatarcli.files import write_atomically
from avatarcli.processes import portable, with_cause

_ERROR = ".error"  # files by which processes say how they failed


@dataclass(frozen=True)
class SequenceGroup:
    """The processes that share a sequence: this one's `rank` among `size`. For inference: no gradients pass."""

    rank: int
    size: int

    def split(self, tensor: Tensor, dim: int) -> Tensor:
        """This process' share along a dimension. Raises DeviceError when it does not divide."""
        length = tensor.shape[dim]
        if not self.can_split(length):
            raise DeviceError(f"{length} patches of a picture cannot be shared by {self.size} GPUs: use 1, 2 or 4")
        return tensor.narrow(dim, self.rank * length // self.size, length // self.size)

    def gather(self, tensor: Tensor, dim: int) -> Tensor:
        """All shares on end along a dimension, in the order of the ranks."""
        shares = torch.empty((self.size, *tensor.shape), dtype=tensor.dtype, device=tensor.device)
        dist.all_gather_into_tensor(shares, tensor.contiguous()[None])
        return torch.cat(list(shares), dim=dim)

    def can_split(self, length: int) -> bool:
        """Whether every process would get the same share."""
        return length % self.size == 0

    def wait(self) -> None:
        """Until every process is here."""
        dist.barrier()


def launch(size: int, function: Callable[..., None], *arguments: Any) -> None:
    """Run `function(group, device, *arguments)` in `size` new processes, one per GPU; with no GPU here, on the CPU.

    function and arguments must be picklable. When one process fails, all end.

    Raises:
        Exception: a process raised one; it is raised here as it was there, an AvatarError rather than what followed from it.
        ProcessException: a process was killed (of torch.multiprocessing).
    """
    with tempfile.TemporaryDirectory(prefix="avatar-launch-") as folder:
        try:
            spawn(_enter, (size, folder, function, arguments), nprocs=size)
        except ProcessException:
            reports = sorted(Path(folder).glob(f"*{_ERROR}"), key=lambda report: report.stat().st_mtime_ns)
            failures = [pickle.loads(report.read_bytes()) for report in reports]
            if not failures:
                raise
            failures.sort(key=lambda failure: not isinstance(failure[0], AvatarError))
            raise with_cause(*failures[0])  # noqa: B904  # its cause is in the other process


def _enter(rank: int, size: int, folder: str, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    device = f"cuda:{rank}" if torch.cuda.is_available() else "cpu"
    if device != "cpu":
        torch.cuda.set_device(device)
    store = f"file://{folder}/store"
    dist.init_process_group("gloo" if device == "cpu" else "nccl", init_method=store, rank=rank, world_size=size)
    try:
        function(SequenceGroup(rank, size), device, *arguments)
    except Exception as error:
        write_atomically(Path(folder) / f"{rank}{_ERROR}", pickle.dumps(portable(error)))
        raise
    finally:
        dist.destroy_process_group()
