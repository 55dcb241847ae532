"""The smooth shape of a bust: fins and teeth go, what is thick stays as it is, and views and Gaussians keep to it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.gaussians.bust import Bust
from avatarcli.gaussians.pictures import TrainingPicture
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.rotations import axis_angle_to_matrix, matrix_to_quaternion
from avatarcli.head.parameters import HeadParameters
from avatarcli.multiview.framing import DISTANCE, Framing

CELL, SIZE = 0.004, 128
LOW, HIGH = torch.tensor([-0.25, -0.30, -0.20]), torch.tensor([0.25, 0.10, 0.20])
CHIN = torch.tensor([0.0, -0.06, 0.08])
FRAMING = Framing((0.0, -0.05, 0.0), 0.40)
EDGE = DISTANCE * math.sin(math.atan(FRAMING.span / 2 / DISTANCE))
"""How far from the middle all cameras see."""
RED = torch.tensor([0.8, 0.1, 0.1])


def cells() -> Tensor:
    axes = [torch.arange(float(low), float(high), CELL) for low, high in zip(LOW, HIGH, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def torso(points: Tensor, half_width: float = 0.14) -> Tensor:
    """Which points are in an upright trunk, a neck and a head above it."""
    x, y, z = points.unbind(-1)
    trunk = ((x / half_width).square() + (z / 0.09).square() < 1) & (y < -0.12)
    return trunk | ((x.square() + z.square() < 0.06**2) & (y < 0.05))


def fin(points: Tensor) -> Tensor:
    """A plate behind, 1.2 cm thick, that stands out of the back by 6 cm."""
    x, y, z = points.unbind(-1)
    return (x.abs() < 0.006) & (z > -0.15) & (z < -0.05) & (y > -0.22) & (y < -0.14)


def shape(solid: Tensor, photo: TrainingPicture | None = None) -> Bust:
    return Bust.of(solid.float().numpy(), LOW, CELL, chin=CHIN, framing=FRAMING, photo=photo)


def drawn(camera: Camera, solid: Tensor) -> Tensor:
    """A red view [H, W, 4] of the solid cells."""
    pixels = camera.project(cells()[solid])[0].long()
    seen = ((pixels >= 0) & (pixels < SIZE)).all(-1)
    alpha = torch.zeros(SIZE, SIZE)
    alpha[pixels[seen, 1], pixels[seen, 0]] = 1
    # Cells are about as large as pixels: no gaps between them.
    alpha = -functional.max_pool2d(-functional.max_pool2d(alpha[None], 3, 1, 1), 3, 1, 1)[0]
    return torch.cat([alpha[..., None] * RED, alpha[..., None]], dim=-1)


@pytest.fixture(scope="module")
def plain() -> Bust:
    return shape(torso(cells()))


@pytest.fixture(scope="module")
def profile() -> Camera:
    return FRAMING.cameras(torch.tensor([math.pi / 2]), torch.zeros(1), SIZE)[0]


def test_a_fin_goes_and_the_back_stays(plain: Bust) -> None:
    grid = cells()
    finned = torso(grid) | fin(grid)
    found = shape(finned)
    tip = torch.tensor([[0.0, -0.18, -0.12], [0.0, -0.18, -0.14]])
    assert (found.depth_at(tip) < -0.015).all()
    back = torch.stack([torch.linspace(-0.1, 0.1, 9), torch.full((9,), -0.18), torch.zeros(9)], dim=-1)
    back[:, 2] = -0.09 * (1 - (back[:, 0] / 0.14).square()).sqrt()
    assert found.depth_at(back).abs().max() < 0.006
    assert plain.depth_at(back).abs().max() < 0.006


def test_the_carved_grid_takes_the_shape_below_the_chin_only() -> None:
    grid = cells()
    pony_tail = (grid[..., 0].abs() < 0.006) & (grid[..., 2] > -0.12) & (grid[..., 2] < 0) & (grid[..., 1].abs() < 0.03)
    carved = (torso(grid) | fin(grid) | pony_tail).float().numpy()
    found = shape(torch.from_numpy(carved)).shaped(carved, LOW, CELL)
    assert not (found[fin(grid).numpy() & (grid[..., 2] < -0.11).numpy()] > 0.5).any()
    above = (grid[..., 1] > CHIN[1] + 0.06).numpy()
    np.testing.assert_array_equal(found[above], carved[above])
    # It reaches the height of the chin in front, and more behind: collars do.
    share = shape(torso(grid)).share(CHIN + torch.tensor([[0.0, 0.005, 0.0], [0.0, 0.005, -0.12], [0.0, -0.04, 0.0]]))
    assert share[0] == 0
    assert share[1] > 0.9
    assert share[2] == 1


def test_arms_that_pictures_cut_off_end_at_their_edge_and_are_not_rounded() -> None:
    grid = cells()
    seen = grid[..., [0, 2]].norm(dim=-1) < EDGE
    found = shape(torso(grid, half_width=0.6) & seen)
    out = torch.tensor([[EDGE + at, -0.18, side] for at in (-0.005, 0.008) for side in (-0.06, 0.0, 0.06)])
    out[:, 0] = (out[:, 0].square() - out[:, 2].square()).sqrt()
    assert (found.depth_at(out[:3]) > 0.002).all()
    assert (found.depth_at(out[3:]) < -0.004).all()


def test_below_the_pictures_edge_it_goes_on() -> None:
    grid = cells()
    bottom = FRAMING.target[1] - FRAMING.span / 2
    torn = torso(grid) & ~((grid[..., 1] < bottom + 0.012) & (grid[..., 0] > 0))
    low = torch.tensor([[0.08, bottom + 0.005, 0.0], [0.08, bottom - 0.02, 0.0]])
    assert (shape(torn).depth_at(low) > 0.02).all()


def test_views_get_its_outline_in_the_color_of_the_cloth(plain: Bust, profile: Camera) -> None:
    grid = cells()
    whole, finned = drawn(profile, torso(grid)), drawn(profile, torso(grid) | fin(grid))
    bitten = whole.clone()
    row, edge = (
        int(profile.project(torch.tensor([[0.0, -0.18, 0.0]]))[0][0, 1]),
        int(whole[..., 3].nonzero()[:, 1].max()),
    )
    rows = slice(row - 6, row + 6)
    bitten[rows, edge - 5 :] = 0
    for picture in (finned, bitten):
        assert (picture[..., 3] - whole[..., 3])[rows].abs().sum() > 40
        mended = plain.outlined(picture, profile)
        assert ((mended[..., 3] > 0.5) != (whole[..., 3] > 0.5))[rows].float().mean() < 0.01
        torch.testing.assert_close(mended[..., :3], mended[..., 3:] * RED, atol=0.02, rtol=0)
        # Nothing happens to the head.
        head = int(profile.project(torch.tensor([[0.0, 0.0, 0.0]]))[0][0, 1])
        assert torch.equal(mended[:head], picture[:head])


def test_a_camera_that_sees_the_head_alone_is_left_alone(plain: Bust) -> None:
    above = FRAMING.cameras(torch.zeros(1), torch.zeros(1), SIZE)[0].cropped(0, 0, SIZE, SIZE // 4)
    picture = torch.rand(SIZE // 4, SIZE, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(plain.outlined(picture, above), picture)


def test_what_stands_out_moves_in_and_what_has_left_comes_back(plain: Bust) -> None:
    """On the back: a disc that lies on it, a needle that stands out, one beyond the edge of the shoulder, and a stray."""
    start = torch.tensor([[0.0, -0.18, -0.09], [0.0, -0.18, -0.09], [0.138, -0.18, 0.0], [0.0, -0.18, -0.09]])
    means = start.clone()
    means[3, 2] = -0.12
    turns = torch.zeros(4, 3)
    turns[1, 1] = math.pi / 2
    quaternions = matrix_to_quaternion(axis_angle_to_matrix(turns))
    log_scales = torch.tensor([0.01, 0.002, 0.001]).log().repeat(4, 1)
    before = log_scales.clone()
    for _ in range(4):
        plain.hold(means, quaternions, log_scales, torch.tensor([0, 1, 2, 3]))
    assert torch.equal(means[0], start[0])
    assert (means[3] - start[3]).norm() < 0.003
    assert torch.equal(log_scales[0], before[0])
    tips = means[1:3] + 2 * log_scales[1:3, :1].exp() * torch.tensor([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
    assert (plain.depth_at(tips) > -0.0035).all()
    assert (plain.depth_at(means[1:3]) > plain.depth_at(start[1:3])).all()
    assert torch.equal(log_scales[:, 1:], before[:, 1:])
    # What is not chosen stays.
    alone = before.clone()
    plain.hold(means, quaternions, alone, torch.tensor([0]))
    assert torch.equal(alone, before)


def test_a_curved_surface_stays_closed(plain: Bust) -> None:
    """At the side of the shoulder discs are tangents: they sink until they fit in rather than shrink to grains."""
    side = torch.tensor([[0.14, -0.18, 0.0]])
    side[0, 0] += float(plain.depth_at(side)[0])
    assert plain.depth_at(side).abs() < 0.001
    means, lying = side.clone(), torch.tensor([[0.0, math.pi / 2, 0.0]])
    log_scales = torch.tensor([[0.012, 0.006, 0.001]]).log()
    for _ in range(20):
        plain.hold(means, matrix_to_quaternion(axis_angle_to_matrix(lying)), log_scales, torch.tensor([0]))
    assert log_scales[0, 0].exp() > 0.010
    assert (means - side).norm() < 0.006
    assert means[0, 1:].equal(side[0, 1:]) or (means - side)[0, 1:].abs().max() < 0.001


def test_a_photo_knows_the_outline_better_where_it_is_believed(plain: Bust) -> None:
    """It shows a trunk that is 8 mm wider to the subject's left, and leaves out what it does not know on the other side."""
    grid = cells()
    width = torch.where(grid[..., 0] > 0, 0.148, 0.128)
    trunk = ((grid[..., 0] / width).square() + (grid[..., 2] / 0.09).square() < 1) & (grid[..., 1] < -0.12)
    turn = torch.eye(4)[None]
    turn[0, :3, 3] = torch.tensor([0.02, 0.01, -0.03])
    parameters = replace(HeadParameters.at_rest(), head_pose=turn)
    front = FRAMING.cameras(torch.zeros(1), torch.zeros(1), SIZE)[0]
    # Where the head is moved to, the camera moves too: it sees the same.
    camera = replace(front, world_to_camera=front.world_to_camera @ torch.linalg.inv(turn[0]))
    picture = drawn(front, torso(grid) & ~(grid[..., 1] < -0.12) | trunk)
    trust = (torch.arange(SIZE) > SIZE * 0.25).float().expand(SIZE, SIZE).clone()
    photo = TrainingPicture(camera, parameters, -1, picture[..., :3], picture[..., 3], trust)
    found = shape(torso(grid), photo)
    sides = torch.tensor([[0.14, -0.19, 0.0], [-0.14, -0.19, 0.0], [0.0, -0.19, -0.09]])
    changed = found.depth_at(sides) - plain.depth_at(sides)
    assert float(changed[0]) == pytest.approx(0.008, abs=0.003)
    assert changed[1:].abs().max() < 0.003
