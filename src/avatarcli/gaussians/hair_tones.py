"""Tones of hair that no photo shows: what is imagined drifts to other colors than the photo's hair, and where both meet the head
would wear a seam. Here the tone that is seen goes on behind its border, and fades into the imagined one."""

from __future__ import annotations

import torch
from torch import Tensor

from avatarcli.geometry.space import neighbours

_CELL = 0.01  # metres: hair is compared in lumps of this size
_SURE = 0.5  # of a Gaussian: from so much seen hair on a lump tells its tone
# Metres (standard deviations): how coarse a tone is; how far off the lumps lie that tell it; how far behind the border it goes on.
_COARSE, _NEAR, _ON = 0.015, 0.02, 0.05
_FARTHER = 0.01  # what lumps at twice that distance and more count for, where there are no nearer ones
_MOST = 0.7  # a logarithm: hair that differs by more is lit by chance, or is none


def tone_beside(points: Tensor, logs: Tensor, seen: Tensor, unseen: Tensor) -> Tensor:
    """Change [P, 3] of logarithms of colors that gives unseen hair the tone of the seen hair beside it, less the farther off.

    points [P, 3]: metres; logs [P, 3]: `log_colors` of hair; seen, unseen [P]: how much each point counts as either.
    """
    cell, index = torch.unique((points / _CELL).floor().long(), dim=0, return_inverse=True)
    middles = (cell + 0.5) * _CELL
    lumps = logs.new_zeros(2, len(cell), 4)
    for lump, weight in zip(lumps, (seen, unseen), strict=True):
        lump.index_add_(0, index, torch.cat([weight[:, None] * logs, weight[:, None]], dim=-1))
    known, imagined = lumps
    telling = known[:, 3] > _SURE
    if not telling.any():
        return torch.zeros_like(logs)
    apart = torch.cdist(middles, middles)
    wanted = _mean(_bell(apart, _NEAR) + _FARTHER * _bell(apart, 3 * _NEAR), known * telling[:, None])
    own = _mean(_bell(apart, _COARSE), imagined)
    distance = neighbours(middles[telling], middles, 1)[0][:, 0]
    change = _bell(distance, _ON)[:, None] * (wanted - own)
    # Lumps have edges: their changes do not.
    change = _mean(_bell(apart, _CELL), torch.cat([change, torch.ones(len(cell), 1)], dim=-1))
    return change.clamp(-_MOST, _MOST)[index]


def _bell(distance: Tensor, sigma: float) -> Tensor:
    return (-0.5 * (distance / sigma).square()).exp()


def _mean(near: Tensor, layers: Tensor) -> Tensor:
    """Means [C, 3] around each of C lumps, near [C, C], of layers [C, 4]: sums of values, and of their weights."""
    total = near @ layers
    return total[:, :3] / total[:, 3:].clamp(min=1e-6)
