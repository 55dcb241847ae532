"""Metrics answer to damage the right way round, on a real picture; the geometry against a slow twin."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from avatarcli.arrays import Float64
from avatarcli.evaluation.metrics import (
    keypoint_distance,
    masked_ssim,
    motion_response,
    overlap,
    sample,
    triangulate,
    unexplained_change,
)
from avatarcli.gaussians.losses import psnr
from example_photo import PHOTO


@pytest.fixture(scope="module")
def face() -> Image.Image:
    with Image.open(PHOTO) as photo:
        return photo.convert("RGB").crop((128, 0, 384, 256))


def tensor(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(picture)).float() / 255


def disc(size: int, radius: float) -> Tensor:
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return ((x - size / 2) ** 2 + (y - size / 2) ** 2 < radius**2).float()


def shifted(picture: Tensor, pixels: int) -> Tensor:
    return torch.roll(picture, pixels, dims=1)


def test_more_damage_is_worse(face: Image.Image) -> None:
    truth, mask = tensor(face), disc(256, 100)
    blurred = [tensor(face.filter(ImageFilter.GaussianBlur(radius))) for radius in (1, 2, 4)]
    moved = [shifted(truth, pixels) for pixels in (1, 3, 8)]
    for series in (blurred, moved):
        pixels = [psnr(image, truth, mask) for image in series]
        structure = [masked_ssim(image, truth, mask) for image in series]
        assert pixels == sorted(pixels, reverse=True)
        assert structure == sorted(structure, reverse=True)
        assert structure[-1] < 0.75 < masked_ssim(truth, truth, mask)


def test_what_lies_outside_the_mask_does_not_count(face: Image.Image) -> None:
    truth, mask = tensor(face), disc(256, 60)
    painted = torch.where(disc(256, 80)[..., None] > 0, truth, torch.zeros(3))  # beyond the reach of a window
    assert masked_ssim(painted, truth, mask) == pytest.approx(1.0, abs=1e-6)
    assert masked_ssim(painted, truth, torch.ones(256, 256)) < 0.9
    assert psnr(painted, truth, mask) == pytest.approx(100.0)


def test_overlap_is_intersection_over_union() -> None:
    left, both = torch.zeros(8, 8), torch.ones(8, 8)
    left[:, :4] = 1
    assert overlap(left, both, both) == pytest.approx(0.5)
    assert overlap(left, both, left) == pytest.approx(1.0)  # the other half is not valid


def test_a_still_scene_with_known_motion_does_not_flicker(face: Image.Image) -> None:
    before = tensor(face)
    after, inner = shifted(before, 3), disc(256, 100)
    flow = torch.tensor([-3.0, 0.0]).expand(256, 256, 2)
    assert unexplained_change(before, after, flow, inner) < 1e-5
    assert unexplained_change(before, after, torch.zeros_like(flow), inner) > 0.01  # the motion forgotten
    brighter = (after * 1.05).clamp(0, 1)
    assert 0.005 < unexplained_change(before, brighter, flow, inner) < 0.05


def test_sampling_reads_where_the_flow_points() -> None:
    ramp = torch.arange(16.0).expand(16, 16)[..., None]
    flow = torch.tensor([2.5, 0.0]).expand(16, 16, 2)
    assert torch.allclose(sample(ramp, flow)[4:12, 4:10], ramp[4:12, 4:10] + 2.5, atol=1e-4)


def test_keypoint_distance_is_per_cent_of_the_unit() -> None:
    points = np.zeros((2, 4, 2))
    assert keypoint_distance(points + np.array([3.0, 4.0]), points, 50.0) == pytest.approx(10.0)


def test_a_frozen_face_does_not_respond() -> None:
    asked = np.random.default_rng(0).standard_normal((3, 20, 2))
    noise = np.random.default_rng(1).standard_normal(asked.shape)
    assert motion_response(0.6 * asked, asked) == pytest.approx(0.6)
    assert abs(motion_response(0.2 * noise, asked)) < 0.05


def looking_at_the_origin(count: int) -> Float64:
    """Projections [V, 3, 4] of cameras on a circle of radius 2."""
    K = np.array([[500.0, 0, 256], [0, 500, 256], [0, 0, 1]])
    cameras = []
    for angle in np.linspace(-0.6, 0.6, count):
        c, s = np.cos(angle), np.sin(angle)
        rotation = np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
        cameras.append(K @ np.concatenate([rotation, [[0], [0], [2.0]]], axis=1))
    return np.stack(cameras)


def seen(projections: Float64, points: Float64) -> Float64:
    homogeneous = np.concatenate([points, np.ones((len(points), 1))], axis=1) @ projections.transpose(0, 2, 1)
    return np.asarray(homogeneous[..., :2] / homogeneous[..., 2:])


def test_triangulation_finds_the_points_and_a_wrong_camera_shows() -> None:
    rng = np.random.default_rng(2)
    points, projections = 0.2 * rng.standard_normal((30, 3)), looking_at_the_origin(5)
    pixels = seen(projections, points)
    found, errors = triangulate(projections, pixels)
    np.testing.assert_allclose(found, points, atol=1e-9)
    assert errors.max() < 1e-6
    wrong = projections.copy()
    wrong[2, 1] += 3.0 * wrong[2, 2]  # this camera sees everything 3 pixels lower
    assert triangulate(wrong, pixels)[1].mean() > 0.5
    # The slow twin: each point on its own, its two equations a camera written out.
    noisy = pixels + rng.normal(0, 0.5, pixels.shape)
    for index in range(3):
        rows = [
            row / np.linalg.norm(row[:3])
            for projection, (x, y) in zip(projections, noisy[:, index], strict=True)
            for row in (x * projection[2] - projection[0], y * projection[2] - projection[1])
        ]
        _, vectors = np.linalg.eigh(np.array(rows).T @ np.array(rows))
        np.testing.assert_allclose(triangulate(projections, noisy)[0][index], vectors[:3, 0] / vectors[3, 0], rtol=1e-6)
