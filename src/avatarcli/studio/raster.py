"""A z-buffer for triangle meshes: many pictures at once, on any device. `nearest` finds what every sample sees, in torch or, on
a GPU, by kernels of our own; the rest turns that into weights and depths.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.mesh import MeshRaster
from avatarcli.studio import raster_cuda, raster_torch
from avatarcli.studio.fused import fused
from avatarcli.studio.raster_torch import EMPTY, NEAR, CutOut, corners_of


@dataclass(frozen=True)
class Fragments:
    """The covered samples of B pictures of H × W, in order.

    sample [n] int64: index into B·H·W; picture [n]; face [n]; weights [n, 3]: perspective-correct; depth [n] metres;
    area [n]: of the triangle on the screen, in samples.
    """

    sample: Tensor
    picture: Tensor
    face: Tensor
    weights: Tensor
    depth: Tensor
    area: Tensor


@torch.no_grad()
def rasterize(
    vertices: Tensor,
    faces: Tensor,
    camera: Camera,
    *,
    cull_backfaces: bool | Tensor = False,
    bias: Tensor | None = None,
    cut_out: CutOut | None = None,
    chunk: int | None = None,
) -> MeshRaster:
    """The nearest triangle at the centre of every pixel of B pictures; fields of the raster are [B, H, W] and so on.

    vertices [B, N, 3] in the world (or [1, N, 3], the same in all); faces [T, 3], counter-clockwise seen from outside; B
    cameras. cull_backfaces: for all triangles or [T] bool; bias [T]: metres by which a triangle counts as nearer than it is;
    chunk: samples that `raster_torch` tests at a time. Not differentiable.
    The twin for one picture is `geometry.mesh.rasterize_mesh`.
    """
    screen = project(vertices, camera)
    size = (camera.height, camera.width)
    keys = nearest(screen, faces, size, cull_backfaces=cull_backfaces, bias=bias, cut_out=cut_out, chunk=chunk)
    seen = fragments(keys, screen, faces)
    shape = (len(screen), *size)
    face = torch.full((keys.numel(),), -1, dtype=torch.int64, device=keys.device)
    weights = torch.zeros(keys.numel(), 3, device=keys.device)
    depth = torch.full((keys.numel(),), torch.inf, device=keys.device)
    face[seen.sample], weights[seen.sample], depth[seen.sample] = seen.face, seen.weights, seen.depth
    return MeshRaster(face.view(shape), weights.view(*shape, 3), depth.view(shape))


def project(vertices: Tensor, camera: Camera) -> Tensor:
    """Column, row (pixels) and depth (metres) [B, 3, N] of world points [B, N, 3] (or [1, N, 3] for all) in B cameras.

    Points nearer than `NEAR` have no place: NaN.
    """
    return _project(vertices.float(), camera.world_to_camera.float(), camera.K.float())


def nearest(
    screen: Tensor,
    faces: Tensor,
    size: tuple[int, int],
    *,
    cull_backfaces: bool | Tensor = False,
    bias: Tensor | None = None,
    cut_out: CutOut | None = None,
    chunk: int | None = None,
) -> Tensor:
    """Keys [B, H, W] int64 of the nearest triangles: depth's bits (after the bias) above, the triangle below; EMPTY where
    there is none. screen [B, 3, N] from `project`; size: height, width; the rest as `rasterize` takes it.
    Drawn by `raster_cuda` on a GPU that it can compile for, by `raster_torch` anywhere else."""
    if raster_cuda.usable(screen):
        return raster_cuda.nearest(screen, faces, size, cull_backfaces=cull_backfaces, bias=bias, cut_out=cut_out)
    return raster_torch.nearest(
        screen, faces, size, cull_backfaces=cull_backfaces, bias=bias, cut_out=cut_out, chunk=chunk
    )


def key_depth(keys: Tensor) -> Tensor:
    """Depth in metres (after the bias) that keys from `nearest` hold, infinite where there is nothing. Same shape."""
    depth = (keys >> 32).int().view(torch.float32)
    return torch.where(keys == EMPTY, torch.inf, depth)


@torch.no_grad()
def fragments(keys: Tensor, screen: Tensor, faces: Tensor) -> Fragments:
    """Where on which triangle the covered samples lie; keys [B, H, W] from `nearest` of the same screen [B, 3, N] and faces."""
    height, width = keys.shape[1:]
    keys = keys.reshape(-1)
    sample = (keys != EMPTY).nonzero()[:, 0]
    return Fragments(sample, *_resolve(keys, sample, screen, faces, height, width))


@fused
def _project(vertices: Tensor, world_to_camera: Tensor, K: Tensor) -> Tensor:
    # Written out: a matrix product may be rounded to TF32 on a GPU.
    points = vertices.transpose(-1, -2)[:, :, None]  # [B, 3, 1, N]
    columns = world_to_camera[:, :3, :, None]  # [B, 3, 4, 1]
    local = (
        columns[:, :, 0] * points[:, 0]
        + columns[:, :, 1] * points[:, 1]
        + columns[:, :, 2] * points[:, 2]
        + columns[:, :, 3]
    )
    depth = local[:, 2]
    depth = torch.where(depth > NEAR, depth, torch.nan)
    x, y = local[:, 0] / depth, local[:, 1] / depth
    column = K[:, 0, 0, None] * x + K[:, 0, 1, None] * y + K[:, 0, 2, None]
    row = K[:, 1, 1, None] * y + K[:, 1, 2, None]
    return torch.stack([column, row, depth], dim=1)


@fused
def _resolve(
    keys: Tensor, sample: Tensor, screen: Tensor, faces: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Picture, face, weights, depth and area of Fragments."""
    face = keys[sample] & 0xFFFFFFFF
    picture = sample // (height * width)
    inside = sample - picture * (height * width)
    row = inside // width
    x, y = (inside - row * width).float() + 0.5, row.float() + 0.5
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = corners_of(screen, picture, faces[face])
    ax, bx, cx, ay, by, cy = ax - x, bx - x, cx - x, ay - y, by - y, cy - y
    wa, wb, wc = bx * cy - cx * by, cx * ay - ax * cy, ax * by - bx * ay
    area = wa + wb + wc
    # Weights are divided by depth and by what makes their sum one; the area's sign cancels.
    wa, wb, wc = wa / az, wb / bz, wc / cz
    total = wa + wb + wc
    return picture, face, torch.stack([wa / total, wb / total, wc / total], dim=-1), area / total, 0.5 * area.abs()
