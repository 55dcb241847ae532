"""Rays against triangle meshes."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def outermost_hit(origins: Tensor, directions: Tensor, vertices: Tensor, faces: Tensor) -> Tensor:
    """How far along each ray its last crossing with a mesh lies [R], metres; zero for rays that miss.

    origins, directions [R, 3] (unit length); vertices [N, 3]; faces [F, 3]. Möller and Trumbore's test (1997) of every ray with
    every triangle, after a cheap look at the triangle's distance from the ray.
    """
    o, d, v = (np.ascontiguousarray(tensor.cpu().double().numpy()) for tensor in (origins, directions, vertices))
    distance = _outermost(o, d, v, np.ascontiguousarray(faces.cpu().numpy()))
    return torch.from_numpy(distance).to(vertices)


@numba.njit(parallel=True, cache=True, fastmath=True)
def _outermost(
    origins: npt.NDArray[np.float64],
    directions: npt.NDArray[np.float64],
    vertices: npt.NDArray[np.float64],
    faces: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64]:
    count = faces.shape[0]
    centres = np.empty((count, 3))
    radii = np.empty(count)
    for f in range(count):
        for axis in range(3):
            centres[f, axis] = (
                vertices[faces[f, 0], axis] + vertices[faces[f, 1], axis] + vertices[faces[f, 2], axis]
            ) / 3
        largest = 0.0
        for corner in range(3):
            square = 0.0
            for axis in range(3):
                square += (vertices[faces[f, corner], axis] - centres[f, axis]) ** 2
            largest = max(largest, square)
        radii[f] = largest
    result = np.zeros(origins.shape[0])
    for ray in numba.prange(origins.shape[0]):
        ox, oy, oz = origins[ray]
        dx, dy, dz = directions[ray]
        best = 0.0
        for f in range(count):
            cx, cy, cz = centres[f, 0] - ox, centres[f, 1] - oy, centres[f, 2] - oz
            along = cx * dx + cy * dy + cz * dz
            if along + np.sqrt(radii[f]) < best or cx * cx + cy * cy + cz * cz - along * along > radii[f]:
                continue
            a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
            e1x, e1y, e1z = (
                vertices[b, 0] - vertices[a, 0],
                vertices[b, 1] - vertices[a, 1],
                vertices[b, 2] - vertices[a, 2],
            )
            e2x, e2y, e2z = (
                vertices[c, 0] - vertices[a, 0],
                vertices[c, 1] - vertices[a, 1],
                vertices[c, 2] - vertices[a, 2],
            )
            px, py, pz = dy * e2z - dz * e2y, dz * e2x - dx * e2z, dx * e2y - dy * e2x
            determinant = e1x * px + e1y * py + e1z * pz
            if abs(determinant) < 1e-14:
                continue
            sx, sy, sz = ox - vertices[a, 0], oy - vertices[a, 1], oz - vertices[a, 2]
            u = (sx * px + sy * py + sz * pz) / determinant
            if u < 0 or u > 1:
                continue
            qx, qy, qz = sy * e1z - sz * e1y, sz * e1x - sx * e1z, sx * e1y - sy * e1x
            v = (dx * qx + dy * qy + dz * qz) / determinant
            if v < 0 or u + v > 1:
                continue
            best = max(best, (e2x * qx + e2y * qy + e2z * qz) / determinant)
        result[ray] = best
    return result
