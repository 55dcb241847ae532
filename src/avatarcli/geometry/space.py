"""Points in space: their order, and their nearest neighbours."""

from __future__ import annotations

import torch
from scipy.spatial import cKDTree
from torch import Tensor


def z_order(cells: Tensor) -> Tensor:
    """Indices [P] that sort integer places [P, 3] along Morton's Z-order curve, any stretch of which is compact in space.

    So equal steps along it are spread evenly over a surface. Places may be negative and span less than 1024 along each axis.
    """
    if len(cells) == 0:
        return torch.zeros(0, dtype=torch.long)
    cells = cells.long() - cells.long().amin(0)
    code = torch.zeros(len(cells), dtype=torch.long)
    for bit in range(10):
        for axis in range(3):
            code |= ((cells[:, axis] >> bit) & 1) << (3 * bit + axis)
    return code.argsort(stable=True)


def neighbours(points: Tensor, of: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Of places [P, D] the K nearest of points [N, D], the nearest first: distances and indices [P, K]. K is `count`, at most N."""
    nearest = [*range(1, min(count, len(points)) + 1)]
    distance, index = cKDTree(points.numpy()).query(of.numpy(), k=nearest, workers=torch.get_num_threads())
    return torch.from_numpy(distance).to(of), torch.from_numpy(index)
