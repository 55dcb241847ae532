"""Filling the unknown: what is known stays, what is not comes from nearby."""

from __future__ import annotations

import math

import pytest
import torch

from avatarcli.geometry.fill import blur, borrow, pull_push, ramp, spread_nearest

SIZES = [(16, 16), (17, 23), (31, 31), (5, 5)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("wrap", [False, True])
def test_known_values_stay_and_the_rest_lies_between_them(size: tuple[int, int], wrap: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(*size, 3, generator=generator)
    known = (torch.rand(size, generator=generator) < 0.3).float()
    known[0, 0] = 1
    filled = pull_push(values * known[..., None], known, wrap=wrap)
    assert filled.shape == values.shape
    torch.testing.assert_close(filled[known > 0], values[known > 0])
    own = values[known > 0]
    assert (filled >= own.amin(0) - 1e-4).all()
    assert (filled <= own.amax(0) + 1e-4).all()


@pytest.mark.parametrize("size", SIZES)
def test_a_single_color_fills_everything(size: tuple[int, int]) -> None:
    color = torch.tensor([0.2, 0.5, 0.9])
    known = torch.zeros(size)
    known[size[0] // 2, size[1] // 2] = 1
    filled = pull_push(color * known[..., None], known)
    torch.testing.assert_close(filled, color.expand_as(filled), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(64, 31), (40, 5), (1, 9), (30, 1)])
def test_oblong_pictures_and_single_rows_are_filled_too(size: tuple[int, int]) -> None:
    test_a_single_color_fills_everything(size)


def test_half_known_values_meet_their_surroundings_half_way() -> None:
    values, weights = torch.zeros(32, 32, 1), torch.ones(32, 32)
    values[16, 16], weights[16, 16] = 1.0, 0.5
    filled = pull_push(values, weights)[16, 16, 0]
    assert 0.5 <= float(filled) < 0.75


def test_what_is_near_counts_more_than_what_is_far() -> None:
    values, known = torch.zeros(64, 64, 1), torch.zeros(64, 64)
    values[:, 40:] = 1.0
    known[:, :20] = known[:, 60:] = 1
    filled = pull_push(values, known)[32, :, 0]
    assert filled[24] < 0.3
    assert filled[56] > 0.7
    assert (filled.diff() > -0.05).all()  # and no hump in between


def test_wrapping_brings_the_edges_together() -> None:
    values, known = torch.zeros(16, 64, 1), torch.zeros(16, 64)
    values[:, 48:] = 1.0
    known[:, 20:28] = known[:, 52:60] = 1
    open_ends, closed = pull_push(values, known), pull_push(values, known, wrap=True)
    assert open_ends[8, 0, 0] < 0.2  # nearest along the picture: the left band
    assert closed[8, 0, 0] > 0.5  # across the seam: the right one
    # Turning the picture about its axis turns the result.
    turned = pull_push(values.roll(32, 1), known.roll(32, 1), wrap=True)
    torch.testing.assert_close(turned.roll(-32, 1), closed, atol=1e-5, rtol=0)


def test_borrowing_prefers_ones_own_then_the_mirror_then_the_surroundings() -> None:
    own, mirror = torch.full((24, 24, 1), 0.2), torch.full((24, 24, 1), 0.8)
    trust, mirror_trust = torch.zeros(24, 24), torch.zeros(24, 24)
    trust[:, :8] = 1
    mirror_trust[:, :16] = 1
    result = borrow(own, trust, mirror, mirror_trust)[..., 0]
    torch.testing.assert_close(result[:, :8], torch.full((24, 8), 0.2))
    torch.testing.assert_close(result[:, 8:16], torch.full((24, 8), 0.8))
    assert (result[:, 16:] > 0.4).all()
    assert (result[:, 16:] <= 0.8 + 1e-5).all()


def test_hardly_trusted_colors_are_not_carried_on() -> None:
    color, trust = torch.zeros(16, 16, 1), torch.zeros(16, 16)
    color[:, :8], trust[:, :8] = 0.3, 1.0
    color[:, 8:], trust[:, 8:] = 1.0, 0.2
    result = borrow(color, trust, color, torch.zeros(16, 16))
    torch.testing.assert_close(result, torch.full_like(result, 0.3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("sigma", [0.6, 1.5, 3.0])
def test_blur_spreads_a_point_as_a_gaussian(sigma: float) -> None:
    point = torch.zeros(41, 41, 2)
    point[20, 20] = torch.tensor([1.0, 2.0])
    soft = blur(point, sigma)
    assert soft.sum((0, 1)).tolist() == pytest.approx([1.0, 2.0], rel=1e-4)
    torch.testing.assert_close(soft[..., 1], 2 * soft[..., 0])
    offset = torch.arange(41) - 20.0
    variance = float((soft[..., 0].sum(0) * offset.square()).sum())
    assert math.sqrt(variance) == pytest.approx(sigma, rel=0.06)
    torch.testing.assert_close(soft, soft.transpose(0, 1))
    flat = torch.full((20, 30, 3), 0.37)
    torch.testing.assert_close(blur(flat, sigma), flat)


def test_ramp_rises_once_and_smoothly() -> None:
    x = torch.linspace(-1, 2, 301)
    y = ramp(x, 0.2, 0.8)
    assert (y[x <= 0.2] == 0).all()
    assert (y[x >= 0.8] == 1).all()
    assert (y.diff() >= 0).all()
    assert float(ramp(torch.tensor(0.5), 0.2, 0.8)) == pytest.approx(0.5)
    assert y.diff().max() < 0.03


def test_nearest_values_go_on_without_mixing_and_across_the_seam() -> None:
    values = torch.zeros(20, 40, 3)
    known = torch.zeros(20, 40, dtype=torch.bool)
    values[:5, :10], values[:5, 10:30] = torch.tensor([1.0, 0, 0]), torch.tensor([0, 0, 1.0])
    known[:5, :30] = True
    filled = spread_nearest(values, known, 0.05)
    assert torch.allclose(filled[15, 4], torch.tensor([1.0, 0, 0]), atol=1e-3)
    assert torch.allclose(filled[15, 20], torch.tensor([0, 0, 1.0]), atol=1e-3)
    assert filled[2, 39, 0] > 0.9  # nearer to the left edge's red than to the blue
    assert torch.allclose(filled[known], values[known], atol=1e-6)
