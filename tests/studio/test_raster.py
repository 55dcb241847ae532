"""The batched z-buffer against the one for a single picture, and against predicates asked pixel by pixel."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from avatarcli.geometry.cameras import Camera, intrinsics, look_at, orbit_cameras
from avatarcli.geometry.mesh import MeshRaster, rasterize_mesh
from avatarcli.head.model import PersonalHead
from avatarcli.studio.raster import fragments, key_depth, nearest, project, rasterize
from avatarcli.studio.raster_torch import CutOut


def cameras(width: int = 30, height: int = 22) -> Camera:
    eye = torch.tensor([[0.4, 0.3, 1.2], [1.0, -0.4, 1.0], [-0.8, 0.9, -0.5]])
    K = intrinsics(torch.tensor([22.0, 30.0, 9.0]), width, height)
    return Camera(look_at(eye, torch.zeros(3)), K, width, height)


def soup(seed: int, count: int = 40) -> tuple[Tensor, Tensor]:
    """Triangles of all sizes around the origin: some behind the cameras, many off the pictures."""
    generator = torch.Generator().manual_seed(seed)
    centres = 3.0 * torch.rand(3, count, 1, 3, generator=generator) - 1.5
    corners = 0.5 * torch.randn(3, count, 3, 3, generator=generator)
    return (centres + corners).view(3, -1, 3), torch.arange(3 * count).view(count, 3)


def assert_same(found: MeshRaster, wanted: MeshRaster, *, slack: int = 0) -> None:
    """slack: pixels whose centre rounding may put on either side of an edge."""
    same = found.face == wanted.face
    assert int((~same).sum()) <= slack
    torch.testing.assert_close(found.weights[same], wanted.weights[same], atol=1e-3, rtol=0)
    torch.testing.assert_close(found.depth[same], wanted.depth[same], atol=0, rtol=1e-4)


@pytest.mark.parametrize("cull", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_soup_is_seen_as_one_picture_at_a_time_sees_it(seed: int, cull: bool) -> None:
    vertices, faces = soup(seed)
    found = rasterize(vertices, faces, cameras(), cull_backfaces=cull)
    for b in range(3):
        assert_same(
            MeshRaster(found.face[b], found.weights[b], found.depth[b]),
            rasterize_mesh(vertices[b], faces, cameras()[b], cull_backfaces=cull),
        )
    assert found.covered.any(-1).any(-1).all()


@pytest.mark.parametrize("size", [5, 40, 200])
def test_head_at_all_sizes_of_triangles(mean_head: PersonalHead, size: int) -> None:
    yaw = torch.tensor([0.0, 1.0, 3.0])
    camera = orbit_cameras(
        yaw, torch.tensor([0.0, 0.3, -0.2]), distance=1.3, target=torch.zeros(3), focal=2.6 * size, size=size
    )
    faces = mean_head.model.faces
    found = rasterize(mean_head.neutral[None], faces, camera)
    for b in range(3):
        wanted = rasterize_mesh(mean_head.neutral, faces, camera[b])
        assert_same(MeshRaster(found.face[b], found.weights[b], found.depth[b]), wanted, slack=2)


def test_cutting_the_work_differently_changes_nothing(mean_head: PersonalHead) -> None:
    vertices, faces = soup(7)
    whole = rasterize(vertices, faces, cameras(100, 80))
    pieces = rasterize(vertices, faces, cameras(100, 80), chunk=500)
    assert torch.equal(whole.face, pieces.face)
    assert torch.equal(whole.weights, pieces.weights)
    assert torch.equal(whole.depth, pieces.depth)


def squares(*depths: float) -> tuple[Tensor, Tensor]:
    """Squares of side 2 that face +z, one at each height z; two triangles each."""
    corners = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    vertices = torch.cat([torch.cat([corners, torch.full((4, 1), z)], 1) for z in depths])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    return vertices[None], torch.cat([faces + 4 * k for k in range(len(depths))])


def above(size: int = 24) -> Camera:
    yaw = torch.zeros(1)
    return orbit_cameras(yaw, yaw, distance=3.0, target=torch.zeros(3), focal=1.2 * size, size=size)


def test_bias_brings_a_surface_forward_but_leaves_its_depth() -> None:
    vertices, faces = squares(0.0, -0.01)
    bias = torch.tensor([0.0, 0.0, 0.02, 0.02])
    plain, biased = rasterize(vertices, faces, above()), rasterize(vertices, faces, above(), bias=bias)
    assert (plain.face[plain.covered] < 2).all()
    assert (biased.face[biased.covered] >= 2).all()
    torch.testing.assert_close(biased.depth[biased.covered], torch.full_like(biased.depth[biased.covered], 3.01))
    screen = project(vertices, above())
    keys = nearest(screen, faces, (24, 24), bias=bias)
    torch.testing.assert_close(key_depth(keys)[biased.covered], torch.full_like(biased.depth[biased.covered], 2.99))
    assert key_depth(keys)[~biased.covered].isinf().all()


@pytest.mark.parametrize("chunk", [None, 64])
def test_holes_show_what_is_behind_them(chunk: int | None) -> None:
    """A tilted square with holes where its first weight is small: asked at every pixel of the square alone."""
    vertices, faces = squares(0.4, -0.5)
    vertices[:, :4, 2] += vertices[:, :4, 0]  # perspective matters
    asked: list[Tensor] = []

    def keep(face: Tensor, weights: Tensor, area: Tensor) -> Tensor:
        asked.append(area)
        return weights[:, 0] > 0.3

    cut_out = CutOut(torch.tensor([True, True, False, False]), keep)
    found = rasterize(vertices, faces, above(40), cut_out=cut_out, chunk=chunk)
    front, back = rasterize(vertices, faces[:2], above(40)), rasterize(vertices, faces[2:], above(40))
    there = front.covered & (front.weights[..., 0] > 0.3) & (front.depth < back.depth)
    wanted = torch.where(there, front.face, torch.where(back.covered, back.face + 2, -1))
    assert torch.equal(found.face, wanted)
    assert (wanted < 2).any()
    # The two triangles' areas on the screen, by the shoelace formula.
    corners = project(vertices, above(40))[0, :2].T[faces[:2]].double()
    one, two = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    areas = 0.5 * (one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]).abs()
    distance = (torch.cat(asked)[:, None].double() / areas - 1).abs().amin(1)
    assert float(distance.max()) < 1e-4


def test_fragments_are_the_covered_samples_in_order() -> None:
    vertices, faces = soup(3)
    screen = project(vertices, cameras())
    keys = nearest(screen, faces, (22, 30))
    seen = fragments(keys, screen, faces)
    raster = rasterize(vertices, faces, cameras())
    assert torch.equal(seen.sample, raster.covered.view(-1).nonzero()[:, 0])
    assert torch.equal(seen.picture, raster.covered.nonzero()[:, 0])
    assert torch.equal(seen.face, raster.face[raster.covered])
    assert math.isclose(float(seen.weights.sum()), len(seen.face), rel_tol=1e-5)
