"""A z-buffer for triangle meshes on the CPU, and what is looked up with it: attributes, visibility, normals."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.geometry.cameras import Camera

_NEAR = 0.01  # metres: triangles reaching nearer than this to the camera plane are dropped, not clipped


@dataclass(frozen=True)
class MeshRaster:
    """What each pixel of a picture sees of a mesh.

    face [H, W] int64: index of the triangle, −1 where there is none. weights [H, W, 3]: perspective-correct barycentric
    weights of its corners. depth [H, W]: metres along z, infinite where there is nothing.
    """

    face: Tensor
    weights: Tensor
    depth: Tensor

    @property
    def covered(self) -> Tensor:
        return self.face >= 0

    def interpolate(self, attributes: Tensor, faces: Tensor) -> Tensor:
        """Per-vertex attributes [N, C] seen at each pixel [H, W, C]; zero where nothing is seen. faces [F, 3]."""
        corners = attributes[faces[self.face.clamp(min=0)]]
        values = (corners * self.weights[..., None]).sum(-2)
        return values * self.covered[..., None]


def rasterize_mesh(vertices: Tensor, faces: Tensor, camera: Camera, *, cull_backfaces: bool = False) -> MeshRaster:
    """The nearest triangle at the centre of every pixel.

    vertices [N, 3] in the world; faces [F, 3], counter-clockwise seen from outside; one camera. With `cull_backfaces`,
    triangles seen from behind are invisible.
    """
    pixels, depth = camera.project(vertices)
    face, weights, zbuffer = _rasterize(
        pixels.detach().cpu().double().numpy(),
        depth.detach().cpu().double().numpy(),
        np.ascontiguousarray(faces.cpu().numpy()),
        camera.height,
        camera.width,
        cull_backfaces,
    )
    device = vertices.device
    return MeshRaster(
        torch.from_numpy(face).to(device), torch.from_numpy(weights).to(device), torch.from_numpy(zbuffer).to(device)
    )


@numba.njit(nogil=True, cache=True)
def _rasterize(
    pixels: npt.NDArray[np.float64],
    depth: npt.NDArray[np.float64],
    faces: npt.NDArray[np.int64],
    height: int,
    width: int,
    cull: bool,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    index = np.full((height, width), -1, dtype=np.int64)
    weights = np.zeros((height, width, 3), dtype=np.float32)
    zbuffer = np.full((height, width), np.inf, dtype=np.float32)
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        if depth[a] < _NEAR or depth[b] < _NEAR or depth[c] < _NEAR:
            continue
        ay, by, cy = pixels[a, 1], pixels[b, 1], pixels[c, 1]
        top = max(0, int(np.ceil(min(ay, by, cy) - 0.5)))
        bottom = min(height - 1, int(np.floor(max(ay, by, cy) - 0.5)))
        if top > bottom:
            continue
        ax, bx, cx = pixels[a, 0], pixels[b, 0], pixels[c, 0]
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        # Pixels' y points down, so a triangle that is counter-clockwise from outside has a negative area.
        if abs(area) < 1e-12 or (cull and area > 0):
            continue
        left = max(0, int(np.ceil(min(ax, bx, cx) - 0.5)))
        right = min(width - 1, int(np.floor(max(ax, bx, cx) - 0.5)))
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                px, py = x + 0.5, y + 0.5
                wa = ((bx - px) * (cy - py) - (cx - px) * (by - py)) / area
                wb = ((cx - px) * (ay - py) - (ax - px) * (cy - py)) / area
                wc = 1.0 - wa - wb
                if wa < 0 or wb < 0 or wc < 0:
                    continue
                ia, ib, ic = wa / depth[a], wb / depth[b], wc / depth[c]
                z = 1.0 / (ia + ib + ic)
                if z < zbuffer[y, x]:
                    zbuffer[y, x] = z
                    index[y, x] = f
                    weights[y, x, 0], weights[y, x, 1], weights[y, x, 2] = ia * z, ib * z, ic * z
    return index, weights, zbuffer


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Unit normals [..., N, 3] of vertices [..., N, 3]: the area-weighted mean of the triangles [F, 3] around them."""
    corners = vertices[..., faces, :]
    normal = torch.linalg.cross(corners[..., 1, :] - corners[..., 0, :], corners[..., 2, :] - corners[..., 0, :])
    total = torch.zeros_like(vertices)
    for corner in range(3):
        total.index_add_(-2, faces[:, corner], normal)
    return functional.normalize(total, dim=-1, eps=1e-12)


def visible_points(
    points: Tensor, normals: Tensor, camera: Camera, depth: Tensor, *, tolerance: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Which surface points the camera sees.

    points, normals [N, 3]; depth [H, W]: a z-buffer of the scene from the same camera; tolerance: metres that a point may lie
    behind the buffer, for the two sample the surface differently.
    Returns pixels [N, 2], the facing ratio [N] (cosine between normal and the way to the camera), and visible [N] (bool).
    """
    pixels, z = camera.project(points)
    facing = (functional.normalize(camera.centre - points, dim=-1) * normals).sum(-1)
    column, row = pixels[:, 0].floor().long(), pixels[:, 1].floor().long()
    inside = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height) & (z > _NEAR)
    column, row = column.clamp(0, camera.width - 1), row.clamp(0, camera.height - 1)
    return pixels, facing, inside & (facing > 0) & (z < depth[row, column] + tolerance)


def sample_image(image: Tensor, pixels: Tensor) -> Tensor:
    """Bilinear values [N, C] of an image [H, W, C] at pixel positions [N, 2]; clamped at the borders."""
    height, width = image.shape[:2]
    size = torch.tensor([width, height], dtype=pixels.dtype, device=pixels.device)
    return look_up(image, pixels / size)


def look_up(picture: Tensor, uv: Tensor) -> Tensor:
    """Bilinear values [..., C] of a picture [H, W, C] at uv [..., 2], (0, 0) its upper left corner; clamped at the borders."""
    grid = (uv * 2 - 1).reshape(1, 1, -1, 2)
    values = functional.grid_sample(
        picture.permute(2, 0, 1)[None],
        grid.to(picture.dtype),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    return values[0, :, 0].T.reshape(*uv.shape[:-1], picture.shape[-1])
