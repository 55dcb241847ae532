"""Where Gaussians start."""

from __future__ import annotations

import pytest
import torch
from scipy.spatial import cKDTree
from torch.nn import functional

from avatarcli.gaussians.avatar import SH_C0
from avatarcli.gaussians.initialise import SurfaceSamples, sample_triangles, start_gaussians
from avatarcli.geometry.rotations import quaternion_to_matrix


@pytest.mark.parametrize("count", [1, 100, 5000])
def test_every_triangle_gets_its_share(count: int) -> None:
    generator = torch.Generator().manual_seed(0)
    areas = torch.rand(300, generator=generator) ** 3
    areas[[5, 6, 100]] = 0
    triangle, weights = sample_triangles(areas, count, generator)
    assert triangle.shape == (count,)
    assert weights.shape == (count, 3)
    share = areas / areas.sum() * count
    found = torch.bincount(triangle, minlength=300)
    assert (found - share).abs().max() <= 1.001
    assert (found[[5, 6, 100]] == 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(count))
    assert weights.min() >= 0


def test_points_cover_a_triangle_more_evenly_than_chance() -> None:
    """The corner-to-corner triangle of the unit square: largest gap to a neighbour, against independent draws."""
    generator = torch.Generator().manual_seed(0)
    _, weights = sample_triangles(torch.ones(1), 400, generator)
    assert weights.mean(0).tolist() == pytest.approx([1 / 3] * 3, abs=0.02)
    drawn = torch.rand(400, 2, generator=generator)
    drawn = torch.where(drawn.sum(1, keepdim=True) > 1, 1 - drawn, drawn)

    def nearest(points: torch.Tensor) -> torch.Tensor:
        distance, _ = cKDTree(points.numpy()).query(points.numpy(), k=2)
        return torch.from_numpy(distance[:, 1])

    even, chance = nearest(weights[:, 1:]), nearest(drawn)
    assert even.min() > 4 * chance.min()
    assert even.median() > 1.2 * chance.median()


def test_the_seed_decides() -> None:
    areas = torch.rand(50, generator=torch.Generator().manual_seed(1))
    first, again, other = (sample_triangles(areas, 77, torch.Generator().manual_seed(seed)) for seed in (0, 0, 3))
    assert (first[0] == again[0]).all()
    assert (first[0] != other[0]).any()


def samples(count: int = 64) -> SurfaceSamples:
    generator = torch.Generator().manual_seed(2)
    return SurfaceSamples(
        points=torch.randn(count, 3, generator=generator),
        normals=3 * torch.randn(count, 3, generator=generator),
        tangents=torch.randn(count, 3, generator=generator),
        spacing=0.001 + 0.01 * torch.rand(count, generator=generator),
        colors=torch.rand(count, 3, generator=generator),
        opacity=torch.linspace(0, 1, count),
        binding=torch.arange(count),
    )


def test_discs_lie_on_the_surface() -> None:
    made = samples()
    start = start_gaussians(made, SH_C0)
    axes = quaternion_to_matrix(start.quaternions)
    torch.testing.assert_close(axes @ axes.transpose(-1, -2), torch.eye(3).expand(64, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(axes), torch.ones(64), atol=1e-5, rtol=0)
    torch.testing.assert_close(axes[..., 2], functional.normalize(made.normals, dim=-1), atol=1e-4, rtol=0)
    # Their first axis is the tangent, as far as it lies in the surface.
    assert ((axes[..., 0] * made.tangents).sum(-1) > 0).all()
    sizes = start.log_scales.exp()
    assert (sizes[:, 2] < 0.5 * sizes[:, 0]).all()
    torch.testing.assert_close(sizes[:, 0], sizes[:, 1])
    assert (sizes[:, 0] / made.spacing).std() < 1e-5
    assert (start.means == made.points).all()
    assert (start.binding == made.binding).all()


def test_colors_and_opacities_come_back() -> None:
    made = samples()
    start = start_gaussians(made, SH_C0)
    torch.testing.assert_close(0.5 + SH_C0 * start.sh[:, 0], made.colors, atol=1e-5, rtol=0)
    assert start.opacity_logits.isfinite().all()  # also for what is fully opaque or not there
    opacity = start.opacity_logits.sigmoid()
    middle = (made.opacity > 0.1) & (made.opacity < 0.9)
    torch.testing.assert_close(opacity[middle], made.opacity[middle], atol=1e-5, rtol=0)
    assert (opacity.diff() >= -1e-6).all()


def test_a_closed_sheet_of_discs_lets_nothing_through() -> None:
    """Discs spaced evenly on a plane: summed at any point they cover it."""
    side, spacing = 12, 0.01
    x, y = torch.meshgrid(torch.arange(side) * spacing, torch.arange(side) * spacing, indexing="ij")
    points = torch.stack([x, y, torch.zeros_like(x)], dim=-1).view(-1, 3)
    count = len(points)
    start = start_gaussians(
        SurfaceSamples(
            points=points,
            normals=torch.tensor([0.0, 0.0, 1.0]).expand(count, 3),
            tangents=torch.tensor([1.0, 0.0, 0.0]).expand(count, 3),
            spacing=torch.full((count,), spacing),
            colors=torch.rand(count, 3, generator=torch.Generator().manual_seed(0)),
            opacity=torch.full((count,), 0.95),
            binding=torch.arange(count),
        ),
        SH_C0,
    )
    sigma = start.log_scales.exp()[:, 0]
    for place in ([0.055, 0.055], [0.05, 0.05], [0.055, 0.05]):
        distance = (points[:, :2] - torch.tensor(place)).norm(dim=-1)
        alpha = start.opacity_logits.sigmoid() * torch.exp(-0.5 * (distance / sigma).square())
        assert 1 - (1 - alpha).prod() > 0.9
