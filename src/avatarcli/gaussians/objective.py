"""What a fit minimises: Gaussians posed as one picture shows them, how far their picture is from it, and what keeps them sane.

Whatever changes from step to step is a tensor, and nothing here waits for a value: so a GPU can record both functions once and
replay them, which takes a tenth of the time that Python needs to ask for all their small steps.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from avatarcli.gaussians import _objective_rules as rules
from avatarcli.gaussians.avatar import SH_C0, Correctives, Splats
from avatarcli.gaussians.losses import detail_loss, ssim
from avatarcli.gaussians.rig import Motion, lengths
from avatarcli.geometry.fill import halved
from avatarcli.geometry.rotations import axis_angle_to_matrix


class Bounds(NamedTuple):
    """What holds Gaussians back. moving [G]: whether they follow the expression; start [G, 3]: where they started, reach [G]: how
    far they may go from there (metres)."""

    moving: Tensor
    start: Tensor
    reach: Tensor


class Shot(NamedTuple):
    """What one picture shows. affine [G, 3, 3], shift [G, 3], turn [G, 4]: a `Motion`; expression [52]; row [P]: 1 at the
    picture's place in the table of nudges and tints, all 0 for a picture that has none."""

    affine: Tensor
    shift: Tensor
    turn: Tensor
    expression: Tensor
    row: Tensor


class Wanted(NamedTuple):
    """The picture itself: color [H, W, 3] (premultiplied), alpha [H, W], trust [H, W], and a background [3] behind it."""

    color: Tensor
    alpha: Tensor
    trust: Tensor
    background: Tensor


class Row(NamedTuple):
    """A picture's row of the table of nudges and tints. rotation [3, 3], shift [3] metres: how it moves all Gaussians; tint [3]: by
    how much it brightens them; price []: what that costs."""

    rotation: Tensor
    shift: Tensor
    tint: Tensor
    price: Tensor


def table_row(parameters: dict[str, Tensor], shot: Shot) -> Row:
    """What the table says about a picture."""
    nudge, tint = shot.row @ parameters["nudge"], shot.row @ parameters["tint"]
    price = rules.NUDGE * nudge.square().sum() + rules.TINT * tint.square().sum()
    return Row(axis_angle_to_matrix(nudge[:3]), nudge[3:], tint, price)


def pose(parameters: dict[str, Tensor], bounds: Bounds, shot: Shot) -> tuple[Splats, Tensor]:
    """The Gaussians in the world as the picture should show them, and the regularisers' sum."""
    p = parameters
    correctives = Correctives(p["hidden_weight"], p["hidden_bias"], p["output_weight"], p["basis"])
    offsets = correctives.offsets(shot.expression) * bounds.moving[:, None]
    scales = p["log_scales"].exp()
    means, quaternions, stretched = Motion(shot.affine, shot.shift, shot.turn).place(
        p["means"] + offsets, p["quaternions"], scales
    )
    row = table_row(p, shot)
    means = means @ row.rotation.T + row.shift
    colors = (0.5 + SH_C0 * p["sh"][:, 0]).clamp(min=0) * (1 + row.tint)
    splats = Splats(means, quaternions, stretched, p["opacity_logits"].sigmoid(), colors)

    strayed = (lengths(p["means"] - bounds.start) - bounds.reach).clamp(min=0).mean()
    big = (scales - rules.BIG_FREE).clamp(min=0).mean()
    ordered = p["log_scales"].sort(dim=-1).values
    needle = (ordered[:, 2] - ordered[:, 1] - rules.NEEDLE_FREE).clamp(min=0).mean()
    shape = rules.STRAY * strayed + rules.BIG * big + rules.NEEDLE * needle
    return splats, shape + rules.CORRECTIVE * lengths(offsets).mean() + row.price


def picture_loss(color: Tensor, alpha: Tensor, wanted: Wanted) -> Tensor:
    """How far a drawn picture (color [H, W, 3], premultiplied, and alpha [H, W]) is from the wanted one, where that is trusted."""
    target = wanted.color + (1 - wanted.alpha)[..., None] * wanted.background
    trust = wanted.trust
    color = color + (1 - alpha)[..., None] * wanted.background
    color = color * trust[..., None] + target * (1 - trust)[..., None]
    # Structure is compared at half the size, at a quarter of the cost: detail has a term of its own.
    return (
        rules.L1 * (color - target).abs().mean()
        + rules.SSIM * (1 - ssim(halved(color), halved(target)))
        + rules.DETAIL * detail_loss(color, target, rules.DETAIL_LEVELS)
        + rules.ALPHA * ((alpha - wanted.alpha).abs() * trust).mean()
    )


class Recorder:
    """`pose` and `picture_loss`, on CUDA recorded as graphs when they are first called. A recorder serves one set of parameters,
    whose values may change but not their places in memory: after a change of density another one is needed."""

    def __init__(self, parameters: dict[str, Tensor], bounds: Bounds) -> None:
        self._parameters, self._bounds = parameters, bounds
        self._on_gpu = bounds.start.is_cuda
        self._poser: Callable[[dict[str, Tensor], Bounds, Shot], tuple[Splats, Tensor]] | None = None
        self._comparers: dict[torch.Size, Callable[[Tensor, Tensor, Wanted], Tensor]] = {}

    def pose(self, shot: Shot) -> tuple[Splats, Tensor]:
        """`pose` of the parameters."""
        if not self._on_gpu:
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
        """`picture_loss`, recorded for each size of picture."""
        if not self._on_gpu:
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
