"""Coarse tones: smooth changes of the logarithms of a picture's colors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.geometry.colors import from_log_colors, log_colors
from avatarcli.geometry.fill import blur, halved

MOST = 0.4  # a logarithm: tones are changed by half as much again at most
COARSE = 1 / 20  # of the picture's width: how coarse a tone is
_POOL = 4  # pixels along each side that wide blurs take together
_KEPT = 0.5  # of a surface's own contrast, where its tone is changed by MOST and a factor of e more: dark noise would become loud
_SOLID = 0.95  # alpha of pixels whose color is the person's alone
_HARDLY = 0.05  # of the surroundings: changes fade where less than this is known


def with_tones_of(picture: Tensor, other: Tensor) -> Tensor:
    """A premultiplied RGBA picture [H, W, 4] in the coarse tones of another one of the same view, where both show the same."""
    own, wanted = (halved(p) for p in (picture, other))
    missing = log_colors(wanted[..., :3] / wanted[..., 3:].clamp(min=0.02))
    missing = missing - log_colors(own[..., :3] / own[..., 3:].clamp(min=0.02))
    told = torch.minimum(own[..., 3], wanted[..., 3]) > _SOLID
    weight = (told & (missing.abs().amax(-1) < MOST))[..., None].to(picture)
    layers = wide_blur(torch.cat([missing * weight, weight], dim=-1), own.shape[1] * COARSE)
    return with_change(picture, layers[..., :3] / (layers[..., 3:] + _HARDLY))


def with_change(picture: Tensor, change: Tensor) -> Tensor:
    """A premultiplied RGBA picture [H, W, 4] with a change [h, w, 3] of the logarithms of its colors, at any size."""
    alpha = picture[..., 3:]
    logs = log_colors(picture[..., :3] / alpha.clamp(min=0.02))
    return torch.cat([_changed(logs, enlarged(change, picture.shape[:2])) * alpha, alpha], dim=-1)


def _changed(logs: Tensor, change: Tensor) -> Tensor:
    """Colors [H, W, 3] of logarithms that are changed; where much, their contrast does not grow with their tone."""
    size = logs.shape[1]
    fine = logs - wide_blur(logs, size * COARSE)
    kept = _KEPT ** (change - MOST).clamp(min=0)
    return from_log_colors(logs + change - (1 - kept) * fine)


def wide_blur(values: Tensor, sigma: float) -> Tensor:
    """As `blur`, of wide standard deviations, at a fraction of the size."""
    pool = _POOL if sigma >= 2 * _POOL else _POOL // 2
    small = functional.avg_pool2d(values.permute(2, 0, 1)[None], pool)
    return enlarged(blur(small[0].permute(1, 2, 0), sigma / pool), values.shape[:2])


def enlarged(values: Tensor, size: torch.Size) -> Tensor:
    """Values [h, w, C] at a larger size."""
    large = functional.interpolate(values.permute(2, 0, 1)[None], size, mode="bilinear", align_corners=False)
    return large[0].permute(1, 2, 0)
