"""The outermost crossing of rays with meshes, against the sphere's formula and against every triangle by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.geometry.rays import outermost_hit


def directions(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(count, 3, generator=generator, dtype=torch.float64), dim=-1)


def far_crossing(origins: Tensor, rays: Tensor, radius: float) -> Tensor:
    """Where rays leave a sphere about the origin; zero for rays that miss or look away."""
    along = -(origins * rays).sum(-1)
    discriminant = radius**2 - (origins.square().sum(-1) - along.square())
    return torch.where(discriminant > 0, along + discriminant.clamp(min=0).sqrt(), torch.zeros_like(along)).clamp(min=0)


@pytest.mark.parametrize("radius", [0.05, 0.3])
def test_rays_from_within_leave_through_the_sphere(sphere: tuple[Tensor, Tensor], radius: float) -> None:
    vertices, faces = sphere
    rays = directions(400, 0)
    origins = 0.5 * radius * directions(400, 1)
    distance = outermost_hit(origins, rays, radius * vertices, faces)
    assert distance.dtype == vertices.dtype
    torch.testing.assert_close(distance, far_crossing(origins, rays, radius), rtol=0, atol=0.015 * radius)


def test_rays_from_outside_take_the_far_side_or_miss(sphere: tuple[Tensor, Tensor]) -> None:
    vertices, faces = sphere
    origins = 0.4 * directions(600, 2)
    aims = 0.12 * torch.rand(600, 1, generator=torch.Generator().manual_seed(9)) * directions(600, 3)
    rays = functional.normalize(aims - origins, dim=-1)
    rays[:100] *= -1  # looking away
    expected = far_crossing(origins, rays, 0.1)
    expected[:100] = 0
    distance = outermost_hit(origins, rays, 0.1 * vertices, faces)
    # Near the rim a triangle is hit or missed by less than it lies off the sphere.
    closest = (origins - (origins * rays).sum(-1, keepdim=True) * rays).norm(dim=-1)
    clear = (closest < 0.095) | (closest > 0.101)
    assert (expected[clear] > 0).sum() > 100
    assert (expected[clear] == 0).sum() > 100
    torch.testing.assert_close(distance[clear], expected[clear], rtol=0, atol=0.006)
    assert ((distance > 0) == (expected > 0))[clear].all()


def test_of_two_shells_the_outer_one_counts(sphere: tuple[Tensor, Tensor]) -> None:
    vertices, faces = sphere
    nested = torch.cat([0.2 * vertices, 0.1 * vertices])
    for order in ([0, 1], [1, 0]):  # whichever comes first in the list
        both = torch.cat([faces + k * len(vertices) for k in order])
        distance = outermost_hit(torch.zeros(50, 3, dtype=torch.float64), directions(50, 4), nested, both)
        torch.testing.assert_close(distance, torch.full_like(distance, 0.2), rtol=0, atol=0.003)


def _every_triangle(origins: Tensor, rays: Tensor, vertices: Tensor, faces: Tensor) -> Tensor:
    best = torch.zeros(len(origins), dtype=torch.float64)
    for face in faces:
        a, b, c = vertices[face]
        # origin + t ray = a + u (b − a) + v (c − a)
        system = torch.stack([-rays, (b - a).expand_as(rays), (c - a).expand_as(rays)], dim=-1)
        t, u, v = torch.linalg.solve(system, origins - a).unbind(-1)
        hit = (t > 0) & (u >= 0) & (v >= 0) & (u + v <= 1)
        best = torch.where(hit & (t > best), t, best)
    return best


def soup(extent: float, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(60, 1, 3, generator=generator, dtype=torch.float64) - 0.5
    corners = extent * torch.randn(60, 3, 3, generator=generator, dtype=torch.float64)
    return (centres + corners).view(-1, 3), torch.arange(180).view(60, 3)


@pytest.mark.parametrize("seed", range(3))
def test_small_triangles_in_any_order(seed: int) -> None:
    vertices, faces = soup(0.02, seed)
    origins = 0.6 * directions(300, seed)
    aims = vertices[faces].mean(1).repeat(5, 1)  # the middle of every triangle, and what lies before and behind it
    rays = functional.normalize(aims - origins, dim=-1)
    distance = outermost_hit(origins, rays, vertices, faces)
    expected = _every_triangle(origins, rays, vertices, faces)
    assert (expected > 0).all()
    torch.testing.assert_close(distance, expected, atol=1e-9, rtol=0)


def test_large_triangles_in_any_order() -> None:
    vertices, faces = soup(0.5, 7)
    origins, rays = 0.1 * directions(200, 5), directions(200, 6)
    distance = outermost_hit(origins, rays, vertices, faces)
    torch.testing.assert_close(distance, _every_triangle(origins, rays, vertices, faces), atol=1e-9, rtol=0)


def test_single_precision_comes_back_as_it_went_in(sphere: tuple[Tensor, Tensor]) -> None:
    vertices, faces = sphere
    ray = torch.tensor([[0.0, 0.0, 1.0]])
    distance = outermost_hit(torch.zeros(1, 3), ray, vertices.float(), faces)
    assert distance.dtype == torch.float32
    assert math.isclose(float(distance[0]), 1.0, rel_tol=1e-4)
