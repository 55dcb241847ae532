"""What hair is made of: fields around the head, strands, textures, beards, changed meshes of the pack."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.interpolate import RegularGridInterpolator

from avatarcli.studio.assets import StudioAssets
from avatarcli.studio.hair import (
    BEARD_FAMILIES,
    HELD_OUT_BEARDS,
    draw_beard_style,
    draw_color,
    draw_style,
    grow_beard,
    grow_hair,
)
from avatarcli.studio.hair.guides import Flow, Hairline, curl, cut, lengths, march, resample, scatter_roots
from avatarcli.studio.hair.space import WHORL, Grid, HeadSpace, chart_to_direction, direction_to_chart
from avatarcli.studio.hair.textures import COLUMNS, DENSE, LOOSE, strand_atlas
from avatarcli.studio.scene import Material

COLOR = draw_color(np.random.default_rng(1), years=30, african=0.0, asian=0.0, caucasian=1.0)


@pytest.fixture(scope="module")
def space(assets: StudioAssets) -> HeadSpace:
    return HeadSpace.of(assets.head)


def test_grid_reads_like_scipys() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5, 6, 7, 2)).astype(np.float32)
    grid = Grid(np.array([-1, 0, 2], np.float32), 0.5, values)
    axes = [low + 0.5 * np.arange(n) for low, n in zip((-1, 0, 2), (5, 6, 7), strict=True)]
    points = (rng.random((40, 3)) * [2, 2.5, 3] + [-1, 0, 2]).astype(np.float32)
    slow = RegularGridInterpolator(axes, values)(np.clip(points, [-1, 0, 2], [0.999, 2.499, 4.999]))
    np.testing.assert_allclose(grid(points), slow, atol=5e-3)


def test_distance_to_the_head(space: HeadSpace) -> None:
    field = space.field(np.array([[0, 0.2, 0], [0, 0.02, -0.015], [0, 0.0, 0.2]], np.float32))
    assert field[0, 0] == pytest.approx(0.2 - space.vertices[:, 1].max(), abs=0.004)
    assert field[1, 0] < -0.05
    assert field[0, 2] > 0.9  # up, away from the crown
    assert field[2, 3] > 0.9


def test_chart_there_and_back() -> None:
    chart = np.random.default_rng(0).uniform(-0.6, 0.6, (50, 2)).astype(np.float32)
    np.testing.assert_allclose(direction_to_chart(chart_to_direction(chart)), chart, atol=1e-5)


def test_roots_lie_on_the_scalp_inside_the_hairline(space: HeadSpace) -> None:
    usual, receding = (
        scatter_roots(space, Hairline(recess=recess), 900, np.random.default_rng(0)) for recess in (0.0, 30.0)
    )
    assert 700 < len(usual) <= 900
    assert usual.depth.min() > 0
    assert np.linalg.norm(usual.binding.of(space.vertices) - usual.points, axis=1).max() < 0.002
    temple = [((np.abs(r.points[:, 0]) > 0.03) & (r.points[:, 2] > 0.045)).mean() for r in (usual, receding)]
    assert temple[1] < 0.3 * temple[0]


def test_march_keeps_its_layer_and_length(space: HeadSpace) -> None:
    roots = scatter_roots(space, Hairline(), 200, np.random.default_rng(0))
    n = len(roots)
    flow = Flow(lambda p, t: np.zeros_like(p), np.full(n, 0.008, np.float32), gravity=2.0)
    points = march(space, roots.points, roots.normals, np.full(n, 0.2, np.float32), 16, flow)
    ends = space.field(points[:, 6:].reshape(-1, 3))[:, 0]
    assert np.quantile(ends, 0.02) > 0.004
    assert (points[:, -1, 1] < roots.points[:, 1]).mean() > 0.95
    assert np.abs(np.median(lengths(points)[:, -1]) - 0.2) < 0.02


@pytest.mark.parametrize("family", ["bob_fringe", "long_fringe", "forward_fringe", "bowl_cut"])
def test_a_fringe_lies_on_the_forehead(assets: StudioAssets, space: HeadSpace, family: str) -> None:
    reached = []
    for seed in range(3):
        style = replace(draw_style(np.random.default_rng(seed), family=family), flyaway=0.0)
        *_, mesh = grow_hair(assets, assets.head.mean, style, COLOR)
        points = mesh.resting(assets.head.mean).numpy()
        x, y, z = points.T
        before = points[(np.abs(x) < 0.035) & (y > 0.035) & (y < 0.065) & (z > 0.05)]
        reached.append(len(before))
        assert np.median(space.field(before)[:, 0]) < 0.012
        assert np.quantile(space.field(before)[:, 0], 0.9) < 0.025
    assert min(reached) > 20


def test_long_hair_hangs_beside_the_face_not_before_it(assets: StudioAssets) -> None:
    for seed in range(3):
        style = draw_style(np.random.default_rng(seed), family="long_straight")
        *_, mesh = grow_hair(assets, assets.head.mean, style, COLOR)
        points = mesh.resting(assets.head.mean).numpy()
        beside = points[(points[:, 1] > -0.08) & (points[:, 1] < 0.05)]
        assert (beside[:, 2] > 0.075).mean() < 0.02


def test_the_crown_is_covered(space: HeadSpace) -> None:
    roots = scatter_roots(space, Hairline(), 900, np.random.default_rng(0))
    near = np.linalg.norm(roots.chart - WHORL, axis=1)
    assert (near < 0.08).sum() > 2 * ((near > 0.3) & (near < np.hypot(0.3, 0.08))).sum()


def test_cut_finds_where_strands_leave(space: HeadSpace) -> None:
    keep = np.random.default_rng(0).normal(0.8, 1, (30, 9)).astype(np.float32)

    def slowly(row: np.ndarray) -> float:
        for k, value in enumerate(row):
            if value < 0:
                return 0.0 if k == 0 else (k - 1 + row[k - 1] / (row[k - 1] - value)) / 8
        return 1.0

    np.testing.assert_allclose(cut(keep), [slowly(row) for row in keep], atol=1e-5)


def test_resampled_strands_keep_their_ends() -> None:
    line = np.linspace(0, 1, 11, dtype=np.float32)[None, :, None] * np.array([1, 2, 3], np.float32)
    half = resample(line, np.array([0.5], np.float32), 4)
    np.testing.assert_allclose(half[0, 0], 0, atol=1e-6)
    np.testing.assert_allclose(half[0, -1], [0.5, 1, 1.5], atol=1e-6)


def test_curls_wind_at_their_radius() -> None:
    line = np.zeros((1, 200, 3), np.float32)
    line[0, :, 1] = np.linspace(0, 0.4, 200)
    out = np.zeros_like(line)
    out[..., 2] = 1
    wound = curl(line, out, np.array([0.01]), np.array([0.05]), np.array([0.0]), roundness=1.0, onset=0.01)
    away = np.linalg.norm((wound - line)[0, 40:], axis=1)
    np.testing.assert_allclose(away, 0.01, atol=5e-4)


def test_atlas_has_dense_and_loose_locks() -> None:
    atlas = strand_atlas("straight", 0, COLOR, np.random.default_rng(0)).float() / 255
    cover = atlas[: atlas.shape[0] // 3, :, 3].mean(0).view(COLUMNS, -1).mean(1)
    assert cover[:DENSE].min() > 2 * cover[LOOSE:].max()
    tip = atlas[int(atlas.shape[0] * 0.68), :, 3].mean()
    assert tip < 0.4 * atlas[40, :, 3].mean()
    assert (atlas[-20:, :, 3] == 1).all()


@pytest.mark.parametrize("family", BEARD_FAMILIES)
def test_beards_grow_where_they_should(assets: StudioAssets, family: str) -> None:
    style = draw_beard_style(np.random.default_rng(0), family=family)
    [mesh] = grow_beard(assets, assets.head.mean, style, COLOR)
    points = (assets.head.mean[mesh.bind_index] * mesh.bind_weight[..., None]).sum(-2)
    assert mesh.material == Material.BEARD
    assert 0 < len(mesh.faces) <= 20_000
    assert torch.isfinite(mesh.offset).all()
    assert points[:, 1].max() < 0.02
    if family in ("chevron", "walrus", "pencil", "handlebar"):
        assert points[:, 1].min() > -0.075
    if family == "goatee":
        assert points[:, 0].abs().max() < 0.045


def test_beards_leave_nose_and_lips_free() -> None:
    style = draw_beard_style(np.random.default_rng(0), family="full")
    nose, lips, chin = (np.array([p], np.float32) for p in ([0, -0.034, 0.107], [0, -0.069, 0.095], [0, -0.1, 0.08]))
    assert style.density(nose)[0] == 0
    assert style.density(lips)[0] == 0
    assert style.density(chin)[0] > 0.5
    assert set(HELD_OUT_BEARDS) <= set(BEARD_FAMILIES)


def test_pack_meshes_change_from_seed_to_seed(assets: StudioAssets) -> None:
    meshes = [
        grow_hair(assets, assets.head.mean, draw_style(np.random.default_rng(seed), family="pack_long01"), COLOR)[0]
        for seed in range(4)
    ]
    plain = assets.hair("long01", assets.head.mean)
    for mesh in meshes:
        assert torch.isfinite(mesh.offset).all()
        assert len(mesh.faces) <= len(plain.faces)
        moved = (mesh.offset.abs() - plain.offset.abs()).norm(dim=-1)
        assert moved.max() < 0.6
    assert not torch.equal(meshes[0].offset, meshes[1].offset)
    spliced = grow_hair(assets, assets.head.mean, draw_style(np.random.default_rng(0), family="pack_spliced"), COLOR)
    assert len(spliced) == 2
