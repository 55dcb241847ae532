"""The rasteriser for processors: Numba kernels over tiles of the picture, forward and backward.

Steps: `project` every Gaussian to a splat; sort the splats by depth; list for each tile the splats that meet it;
`blend` the tiles, each by one thread. Backward, every meeting of a splat and a tile has a slot of its own for the
gradient, and each splat adds up its slots in their order: neither the number of threads nor chance changes a result.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from avatarcli.gaussians._cpu_kernels import blend, blend_backward
from avatarcli.gaussians._cpu_projection import project, project_backward
from avatarcli.gaussians._cpu_tiles import F32, I32, SPLAT_COLUMNS, TILE, arrange, depth_order, sort_by_tile
from avatarcli.geometry.cameras import Camera

# Numba's plain thread pool ("workqueue", all there is on some systems) ends the process when two threads enter it at
# once.
ONE_AT_A_TIME = threading.Lock()


def rasterize_cpu(
    means: Tensor, quaternions: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor, camera: Camera
) -> tuple[Tensor, Tensor]:
    """Color multiplied by alpha [H, W, C] and alpha [H, W], float32; arguments as `rasterize`."""
    tensors = [
        tensor.to("cpu", torch.float32).contiguous() for tensor in (means, quaternions, scales, opacities, colors)
    ]
    color, alpha = _Rasterize.apply(*tensors, camera)
    return color.to(means.device), alpha.to(means.device)


@dataclass(frozen=True)
class _Scene:
    """What the backward pass needs of the forward pass."""

    pose: F32
    lens: F32
    order: I32
    splats: F32
    colors: F32
    starts: I32
    owners: I32
    tile_starts: I32
    slots: I32
    tiles_x: int

    @property
    def tiles(self) -> tuple[I32, I32, I32, int, int, int]:
        """The arguments that `blend` and `blend_backward` share after splats and colors."""
        return (
            self.owners,
            self.tile_starts,
            self.slots,
            self.tiles_x,
            _stride(len(self.tile_starts) - 1),
            numba.get_num_threads(),
        )


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor]:
        *tensors, camera = arguments
        means, quaternions, scales, opacities, colors = (tensor.detach().numpy() for tensor in tensors)
        with ONE_AT_A_TIME:
            scene = _prepare(means, quaternions, scales, opacities, colors, camera)
            color = torch.empty(camera.height, camera.width, colors.shape[1])
            alpha = torch.empty(camera.height, camera.width)
            blend(scene.splats, scene.colors, *scene.tiles, color.numpy(), alpha.numpy())
        ctx.scene = scene
        ctx.save_for_backward(*tensors[:3], color, alpha)
        return color, alpha

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        scene: _Scene = ctx.scene
        means, quaternions, scales, color, alpha = ctx.saved_tensors
        v_color, v_alpha = (gradient.contiguous().numpy() for gradient in gradients)
        v_opacities = torch.zeros(len(means))
        v_colors = torch.zeros(len(means), color.shape[2])
        results = [
            torch.zeros_like(means),
            torch.zeros_like(quaternions),
            torch.zeros_like(scales),
            v_opacities,
            v_colors,
        ]
        with ONE_AT_A_TIME:
            sums = np.zeros((len(scene.owners), 6 + color.shape[2]), np.float32)
            blend_backward(
                scene.splats, scene.colors, *scene.tiles, color.numpy(), alpha.numpy(), v_color, v_alpha, sums
            )
            project_backward(
                means.numpy(), quaternions.numpy(), scales.numpy(), scene.pose, scene.lens, scene.order, scene.splats,
                scene.starts, sums, *(result.numpy() for result in results),
            )  # fmt: skip
        return (*results, None)


def _prepare(means: F32, quaternions: F32, scales: F32, opacities: F32, colors: F32, camera: Camera) -> _Scene:
    """Everything up to the lists of the tiles."""
    pose = camera.world_to_camera.detach().to("cpu", torch.float32)[:3].contiguous().view(-1).numpy()
    K = camera.K.detach().to("cpu", torch.float32)
    lens = np.array([K[0, 0], K[1, 1], K[0, 2], K[1, 2], camera.width, camera.height], np.float32)
    all_splats, depths = np.empty((len(means), SPLAT_COLUMNS), np.float32), np.empty(len(means), np.float32)
    meetings = np.empty(len(means), np.int32)
    project(means, quaternions, scales, opacities, pose, lens, all_splats, depths, meetings)
    order = depth_order(depths.view(np.uint32))
    starts = np.zeros(len(order) + 1, np.int32)
    np.cumsum(meetings[order], out=starts[1:])
    tiles_x, tiles_y = math.ceil(camera.width / TILE), math.ceil(camera.height / TILE)
    splats, colors, tiles, owners = arrange(all_splats, colors, order, starts, tiles_x, tiles_y)
    tile_starts, slots = sort_by_tile(tiles, tiles_x * tiles_y)
    return _Scene(pose, lens, order, splats, colors, starts, owners, tile_starts, slots, tiles_x)


def _stride(count: int) -> int:
    """A step near 0.618 × count without a common divisor: walks to every tile once, always far from the last ones."""
    step = max(1, round(0.618 * count))
    while math.gcd(step, count) != 1:
        step += 1
    return step
