"""The visual hull of balls whose pictures are exact: where its surface lies, what color it is, and which views it believes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy.typing as npt
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.gaussians.bust import Bust
from avatarcli.gaussians.hull import Hull, carve
from avatarcli.geometry.cameras import Camera
from avatarcli.multiview.framing import Framing

SIZE = 96
FRAMING = Framing((0.0, -0.05, 0.0), 0.42)
CENTRE, AXES = torch.tensor([0.0, -0.02, 0.01]), torch.tensor([0.09, 0.12, 0.10])
LOW, HIGH = torch.tensor([-0.17, -0.20, -0.17]), torch.tensor([0.17, 0.16, 0.17])


def ring(count: int = 12, *, highest: float = 40.0) -> Camera:
    """Cameras all around, in turn at eye level, above it and below."""
    yaw = torch.arange(count) / count * 2 * math.pi
    pitch = torch.deg2rad(torch.tensor([0.0, 18.0, -12.0, 8.0, highest, -18.0])[torch.arange(count) % 6])
    return FRAMING.cameras(yaw, pitch, SIZE)


def drawn(camera: Camera, centre: Tensor = CENTRE, axes: Tensor = AXES) -> tuple[Tensor, Tensor]:
    """An ellipsoid in the colors of its normals: premultiplied RGBA [H, W, 4], and depth [H, W], infinite beside it."""
    y, x = torch.meshgrid(torch.arange(SIZE) + 0.5, torch.arange(SIZE) + 0.5, indexing="ij")
    ends = camera.unproject(torch.stack([x, y], dim=-1).view(-1, 2), torch.ones(SIZE**2))
    start, way = (camera.centre - centre) / axes, (ends - camera.centre) / axes
    a, b, c = way.square().sum(-1), (way * start).sum(-1), start.square().sum(-1) - 1
    inside = b.square() - a * c
    depth = (-b - inside.clamp(min=0).sqrt()) / a  # of the pixel's ray, whose length is one in depth
    point = camera.centre + depth[:, None] * (ends - camera.centre)
    color = color_of(functional.normalize((point - centre) / axes.square(), dim=-1))
    seen = (inside > 0).float()[:, None]
    picture = torch.cat([color * seen, seen], dim=-1).view(SIZE, SIZE, 4)
    return picture, torch.where(inside > 0, depth, math.inf).view(SIZE, SIZE)


def color_of(normals: Tensor) -> Tensor:
    return 0.5 + 0.45 * normals


def pictures(cameras: Camera, centre: Tensor = CENTRE, axes: Tensor = AXES) -> list[Tensor]:
    return [drawn(cameras[view], centre, axes)[0] for view in range(len(cameras))]


def over(front: Tensor, back: Tensor) -> Tensor:
    return front + (1 - front[..., 3:]) * back


def offset(points: Tensor) -> tuple[Tensor, Tensor]:
    """How far points [N, 3] lie outside of the ellipsoid (metres, nearly), and its normals there [N, 3]."""
    unit = (points - CENTRE) / AXES
    slope = unit / AXES
    return (unit.square().sum(-1) - 1) / 2 / slope.norm(dim=-1), functional.normalize(slope, dim=-1)


@pytest.fixture(scope="module")
def hull() -> Hull:
    cameras = ring()
    return carve(pictures(cameras), cameras, LOW, HIGH)


def test_points_lie_on_the_surface_with_its_normals_and_colors(hull: Hull) -> None:
    away, normals = offset(hull.points)
    # Seen from twelve places a hull is a little larger than what it holds, most of all on top and below.
    assert away.abs().median() < 0.5 * hull.cell
    assert away.abs().quantile(0.95) < 1.2 * hull.cell
    assert away.abs().max() < 2.5 * hull.cell
    upright = (hull.normals * normals).sum(-1)
    assert upright.min() > 0.8
    assert upright.median() > 0.98
    torch.testing.assert_close(hull.normals.norm(dim=-1), torch.ones(len(hull.points)), atol=1e-4, rtol=0)
    wrong = (hull.colors - color_of(normals)).abs().amax(-1)
    assert wrong.median() < 0.02
    assert wrong.quantile(0.99) < 0.1


def test_there_is_a_point_a_cell_and_neighbours_follow_each_other(hull: Hull) -> None:
    p = 1.6075
    a, b, c = (AXES**p).tolist()
    area = 4 * math.pi * ((a * b + a * c + b * c) / 3) ** (1 / p)  # Thomsen's formula
    assert len(hull.points) * hull.cell**2 == pytest.approx(area, rel=0.12)
    steps = hull.points.diff(dim=0).norm(dim=-1)
    assert steps.median() < 2 * hull.cell
    nearest = torch.cdist(hull.points[::7], hull.points).topk(2, dim=1, largest=False).values[:, 1]
    assert nearest.median() > 0.5 * hull.cell


def test_depth_tells_inside_from_outside(hull: Hull) -> None:
    directions = functional.normalize(torch.randn(500, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    assert hull.depth(CENTRE + 0.9 * directions * AXES).min() > 0.9
    assert hull.depth(CENTRE + 1.15 * directions * AXES).max() < 0.1
    assert (hull.depth(hull.points) - 0.5).abs().max() < 0.1
    assert hull.depth(CENTRE + 3 * directions).max() == 0  # far beyond the grid


@pytest.mark.parametrize("views", [range(12), range(3)])
def test_what_floats_beside_is_left_out(hull: Hull, views: range) -> None:
    """A small ball, in all pictures or in a few."""
    cameras = ring()
    aside = pictures(cameras, torch.tensor([0.13, 0.09, -0.05]), torch.tensor([0.02, 0.02, 0.02]))
    both = [over(picture, aside[view]) if view in views else picture for view, picture in enumerate(pictures(cameras))]
    found = carve(both, cameras, LOW, HIGH)
    away, _ = offset(found.points)
    assert away.max() < 2.5 * hull.cell
    assert abs(len(found.points) - len(hull.points)) < 0.02 * len(hull.points)


def test_a_single_view_that_lies_carves_no_hole_and_two_do(hull: Hull) -> None:
    cameras = ring()
    lying = pictures(cameras)
    half = (torch.arange(SIZE) < SIZE // 2)[:, None, None]  # of the picture, so that something is left
    lying[5] = torch.where(half, torch.zeros(()), lying[5])
    found = carve(lying, cameras, LOW, HIGH)
    assert (found.depth(hull.points - 0.01 * hull.normals) > 0.5).all()
    away, normals = offset(found.points)
    assert away.max() < 3.5 * hull.cell  # one word less
    assert (found.colors - color_of(normals)).abs().amax(-1).quantile(0.98) < 0.1
    lying[7] = torch.where(half, torch.zeros(()), lying[7])
    assert (carve(lying, cameras, LOW, HIGH).depth(hull.points - 0.01 * hull.normals) < 0.5).float().mean() > 0.3


def test_three_views_must_have_seen_a_place() -> None:
    cameras = ring(3)
    assert carve(pictures(cameras), cameras, LOW, HIGH).depth(CENTRE[None]) > 0.9
    lying = pictures(cameras)
    lying[0][SIZE // 2 :] = 0
    found = carve(lying, cameras, LOW, HIGH)
    above, below = CENTRE + torch.tensor([[0.0, 0.06, 0.0], [0.0, -0.08, 0.0]])
    assert found.depth(above[None]) > 0.9
    assert found.depth(below[None]) < 0.1


def test_pictures_of_nobody_have_an_empty_hull() -> None:
    cameras = ring(4)
    found = carve([torch.zeros(SIZE, SIZE, 4)] * 4, cameras, LOW, HIGH)
    assert found.points.shape == found.normals.shape == found.colors.shape == (0, 3)
    assert found.depth(CENTRE[None]) == 0


def test_what_is_known_to_be_empty_is_carved(hull: Hull) -> None:
    """From the front the middle of the ball is said to lie four centimetres further back."""
    cameras = ring()
    clear = torch.zeros(12, SIZE, SIZE)
    depth = drawn(cameras[0])[1]
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    pixel = cameras[0].project(CENTRE[None])[0][0]
    disc = (columns - pixel[0]).square() + (rows - pixel[1]).square() < 9**2
    clear[0] = torch.where(disc, depth + 0.04, 0.0)
    found = carve(pictures(cameras), cameras, LOW, HIGH, clear)
    front = CENTRE + torch.tensor([0.0, 0.0, float(AXES[2])])
    for inwards, there in ((0.005, False), (0.03, False), (0.05, True), (0.09, True)):
        place = front - torch.tensor([0.0, 0.0, inwards])
        assert (float(found.depth(place[None])) > 0.5) == there
        assert float(hull.depth(place[None])) > 0.5
    # The rest of it is as it was.
    beside = hull.points[(hull.points[:, 2] < 0.02)]
    assert torch.equal(found.depth(beside), hull.depth(beside))


def test_there_is_no_hole_in_the_surface(hull: Hull) -> None:
    """Nor where it runs along the grid: on top, at the back and at the sides."""
    axes = torch.cat([torch.eye(3), -torch.eye(3)])
    anywhere = functional.normalize(torch.randn(2000, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    for directions in (anywhere, axes):
        nearest = torch.cdist(CENTRE + directions * AXES, hull.points).amin(1)
        assert nearest.max() < 2 * hull.cell


def test_the_box_that_cuts_through_is_no_surface() -> None:
    cameras = ring()
    found = carve(pictures(cameras), cameras, torch.tensor([-0.17, -0.06, -0.17]), HIGH)
    _, normals = offset(found.points)
    assert (found.normals * normals).sum(-1).min() > 0.8
    assert found.points[:, 1].min() < -0.05


def test_of_a_bust_every_view_tells_where_it_ends() -> None:
    cameras, told = ring(), 3
    drawn = pictures(cameras)
    drawn[told] = drawn[told] * (torch.arange(SIZE) < SIZE // 2 + 8)[:, None]  # all others show more on this side

    def beyond(bust: float) -> tuple[Tensor, Tensor]:
        points = carve(drawn, cameras, LOW, HIGH, bust=bust).points
        return points, cameras[told].project(points)[0][:, 0] > SIZE // 2 + 9

    points, out = beyond(float(CENTRE[1]))
    low = points[:, 1] < CENTRE[1] - 0.01
    assert not out[low].any()
    # Of hair, and by default of anything, a single view's word does not count.
    assert out[~low].float().mean() > 0.05
    assert beyond(-math.inf)[1].float().mean() > 0.05


def test_the_lower_part_of_a_hull_takes_the_shape_that_is_made_of_it() -> None:
    cameras, chin = ring(), CENTRE + torch.tensor([0.0, 0.02, 0.08])
    made = []

    def smooth(inside: npt.NDArray[Any], origin: Tensor, cell: float) -> Bust:
        made.append(Bust.of(inside, origin, cell, chin=chin, framing=FRAMING))
        # Half a centimetre less all around.
        return replace(made[0], depth=made[0].depth - 0.005)

    hull = carve(pictures(cameras), cameras, LOW, HIGH, bust=float(chin[1]), smooth=smooth)
    away, _ = offset(hull.points)
    assert hull.bust is not None
    low, high = hull.points[:, 1] < chin[1] - 0.05, hull.points[:, 1] > chin[1] + 0.08
    assert float(away[low].median()) == pytest.approx(-0.005, abs=0.0025)
    assert float(away[high].median()) == pytest.approx(0.0, abs=0.002)


def test_a_gap_that_one_view_imagines_in_a_bust_is_no_hole() -> None:
    cameras, bust = ring(), float(CENTRE[1]) + 0.03
    whole, drawn = pictures(cameras), pictures(cameras)
    index = torch.arange(SIZE)
    gap = (index[:, None] > SIZE // 2) & ((index - SIZE // 2).abs() < 3)
    drawn[3] = drawn[3] * ~gap[..., None]
    hulls = [carve(seen, cameras, LOW, HIGH, bust=bust).inside for seen in (whole, drawn)]
    torch.testing.assert_close(*hulls)


def test_what_lies_beside_the_pictures_is_cut_off_and_what_lies_below_goes_on() -> None:
    """A long arm leaves the pictures aside; a long neck leaves those of the level and the higher cameras below."""
    cameras = ring(highest=32.0)
    low, high = torch.tensor([-0.4, -0.36, -0.2]), torch.tensor([0.4, 0.16, 0.2])
    arms = carve(pictures(cameras, axes=torch.tensor([0.5, 0.05, 0.05])), cameras, low, high)
    neck = carve(pictures(cameras, axes=torch.tensor([0.06, 0.6, 0.06])), cameras, low, high)
    edge = FRAMING.span / 2
    assert 0.9 * edge < float(arms.points[:, 0].abs().max()) < 1.03 * edge
    assert float(arms.points[:, 0].amin()) < -0.9 * edge
    assert neck.points[:, 1].min() < FRAMING.target[1] - 1.2 * edge


def test_views_that_show_different_things_are_doubted(hull: Hull) -> None:
    """Its colors are those of normals, so neighbouring views agree; a view that paints its half blue does not."""
    cameras = ring()
    painted = pictures(cameras)
    for view in range(0, len(painted), 2):
        alpha = painted[view][..., 3:]
        painted[view] = torch.cat([torch.tensor([0.0, 0.0, 1.0]) * alpha, alpha], dim=-1)
    contradicted = carve(painted, cameras, LOW, HIGH)
    assert hull.doubt.median() < 0.05
    assert contradicted.doubt.median() > 0.3
    assert contradicted.doubt.max() <= 1
