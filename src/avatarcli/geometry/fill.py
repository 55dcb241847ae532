"""Pictures and grids blurred, resized, and filled where they are unknown."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor
from torch.nn import functional


def pull_push(values: Tensor, weights: Tensor, *, wrap: bool = False) -> Tensor:
    """Spread known values smoothly over a whole picture (Gortler et al., *The Lumigraph*, 1996).

    values [H, W, C]; weights [H, W] in [0, 1], how far each value is known; with `wrap`, the left and right edges meet.
    Returns [H, W, C]: the values where they are known, and ever coarser means of their surroundings where they are not.
    """
    levels = [(values.permute(2, 0, 1)[None], weights.clamp(0, 1)[None, None])]
    while max(levels[-1][0].shape[-2:]) > 1:
        value, weight = levels[-1]
        total = _halve(weight, wrap)
        mean = _halve(value * weight, wrap) / total.clamp(min=1e-8)
        # Four known quarters make a fully known whole, and a single one nearly does: color must reach far quickly.
        levels.append((mean, (total * 4).clamp(max=1)))
    filled = levels[-1][0]
    for value, weight in reversed(levels[:-1]):
        filled = _double(filled, value.shape[-2], value.shape[-1], wrap)
        filled = filled + weight * (value - filled)
    return filled[0].permute(1, 2, 0)


def borrow(color: Tensor, trust: Tensor, mirrored: Tensor, mirror_trust: Tensor, *, wrap: bool = False) -> Tensor:
    """Complete a picture [H, W, C] from its mirror image, then from its surroundings.

    trust, mirror_trust [H, W] say how far the colors and the mirrored ones are known.
    """
    borrowed = (1 - trust) * mirror_trust
    known = trust + borrowed
    blended = (color * trust[..., None] + mirrored * borrowed[..., None]) / known[..., None].clamp(min=1e-6)
    # What is hardly known is known wrongly, and the fill would carry it far: it does not count at all.
    return pull_push(blended, ramp(known, 0.3, 0.8), wrap=wrap)


def spread_nearest(values: Tensor, known: Tensor, softness: float) -> Tensor:
    """Continue known values by the nearest ones, the softer the farther, over a picture whose left and right edges meet.

    Unlike `pull_push` it does not mix a shirt with the jacket beside it. values [H, W, C]; known [H, W] bool, somewhere true;
    softness: blur in pixels per pixel of distance, at most 20 pixels.
    """
    width = known.shape[1]
    wrapped = torch.cat([known, known, known], dim=1).numpy()
    distance, (row, column) = distance_transform_edt(~wrapped, return_indices=True)
    middle = np.s_[:, width : 2 * width]
    nearest = values[torch.from_numpy(row[middle]), torch.from_numpy(column[middle] % width)]
    sigma = torch.from_numpy(distance[middle]).to(values) * softness
    result, previous = nearest, 0.0
    for level in (1.25, 2.5, 5.0, 10.0, 20.0):
        soft = _blur_around(nearest, level)
        share = ((sigma - previous) / (level - previous)).clamp(0, 1)[..., None]
        result = torch.lerp(result, soft, share)
        previous = level
    return result


def _blur_around(values: Tensor, sigma: float) -> Tensor:
    reach = min(round(3 * sigma) + 1, values.shape[1])
    padded = torch.cat([values[:, -reach:], values, values[:, :reach]], dim=1)
    return blur(padded, sigma)[:, reach:-reach]


def _halve(x: Tensor, wrap: bool) -> Tensor:
    height, width = x.shape[-2:]
    x = functional.pad(x, (0, width % 2, 0, 0), mode="circular" if wrap else "replicate")
    x = functional.pad(x, (0, 0, 0, height % 2), mode="replicate")
    return functional.avg_pool2d(x, 2)


def _double(x: Tensor, height: int, width: int, wrap: bool) -> Tensor:
    x = functional.pad(x, (1, 1, 0, 0), mode="circular" if wrap else "replicate")
    x = functional.pad(x, (0, 0, 1, 1), mode="replicate")
    x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    return x[..., 2 : 2 + height, 2 : 2 + width]


def blur(values: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of a picture [H, W, C] with standard deviation `sigma` pixels, edges replicated. On the CPU."""
    side = 2 * max(1, round(3 * sigma)) + 1
    picture = np.ascontiguousarray(values.numpy())
    soft = cv2.GaussianBlur(picture, (side, side), sigma, borderType=cv2.BORDER_REPLICATE)
    return torch.from_numpy(soft).view(values.shape)  # OpenCV drops the axis of a single channel


def resized(picture: Tensor, height: int, width: int) -> Tensor:
    """A picture [H, W] or [H, W, C] at another size: averaged where it shrinks, bilinear where it grows."""
    layers = picture.reshape(*picture.shape[:2], -1).permute(2, 0, 1)[None]
    layers = functional.interpolate(layers, (height, width), mode="bilinear", antialias=True, align_corners=False)
    return layers[0].permute(1, 2, 0).reshape(height, width, *picture.shape[2:])


def halved(picture: Tensor) -> Tensor:
    """A picture [H, W, C] of even sides at half its size, by means of four pixels each."""
    return functional.avg_pool2d(picture.permute(2, 0, 1)[None], 2)[0].permute(1, 2, 0)


def ramp(x: Tensor, low: float, high: float) -> Tensor:
    """Zero below `low`, one above `high`, smooth in between."""
    t = ((x - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)
