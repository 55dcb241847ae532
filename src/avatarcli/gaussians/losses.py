"""Losses between pictures, and what keeps Gaussians sane. Pure functions."""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn import functional

_WINDOW, _SIGMA = 11, 1.5  # of SSIM, as Wang et al. (2004) chose them
C1, C2 = 0.01**2, 0.03**2


@functools.cache
def ssim_window(channels: int, device: str) -> Tensor:
    """The weights [channels, 1, 11] of a row of pixels in a window of `ssim`."""
    # Cached, so made outside inference mode even when first asked for inside it: training may need it next.
    with torch.inference_mode(False):
        offsets = torch.arange(_WINDOW, dtype=torch.float32, device=device) - _WINDOW // 2
        kernel = torch.exp(-0.5 * (offsets / _SIGMA).square())
        return (kernel / kernel.sum()).expand(channels, 1, _WINDOW).contiguous()


def _smooth(x: Tensor) -> Tensor:
    """Gaussian means [1, C, H−10, W−10] of pictures [1, C, H, W]."""
    kernel = ssim_window(x.shape[1], str(x.device))
    x = functional.conv2d(x, kernel[:, :, None], groups=x.shape[1])
    return functional.conv2d(x, kernel[..., None], groups=x.shape[1])


def ssim(image: Tensor, target: Tensor) -> Tensor:
    """Mean structural similarity of two pictures [H, W, C] in [0, 1] (Wang et al. 2004, Gaussian window, no padding)."""
    return ssim_map(image, target).mean()


def ssim_map(image: Tensor, target: Tensor) -> Tensor:
    """The similarity of every window: [H−10, W−10, C], the first one centred on pixel (5, 5)."""
    x, y = image.permute(2, 0, 1)[None], target.permute(2, 0, 1)[None]
    count = x.shape[1]
    mx, my, xx, yy, xy = _smooth(torch.cat([x, y, x * x, y * y, x * y], dim=1)).split(count, dim=1)
    vx, vy, vxy = xx - mx * mx, yy - my * my, xy - mx * my
    score = ((2 * mx * my + C1) * (2 * vxy + C2)) / ((mx * mx + my * my + C1) * (vx + vy + C2))
    return score[0].permute(1, 2, 0)


def detail_loss(image: Tensor, target: Tensor, levels: int = 3) -> Tensor:
    """Mean absolute difference of the Laplacian pyramids of two pictures [H, W, C] (Burt and Adelson 1983).

    It stands for a learned perceptual distance, which needs weights that cannot be shipped with this package: edges count as much
    as areas, at every scale.
    """
    difference = (image - target).permute(2, 0, 1)[None]
    total = difference.new_zeros(())
    for _ in range(levels):
        smaller = functional.avg_pool2d(difference, 2)
        upper = functional.interpolate(smaller, size=difference.shape[-2:], mode="bilinear", align_corners=False)
        total = total + (difference - upper).abs().mean()
        difference = smaller
    return total / levels


def psnr(image: Tensor, target: Tensor, mask: Tensor | None = None) -> float:
    """Peak signal-to-noise ratio in dB of pictures [H, W, C] in [0, 1], over a mask [H, W] if one is given."""
    error = (image - target).square().mean(-1)
    mean = error.mean() if mask is None else (error * mask).sum() / mask.sum().clamp(min=1e-6)
    return float(-10 * torch.log10(mean.clamp(min=1e-10)))
