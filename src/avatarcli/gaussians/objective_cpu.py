"""`pose` and `picture_loss` for processors: Numba kernels, forward and backward.

torch makes dozens of passes over memory for each of them, and as many for their gradients; these read and write everything once.
They compute in float32, as everything that is fitted on a processor.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatarcli.gaussians import _cpu_loss, _cpu_pose
from avatarcli.gaussians import _objective_rules as rules
from avatarcli.gaussians._cpu_tiles import F32, I32
from avatarcli.gaussians.avatar import Correctives, Splats
from avatarcli.gaussians.losses import ssim_window
from avatarcli.gaussians.objective import Bounds, Shot, Wanted, table_row
from avatarcli.gaussians.rasterize_cpu import ONE_AT_A_TIME


def pose_cpu(parameters: dict[str, Tensor], bounds: Bounds, shot: Shot) -> tuple[Splats, Tensor]:
    """As `pose`."""
    p = parameters
    correctives = Correctives(p["hidden_weight"], p["hidden_bias"], p["output_weight"], p["basis"])
    row = table_row(p, shot)
    *splats, penalty = _Pose.apply(
        p["means"],
        p["quaternions"],
        p["log_scales"],
        p["opacity_logits"],
        p["sh"][:, 0],
        p["basis"],
        correctives.coefficients(shot.expression),
        row.rotation,
        row.shift,
        row.tint,
        (*bounds, shot.affine, shot.shift, shot.turn),
    )
    return Splats(*splats), penalty + row.price


class _Pose(torch.autograd.Function):
    """The Gaussians, and the mean of what they are charged, from the parameters and from what no step changes."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, ...]:
        *tensors, fixed = arguments
        count = len(tensors[0])
        results = [torch.empty(count, *shape) for shape in ((3,), (4,), (3,), (), (3,), ())]
        ctx.read = [*_arrays(tensors), *_arrays(fixed)]
        with ONE_AT_A_TIME:
            _cpu_pose.pose(*ctx.read, *_arrays(results))
        *splats, penalties = results
        return (*splats, penalties.mean())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *v_splats, v_penalty = gradients
        count, directions, _ = ctx.read[5].shape
        # Not like the parameters, which need not lie in memory as the kernels write.
        results = [torch.empty(array.shape) for array in ctx.read[:6]]
        sums = torch.zeros(math.ceil(count / _cpu_pose.BLOCK), _cpu_pose.SUMS + directions)
        with ONE_AT_A_TIME:
            _cpu_pose.pose_backward(
                *ctx.read, *_arrays([*v_splats, (v_penalty / count)[None]]), *_arrays([*results, sums])
            )
        rotation, shift, tint, coefficients = sums.sum(0).split([9, 3, 3, directions])
        return (*results, coefficients, rotation.view(3, 3), shift, tint, None)


def _arrays(tensors: Iterable[Tensor]) -> list[NDArray[Any]]:
    """Tensors as the kernels take them."""
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


def picture_loss_cpu(color: Tensor, alpha: Tensor, wanted: Wanted) -> Tensor:
    """As `picture_loss`; gradients reach color and alpha only."""
    loss: Tensor = _PictureLoss.apply(color, alpha, wanted)
    return loss


class _PictureLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, color: Tensor, alpha: Tensor, wanted: Wanted) -> Tensor:
        with ONE_AT_A_TIME:
            loss, v_color, v_alpha = _picture_loss(*_arrays([color, alpha, *wanted]))
        ctx.save_for_backward(torch.from_numpy(v_color), torch.from_numpy(v_alpha))
        return torch.tensor(loss, dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return (*(tensor * gradients[0] for tensor in ctx.saved_tensors), None)


def _picture_loss(
    color: F32, alpha: F32, wanted: F32, wanted_alpha: F32, trust: F32, background: F32
) -> tuple[float, F32, F32]:
    """The loss, and its gradients by color and alpha: both at once, as they have most of the work in common."""
    height, width = alpha.shape
    target, difference = _empty(3, height, width), _empty(3, height, width)
    sums = _empty(height, 2)
    _cpu_loss.compare(color, alpha, wanted, wanted_alpha, trust, background, target, difference, sums)
    prices = np.array([rules.L1 / target.size, rules.ALPHA / alpha.size], np.float32)
    loss = float(_total(sums) @ prices)

    # The Laplacian pyramid of the difference. At each level, v is the gradient of the details there, then of all that follows.
    pyramid, places, v = [difference], [], []
    for level in range(rules.DETAIL_LEVELS):
        fine, coarse = pyramid[level], _halved(pyramid[level])
        price = _price(rules.DETAIL / rules.DETAIL_LEVELS / fine.size)
        places.append((*_enlarging(fine.shape[1], coarse.shape[1]), *_enlarging(fine.shape[2], coarse.shape[2])))
        pyramid.append(coarse)
        v.append(np.empty_like(fine))
        sums = _empty(fine.shape[1])
        _cpu_loss.details(fine, coarse, *places[level], price, v[level], sums)
        loss += float(price[0] * _total(sums))
    v.append(np.zeros_like(pyramid[-1]))

    half_target = _halved(target)
    half = half_target + pyramid[1]
    window = ssim_window(1, "cpu").view(-1).numpy()
    less = len(window) - 1
    smooth = _empty(5, *half.shape[:2], half.shape[2] - less)
    _cpu_loss.smooth_rows(half, half_target, window, smooth)
    v_moments, sums = _empty(3, 3, half.shape[1] - less, half.shape[2] - less), _empty(half.shape[1] - less)
    _cpu_loss.similarity(smooth, window, v_moments, sums)
    price = _price(-rules.SSIM / v_moments[0].size)
    loss += rules.SSIM + float(price[0] * _total(sums))

    for level in reversed(range(rules.DETAIL_LEVELS)):
        _cpu_loss.subtract_enlarged_backward(v[level], *places[level], v[level + 1])
        if level == 0:
            _cpu_loss.add_similarity_backward(half, half_target, v_moments, window, price, v[1])
        _cpu_loss.add_halved_backward(v[level + 1], v[level])
    v_color, v_alpha = np.empty_like(color), np.empty_like(alpha)
    _cpu_loss.finish(difference, v[0], alpha, wanted_alpha, trust, background, prices, v_color, v_alpha)
    return loss, v_color, v_alpha


def _empty(*shape: int) -> F32:
    return np.empty(shape, np.float32)


def _price(value: float) -> F32:
    """A factor as the kernels take it: a Python float would turn their work into float64."""
    return np.array([value], np.float32)


def _total(sums: F32) -> NDArray[np.float64]:
    """The sum of the rows' sums."""
    total: NDArray[np.float64] = sums.sum(0, dtype=np.float64)
    return total


def _halved(picture: F32) -> F32:
    """A picture [C, H, W] at half its size; see `halved`."""
    coarse = _empty(3, picture.shape[1] // 2, picture.shape[2] // 2)
    _cpu_loss.halve(picture, coarse)
    return coarse


@cache
def _enlarging(fine: int, coarse: int) -> tuple[I32, F32]:
    """Where pixels of a side of `fine` lie in one of `coarse`: the last one before each [fine], and the share of the next [fine].

    As torch's bilinear interpolation has it, without aligned corners.
    """
    place = np.maximum((np.arange(fine) + 0.5) * (coarse / fine) - 0.5, 0)
    before = np.floor(place)
    return before.astype(np.int32), (place - before).astype(np.float32)
