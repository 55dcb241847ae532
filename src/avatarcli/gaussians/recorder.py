"""What a fit minimises (`objective`), as fast as the device computes it: kernels on a processor, recorded graphs on a GPU."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor

from avatarcli.gaussians.avatar import Splats
from avatarcli.gaussians.objective import Bounds, Shot, Wanted, picture_loss, pose


class Recorder:
    """`pose` and `picture_loss`, on CUDA recorded as graphs when they are first called."""

    def __init__(self) -> None:
        self._comparers: dict[torch.Size, Callable[[Tensor, Tensor, Wanted], Tensor]] = {}

    def follow(self, parameters: dict[str, Tensor], bounds: Bounds) -> None:
        """Pose these parameters from now on. Their values may change, but not their places in memory: after a change of density
        they are others."""
        self._parameters, self._bounds = parameters, bounds
        self._poser: Callable[[dict[str, Tensor], Bounds, Shot], tuple[Splats, Tensor]] | None = None

    def pose(self, shot: Shot) -> tuple[Splats, Tensor]:
        """`pose` of the parameters that it follows."""
        if not self._bounds.start.is_cuda:
            # Imported here, as in `rasterize`: numba is slow to load.
            from avatarcli.gaussians.objective_cpu import pose_cpu

            return pose_cpu(self._parameters, self._bounds, shot)
        if self._poser is None:
            # Leaves of their own on the same memory: recording must not touch the parameters' gradients. What a graph reads is
            # overwritten by later calls, so the shot is copied.
            leaves = {key: value.detach().requires_grad_(True) for key, value in self._parameters.items()}
            self._poser = _recorded(pose, leaves, self._bounds, Shot(*(tensor.clone() for tensor in shot)))
        return self._poser(self._parameters, self._bounds, shot)

    def picture_loss(self, color: Tensor, alpha: Tensor, wanted: Wanted) -> Tensor:
        """`picture_loss`, recorded once for each size of picture."""
        if not color.is_cuda:
            from avatarcli.gaussians.objective_cpu import picture_loss_cpu

            return picture_loss_cpu(color, alpha, wanted)
        if alpha.shape not in self._comparers:
            drawn = [tensor.detach().clone().requires_grad_(True) for tensor in (color, alpha)]
            copy = Wanted(*(tensor.clone() for tensor in wanted))
            self._comparers[alpha.shape] = _recorded(picture_loss, *drawn, copy)
        return self._comparers[alpha.shape](color, alpha, wanted)


def _recorded(function: Callable[..., Any], *arguments: Any) -> Callable[..., Any]:
    """The function as CUDA graphs, one forward and one backward; arguments: tensors, or tuples and dicts of them."""
    with warnings.catch_warnings():
        # torch records on another stream than it tried the function on, and warns of its own doing.
        warnings.filterwarnings("ignore", message="The AccumulateGrad node's stream does not match")
        with _no_garbage_collection():
            return cast(Callable[..., Any], torch.cuda.make_graphed_callables(function, arguments))


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Python's collector would free the graphs of an earlier recorder, and CUDA gives up a recording during which that happens."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
