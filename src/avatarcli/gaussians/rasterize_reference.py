"""The rasteriser written plainly in torch: what the quick ones must agree with. Time and memory grow with N × H × W."""

from __future__ import annotations

import torch
from torch import Tensor

from avatarcli.gaussians._raster_rules import (
    ALPHA_MAX,
    ALPHA_MIN,
    EPS_2D,
    FIELD_OF_VIEW_MARGIN,
    NEAR_PLANE,
    TRANSMITTANCE_MIN,
)
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.rotations import quaternion_to_matrix

# Pixel-Gaussian pairs evaluated at once; bounds the memory to some hundred megabytes.
_PAIRS_AT_ONCE = 4_000_000


def rasterize_reference(
    means: Tensor, quaternions: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor, camera: Camera
) -> tuple[Tensor, Tensor]:
    """Color multiplied by alpha [H, W, C] and alpha [H, W]; arguments as `rasterize`."""
    camera = Camera(camera.world_to_camera.to(means), camera.K.to(means), camera.width, camera.height)
    with torch.no_grad():
        depth = camera.to_camera(means)[:, 2]
        order = torch.argsort(depth, stable=True)
        finite = torch.cat([means, quaternions, scales, opacities[:, None]], dim=-1).isfinite().all(-1)
        order = order[(finite & (depth >= NEAR_PLANE))[order]]
    centres, covariances = _project(means[order], quaternions[order], scales[order], camera)
    conics = torch.linalg.inv(covariances)
    opacities, colors = opacities[order], colors[order]

    rows = max(1, _PAIRS_AT_ONCE // max(1, len(order) * camera.width))
    x = torch.arange(camera.width, dtype=means.dtype, device=means.device) + 0.5
    strips = []
    for top in range(0, camera.height, rows):
        bottom = min(top + rows, camera.height)
        y = torch.arange(top, bottom, dtype=means.dtype, device=means.device) + 0.5
        pixels = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
        strips.append(_blend(pixels, centres, conics, opacities, colors))
    return torch.cat([color for color, _ in strips]), torch.cat([alpha for _, alpha in strips])


def _project(means: Tensor, quaternions: Tensor, scales: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
    """Pixel positions [M, 2] and covariances in pixels² [M, 2, 2] of Gaussians in front of the camera.

    The covariance goes through the projection's derivative at the centre (EWA). Far outside the picture that derivative
    grows without bound, so the direction it is taken at is clamped a little beyond the edges.
    """
    x, y, z = camera.to_camera(means).unbind(-1)
    fx, fy, cx, cy = camera.K[0, 0], camera.K[1, 1], camera.K[0, 2], camera.K[1, 2]
    margin_x = FIELD_OF_VIEW_MARGIN * 0.5 * camera.width / fx
    margin_y = FIELD_OF_VIEW_MARGIN * 0.5 * camera.height / fy
    slope_x = (x / z).clamp(-(cx / fx + margin_x), (camera.width - cx) / fx + margin_x)
    slope_y = (y / z).clamp(-(cy / fy + margin_y), (camera.height - cy) / fy + margin_y)
    zero = torch.zeros_like(z)
    jacobian = torch.stack([fx / z, zero, -fx * slope_x / z, zero, fy / z, -fy * slope_y / z], dim=-1).view(-1, 2, 3)
    axes = camera.world_to_camera[:3, :3] @ quaternion_to_matrix(quaternions) * scales[:, None, :]
    flat = jacobian @ axes
    covariances = flat @ flat.transpose(-1, -2) + EPS_2D * torch.eye(2, dtype=means.dtype, device=means.device)
    return torch.stack([fx * x / z + cx, fy * y / z + cy], dim=-1), covariances


def _blend(pixels: Tensor, centres: Tensor, conics: Tensor, opacities: Tensor, colors: Tensor) -> tuple[Tensor, Tensor]:
    """Color [h, w, C] and alpha [h, w] at pixel positions [h, w, 2] of splats sorted from front to back."""
    delta = pixels[:, :, None] - centres
    dx, dy = delta.unbind(-1)
    sigma = 0.5 * (conics[:, 0, 0] * dx * dx + conics[:, 1, 1] * dy * dy) + conics[:, 0, 1] * dx * dy
    alpha = (opacities * torch.exp(-sigma)).clamp(max=ALPHA_MAX)
    alpha = torch.where((sigma >= 0) & (alpha >= ALPHA_MIN), alpha, torch.zeros_like(alpha))
    after = torch.cumprod(1 - alpha, dim=-1)
    before = torch.cat([torch.ones_like(after[..., :1]), after[..., :-1]], dim=-1)
    # Once a splat would take the pixel below the limit, it and all behind it are left out.
    weights = torch.where(after > TRANSMITTANCE_MIN, alpha * before, torch.zeros_like(alpha))
    return weights @ colors, weights.sum(-1)
