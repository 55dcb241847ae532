"""Pictures and clouds of a pose."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from avatarcli.gaussians.avatar import Avatar
from avatarcli.geometry.rotations import quaternion_to_matrix
from avatarcli.head.parameters import HeadParameters
from avatarcli.viewer.painter import CLOUD_UNIT, Painter, View, viewpoint
from avatarcli.viewer.resolution import Resolution

Front = Callable[[int, int], View]


def test_the_first_view_is_the_framing_of_render(toy: Avatar, front: Front) -> None:
    ours, theirs = front(64, 64).camera(64, 64), toy.framing.cameras(torch.zeros(1), torch.zeros(1), 64)[0]
    assert torch.allclose(ours.world_to_camera, theirs.world_to_camera, atol=1e-5)
    assert torch.allclose(ours.K, theirs.K, atol=1e-3)
    for yaw in (90.0, -35.0):
        turned = toy.framing.cameras(torch.tensor([math.radians(yaw)]), torch.zeros(1), 64)
        assert viewpoint(toy.framing, yaw) == pytest.approx(turned.centre[0].tolist(), abs=1e-5)


def test_a_picture_is_what_render_draws(toy: Avatar, front: Front) -> None:
    painter, camera = Painter(toy), front(64, 64).camera(48, 40)
    rest = HeadParameters.at_rest()
    picture = painter.picture(painter.splats(rest), camera, (1.0, 0.5, 0.0))
    drawn = toy.render(toy.rig(), rest, camera, torch.tensor([1.0, 0.5, 0.0])).color.clamp(0, 1) * 255
    assert picture.shape == (40, 48, 3)
    assert np.abs(picture - drawn.round().numpy()).max() <= 1
    assert picture[0, 0].tolist() == [255, 128, 0]


def test_a_cloud_holds_the_same_gaussians(toy: Avatar) -> None:
    painter = Painter(toy)
    splats = painter.splats(HeadParameters.at_rest())
    cloud = painter.cloud(splats)
    assert np.allclose(cloud.centers * CLOUD_UNIT, splats.means.numpy(), atol=1e-6)
    for index in (0, 17, 399):
        turn = quaternion_to_matrix(splats.quaternions[index])
        wanted = turn @ torch.diag(splats.scales[index] ** 2) @ turn.T
        assert np.allclose(cloud.covariances[index] * CLOUD_UNIT**2, wanted.numpy(), atol=1e-9)
    assert cloud.opacities.shape == (400, 1)
    assert 0 <= cloud.rgbs.min() <= cloud.rgbs.max() <= 1


@pytest.mark.parametrize(
    ("width", "height", "longest", "size"),
    [(1280, 720, 640, (640, 360)), (333, 777, 777, (332, 776)), (5, 1000, 100, (2, 100))],
)
def test_pictures_keep_the_page_s_shape_and_even_sides(
    front: Front, width: int, height: int, longest: int, size: tuple[int, int]
) -> None:
    assert front(width, height).fitted(longest) == size


def test_motion_is_drawn_smaller_until_it_is_fast_enough(front: Front) -> None:
    view, resolution = front(1000, 1000), Resolution()
    seconds_per_pixel = 1e-7  # a megapixel takes 0.1 s
    sides = []
    for _ in range(20):
        width, height = resolution.moving(view)
        sides.append(width)
        resolution.took(width * height * seconds_per_pixel)
    assert sides[0] == 1000
    assert sides == sorted(sides, reverse=True)
    assert sides[-1] ** 2 * seconds_per_pixel < 1 / 25
    assert sides[-1] >= 400
    assert resolution.still(view) == (1000, 1000)
    for _ in range(20):
        resolution.took(0.001)
    assert resolution.moving(view) == (1000, 1000)
    for _ in range(20):
        resolution.took(9.0)
    assert resolution.moving(view) == (250, 250)  # never a handful of pixels
