"""Numbers that compare pictures and points. Pure functions; nothing here needs weights."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from avatarcli.arrays import Float64
from avatarcli.gaussians.losses import ssim_map

Points = NDArray[np.float32] | NDArray[np.float64]


def on_white(color: Tensor, alpha: Tensor) -> Tensor:
    """Straight colors [H, W, 3] laid on white by alpha [H, W]; all in [0, 1]."""
    return color * alpha[..., None] + (1 - alpha[..., None])


def masked_ssim(image: Tensor, target: Tensor, mask: Tensor) -> float:
    """Structural similarity of pictures [H, W, 3] in [0, 1] averaged over a mask [H, W] (Wang et al. 2004).

    Every pixel counts with its window, so what lies just outside the mask has some say.
    """
    score = ssim_map(image, target)
    inset = (mask.shape[0] - score.shape[0]) // 2
    weight = mask[inset : mask.shape[0] - inset, inset : mask.shape[1] - inset]
    return float((score.mean(-1) * weight).sum() / weight.sum().clamp(min=1e-6))


def overlap(alpha: Tensor, target: Tensor, valid: Tensor) -> float:
    """Intersection over union of two soft masks [H, W] in [0, 1], where `valid` [H, W] is 1."""
    intersection = (torch.minimum(alpha, target) * valid).sum()
    return float(intersection / (torch.maximum(alpha, target) * valid).sum().clamp(min=1e-6))


def keypoint_distance(points: Points, target: Points, unit: float) -> float:
    """Mean distance of points [..., N, 2] from their targets, per cent of `unit` (the inter-ocular distance,
    pixels)."""
    return float(100 * np.linalg.norm(points - target, axis=-1).mean() / unit)


def motion_response(moved: Float64, asked: Float64) -> float:
    """How much of the motion that was asked for is seen: 1 all of it, 0 none.

    moved, asked [E, N, 2]: displacements of N points in E expressions; the least-squares factor between the two.
    """
    return float((moved * asked).sum() / max(float(np.square(asked).sum()), 1e-12))


def unexplained_change(before: Tensor, after: Tensor, flow: Tensor, mask: Tensor) -> float:
    """Mean absolute difference of a picture [H, W, 3] from the one before it, carried along by the known motion.

    flow [H, W, 2]: pixels from a point of `after` to where it was in `before`; mask [H, W]: where to look.
    """
    difference = (after - sample(before, flow)).abs().mean(-1)
    return float((difference * mask).sum() / mask.sum().clamp(min=1e-6))


def sample(picture: Tensor, flow: Tensor) -> Tensor:
    """`picture` [H, W, C] read, between its pixels, `flow` [H, W, 2] pixels (x, y) away from each of them."""
    height, width = picture.shape[:2]
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    place = (torch.stack([x, y], dim=-1) + flow) / torch.tensor([width, height]) * 2 - 1
    # Cubic: what linear interpolation blurs would count as change.
    read = functional.grid_sample(
        picture.permute(2, 0, 1)[None], place[None], mode="bicubic", padding_mode="border", align_corners=False
    )
    return read[0].permute(1, 2, 0)


def triangulate(projections: Float64, pixels: Float64) -> tuple[Float64, Float64]:
    """Points [N, 3] that V cameras see at `pixels` [V, N, 2], and the errors [V, N] (pixels) of seeing them there.

    projections [V, 3, 4]: K [R | t]. Linear least squares over all cameras (Hartley and Zisserman, ch. 12.2).
    """
    # Two equations a camera, x P3 - P1 and y P3 - P2, of unit length so that all cameras weigh the same.
    rows = pixels[..., None] * projections[:, None, None, 2] - projections[:, None, :2]
    rows = rows / np.linalg.norm(rows[..., :3], axis=-1, keepdims=True)
    stacked = rows.transpose(1, 0, 2, 3).reshape(pixels.shape[1], -1, 4)
    homogeneous = np.linalg.svd(stacked)[2][:, -1]
    seen = np.einsum("vij,nj->vni", projections, homogeneous)
    errors: Float64 = np.linalg.norm(seen[..., :2] / seen[..., 2:] - pixels, axis=-1)
    return homogeneous[:, :3] / homogeneous[:, 3:], errors
