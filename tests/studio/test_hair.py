"""Hair: what is drawn fits the head, keeps out of it, follows it, and is the same for the same seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from avatarcli.studio.assets import StudioAssets
from avatarcli.studio.hair import (
    FAMILIES,
    HELD_OUT_FAMILIES,
    HairColor,
    HairStyle,
    draw_color,
    draw_hair,
    draw_style,
    family_weights,
    grow_hair,
    scalp_tint,
)
from avatarcli.studio.hair.space import HeadSpace
from avatarcli.studio.scene import BoundMesh, Material

MOST_TRIANGLES = 33_000
CROWN = np.array([[0.0, 0.11, -0.02]], np.float32)
EYE = np.array([[0.03, 0.003, 0.08]], np.float32)
TEMPLE = np.array([[0.045, 0.078, 0.052]], np.float32)


@pytest.fixture(scope="module")
def space(assets: StudioAssets) -> HeadSpace:
    return HeadSpace.of(assets.head)


@pytest.fixture(scope="module")
def color() -> HairColor:
    return draw_color(np.random.default_rng(3), years=30, african=0.1, asian=0.1, caucasian=0.8)


def style_of(family: str, seed: int = 0) -> HairStyle:
    return replace(draw_style(np.random.default_rng(seed), family=family), mirrored=False)


def rest(mesh: BoundMesh, head: torch.Tensor) -> torch.Tensor:
    return (head[mesh.bind_index] * mesh.bind_weight[..., None]).sum(-2) + mesh.offset


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_grows_a_sound_mesh(assets: StudioAssets, color: HairColor, family: str) -> None:
    neutral = assets.head.neutral(assets.head.people[0])
    meshes = draw_hair(assets, neutral, np.random.default_rng(1), family=family, color=color)
    assert bool(meshes) == (family != "bald")
    assert sum(len(mesh.faces) for mesh in meshes) <= MOST_TRIANGLES
    for mesh in meshes:
        count = len(mesh.offset)
        assert mesh.material == Material.HAIR
        assert torch.isfinite(mesh.offset).all()
        assert mesh.faces.min() >= 0
        assert mesh.faces.max() < count
        assert mesh.uv.shape == (len(mesh.faces), 3, 2)
        assert mesh.uv.min() >= 0
        assert mesh.uv.max() <= 1
        assert mesh.bind_index.max() < len(neutral)
        torch.testing.assert_close(mesh.bind_weight.sum(-1), torch.ones(count), atol=1e-4, rtol=0)
        torch.testing.assert_close(mesh.skinning.sum(-1), torch.ones(count), atol=1e-4, rtol=0)
        assert mesh.texture.dtype == torch.uint8
        assert mesh.texture.shape[-1] == 4


def test_families_are_many_and_some_are_held_out() -> None:
    grown = [name for name in FAMILIES if not name.startswith("pack_")]
    assert len(set(grown)) == len(grown) >= 40
    assert len(set(HELD_OUT_FAMILIES) & set(FAMILIES)) == 5


def test_same_seed_same_bytes(assets: StudioAssets, color: HairColor) -> None:
    neutral = assets.head.mean
    first, second, other = (
        draw_hair(assets, neutral, np.random.default_rng(seed), family="long_waves", color=color) for seed in (5, 5, 6)
    )
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.offset, b.offset)
        assert torch.equal(a.texture, b.texture)
    assert first[-1].offset.shape != other[-1].offset.shape or not torch.equal(first[-1].offset, other[-1].offset)


@pytest.mark.parametrize("family", ["crew_cut", "bob_fringe", "long_straight", "low_bun", "afro_medium", "locs"])
def test_hair_keeps_out_of_the_head(assets: StudioAssets, space: HeadSpace, color: HairColor, family: str) -> None:
    for mesh in grow_hair(assets, assets.head.mean, style_of(family), color):
        height = space.field(rest(mesh, assets.head.mean).numpy())[:, 0]
        # Half a card's width may dip below where a card leans.
        assert np.quantile(height, 0.01) > -0.004


@pytest.mark.parametrize("family", ["bob_fringe", "long_fringe", "bob", "long_curls", "shag"])
def test_hair_leaves_the_eyes_free(assets: StudioAssets, color: HairColor, family: str) -> None:
    points = torch.cat(
        [rest(m, assets.head.mean) for m in grow_hair(assets, assets.head.mean, style_of(family), color)]
    )
    before_eyes = (points[:, 2] > 0.07) & (points[:, 0].abs() < 0.042) & (points[:, 1].abs() < 0.012)
    assert before_eyes.float().mean() < 0.004


def test_hair_fits_another_head(assets: StudioAssets, space: HeadSpace, color: HairColor) -> None:
    style, head = style_of("buzz"), assets.head
    person = head.mean + torch.tensor([0.0, 0.004, 0.0])
    usual, moved = (grow_hair(assets, neutral, style, color)[0] for neutral in (head.mean, person))
    lifted = (rest(moved, person) - rest(usual, head.mean)).numpy()
    np.testing.assert_allclose(lifted, np.broadcast_to([0.0, 0.004, 0.0], lifted.shape), atol=1e-5)
    # On a head of another shape roots still lie on its scalp.
    neutral = head.neutral(head.people[1] * 1.5)
    shell = grow_hair(assets, neutral, style, color)[0]
    assert shell.offset.norm(dim=-1).median() < 0.006


def test_mirrored_styles_swap_sides(assets: StudioAssets, color: HairColor) -> None:
    style = style_of("side_ponytail")
    points = [
        rest(grow_hair(assets, assets.head.mean, replace(style, mirrored=mirrored), color)[-1], assets.head.mean)
        for mirrored in (False, True)
    ]
    flipped = points[1] * torch.tensor([-1.0, 1.0, 1.0])
    assert (points[0] - flipped).norm(dim=-1).max() < 0.003


def test_long_hair_turns_with_the_body_at_its_ends(assets: StudioAssets, color: HairColor) -> None:
    mesh = grow_hair(assets, assets.head.mean, style_of("long_straight"), color)[-1]
    height = rest(mesh, assets.head.mean)[:, 1]
    assert mesh.skinning[height > 0.05, 4].min() > 0.95
    assert mesh.skinning[height < -0.2, 0].mean() > 0.7


def test_scalp_tint_follows_the_hairline(color: HairColor) -> None:
    buzz, receding, bald = (scalp_tint(style_of(family), color) for family in ("buzz", "receding", "bald"))
    assert buzz.dye(CROWN)[0] > 0.4
    assert buzz.dye(EYE)[0] == 0
    assert receding.dye(TEMPLE)[0] < buzz.dye(TEMPLE)[0]
    assert bald.dye(CROWN)[0] == 0
    assert bald.shaved == 1


def test_colors_follow_age_and_descent() -> None:
    def drawn(years: float, asian: float) -> list[HairColor]:
        return [
            draw_color(np.random.default_rng(seed), years=years, african=0, asian=asian, caucasian=1 - asian)
            for seed in range(80)
        ]

    young, old, dark = drawn(22, 0), drawn(75, 0), drawn(22, 1)
    assert np.mean([c.grey for c in old]) > 0.5 > 0.02 > np.mean([c.grey for c in young])
    assert np.median([c.root[1] for c in dark]) < 0.4 * np.median([c.root[1] for c in young])
    assert all(c.natural().tip == c.root for c in young)


def test_weights_are_positive_and_plausible() -> None:
    woman = family_weights(female=True, years=25, african=0.0)
    man = family_weights(female=False, years=65, african=0.0)
    assert set(woman) == set(man) == set(FAMILIES)
    assert min(*woman.values(), *man.values()) > 0
    assert man["horseshoe"] > 20 * woman["horseshoe"]
    assert woman["bob"] > 5 * man["bob"]


def test_unknown_family_is_refused() -> None:
    with pytest.raises(KeyError):
        draw_style(np.random.default_rng(0), family="nonsense")


HIDDEN = (
    "low_ponytail", "high_ponytail", "mid_ponytail_curly", "single_braid", "pack_braid01", "pack_ponytail01", "low_bun",
    "ballet_bun", "updo", "man_bun", "long_swept_back",
)  # fmt: skip
SHORT = (
    "taper", "crew_cut", "side_part", "ivy_league", "slick_back", "caesar", "buzz", "bald", "pixie", "forward_fringe",
    "messy_short", "short_curls", "curtains", "bob", "bob_fringe", "pack_short01", "pack_short02",
    "pack_short04",
)  # fmt: skip
SHORT_BEHIND = ("taper", "crew_cut", "side_part", "slick_back", "wavy_medium_man", "cornrows", "forward_fringe")


def lowest_behind(assets: StudioAssets, color: HairColor, family: str, seed: int) -> float:
    """Metres: the height of the lowest hair behind the neck of the average head, a hundredth left out."""
    meshes = grow_hair(assets, assets.head.mean, style_of(family, seed), color)
    points = torch.cat([rest(mesh, assets.head.mean)[mesh.faces].mean(1) for mesh in meshes])
    behind = points[(points[:, 2] < -0.02) & (points[:, 0].abs() < 0.07)]
    return float(behind[:, 1].quantile(0.01))


@pytest.mark.parametrize("family", SHORT_BEHIND)
def test_hair_that_looks_short_ends_at_the_nape(assets: StudioAssets, color: HairColor, family: str) -> None:
    assert lowest_behind(assets, color, family, 1) > -0.125
    assert lowest_behind(assets, color, "low_ponytail", 1) < -0.15


@pytest.mark.parametrize("years", [25.0, 70.0])
@pytest.mark.parametrize("formal", [False, True])
@pytest.mark.parametrize("female", [False, True])
def test_what_the_front_does_not_show_is_rare(female: bool, years: float, formal: bool) -> None:
    weights = family_weights(female=female, years=years, african=0.1, formal=formal)
    tied = sum(weights[name] for name in HIDDEN)
    assert 0 < tied < 0.05 * (tied + sum(weights[name] for name in SHORT))
