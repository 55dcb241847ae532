"""Losses between pictures, against plain loops and known values."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from avatarcli.gaussians.losses import detail_loss, psnr, ssim, ssim_map


def picture(seed: int, height: int = 20, width: int = 17) -> Tensor:
    return torch.rand(height, width, 3, generator=torch.Generator().manual_seed(seed))


def ssim_by_windows(x: Tensor, y: Tensor) -> Tensor:
    """Wang et al.'s formula, one window and channel at a time."""
    offset = np.arange(11) - 5
    weights = np.exp(-(offset[:, None] ** 2 + offset[None] ** 2) / (2 * 1.5**2))
    weights /= weights.sum()
    height, width, channels = x.shape
    result = np.zeros((height - 10, width - 10, channels))
    for row in range(height - 10):
        for column in range(width - 10):
            for channel in range(channels):
                a = x[row : row + 11, column : column + 11, channel].double().numpy()
                b = y[row : row + 11, column : column + 11, channel].double().numpy()
                ma, mb = (weights * a).sum(), (weights * b).sum()
                va, vb = (weights * (a - ma) ** 2).sum(), (weights * (b - mb) ** 2).sum()
                cov = (weights * (a - ma) * (b - mb)).sum()
                c1, c2 = 0.01**2, 0.03**2
                result[row, column, channel] = ((2 * ma * mb + c1) * (2 * cov + c2)) / (
                    (ma**2 + mb**2 + c1) * (va + vb + c2)
                )
    return torch.from_numpy(result).float()


def test_ssim_is_the_formula_of_every_window() -> None:
    x = picture(0)
    y = (x + 0.3 * (picture(1) - 0.5)).clamp(0, 1)
    torch.testing.assert_close(ssim_map(x, y), ssim_by_windows(x, y), atol=2e-4, rtol=0)
    assert float(ssim(x, y)) == pytest.approx(float(ssim_by_windows(x, y).mean()), abs=1e-4)


def test_ssim_is_one_for_equal_pictures_and_falls_with_noise() -> None:
    x = picture(2, 40, 40)
    assert float(ssim(x, x)) == pytest.approx(1.0, abs=1e-5)
    scores = [float(ssim(x, (x + size * (picture(3, 40, 40) - 0.5)).clamp(0, 1))) for size in (0.1, 0.4, 1.0)]
    assert 1 > scores[0] > scores[1] > scores[2]
    # Flat pictures: only the means count. (2·0.2·0.6 + c) / (0.04 + 0.36 + c)
    flat = float(ssim(torch.full((16, 16, 3), 0.2), torch.full((16, 16, 3), 0.6)))
    assert flat == pytest.approx((0.24 + 1e-4) / (0.4 + 1e-4), abs=1e-3)


def test_psnr_of_known_errors() -> None:
    x = picture(4)
    assert psnr(x, x + 0.1) == pytest.approx(20.0, abs=1e-3)
    assert psnr(x, x - 0.01) == pytest.approx(40.0, abs=1e-2)
    assert psnr(x, x) >= 100
    mask = torch.zeros(20, 17)
    mask[:5] = 1
    y = x.clone()
    y[5:] += 0.5  # outside the mask, where it does not count
    y[:5] += 0.1
    assert psnr(x, y, mask) == pytest.approx(20.0, abs=1e-3)
    assert psnr(x, y) < 10


def test_detail_loss_is_zero_for_equal_and_blind_to_a_shift_of_all_colors() -> None:
    x = picture(5, 32, 32)
    assert float(detail_loss(x, x)) == 0
    assert float(detail_loss(x, x + 0.2)) == pytest.approx(0.0, abs=1e-6)


def test_detail_loss_counts_edges_at_every_scale() -> None:
    flat = torch.full((32, 32, 1), 0.5)
    columns = torch.arange(32)
    losses = []
    for period in (2, 4, 8):
        stripes = flat + 0.2 * (((columns // (period // 2)) % 2) * 2 - 1.0)[None, :, None]
        losses.append(float(detail_loss(stripes, flat)))
    assert min(losses) > 0.03
    # Single-pixel stripes vanish at half the size, so they count in the finest level alone: their 0.2 over three levels.
    assert losses[0] == pytest.approx(0.2 / 3, rel=1e-3)
    x, y = picture(6, 24, 24), picture(7, 24, 24)
    assert math.isclose(float(detail_loss(x, y)), float(detail_loss(y, x)), rel_tol=1e-5)
    assert math.isclose(float(detail_loss(0.5 * x, 0.5 * y)), 0.5 * float(detail_loss(x, y)), rel_tol=1e-4)


@pytest.mark.parametrize("loss", [lambda a, b: 1 - ssim(a, b), detail_loss])
def test_following_the_gradient_lowers_the_loss(loss) -> None:  # type: ignore[no-untyped-def]
    target = picture(8, 24, 24)
    x = picture(9, 24, 24).requires_grad_(True)
    before = loss(x, target)
    before.backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    with torch.no_grad():
        assert loss(x - 0.5 * x.grad / x.grad.abs().max() * 0.1, target) < before


def test_measuring_first_and_training_afterwards() -> None:
    """What is computed once and kept must also serve gradients. No other test has pictures of five channels."""
    x, y = torch.rand(2, 16, 16, 5, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ssim(x, y)
    x = x.clone().requires_grad_(True)
    ssim(x, y).backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
