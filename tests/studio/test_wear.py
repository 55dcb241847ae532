from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from avatarcli.studio.assets import StudioAssets
from avatarcli.studio.glasses import draw_glasses, glasses_meshes
from avatarcli.studio.hats import KINDS, draw_hat, hat_meshes, make_room
from avatarcli.studio.scene import Material
from avatarcli.studio.suits import SUITS, parts
from avatarcli.studio.wear import PATTERNS, Neckline, clothes_meshes, covered_skin, draw_clothes, draw_suit


@pytest.fixture(params=range(5))
def person(request: pytest.FixtureRequest, assets: StudioAssets) -> tuple[Tensor, Tensor]:
    """A neutral head and its joints."""
    identity = assets.head.people[request.param]
    return assets.head.neutral(identity), assets.head.joints(identity)


def test_glasses_sit_before_the_eyes_and_on_the_ears(assets: StudioAssets, person: tuple[Tensor, Tensor]) -> None:
    neutral, joints = person
    head = assets.head
    for seed in range(8):
        frame, lens = glasses_meshes(head, draw_glasses(np.random.default_rng(seed)), neutral, joints)
        glass, bars = lens.resting(neutral), frame.resting(neutral)
        for eye in ("cornea_l", "cornea_r"):
            front = neutral[head.rows(eye)]
            pupil = front[front[:, 2].argmax()]
            nearest = glass[(glass[:, :2] - pupil[:2]).norm(dim=-1).argmin()]
            assert (nearest[:2] - pupil[:2]).norm() < 0.02
            assert 0.005 < nearest[2] - pupil[2] < 0.03
        ears = neutral[head.rows("skin")][head.in_regions("ear")]
        for side in (1, -1):
            ear, bar = (points[side * points[:, 0] > 0] for points in (ears, bars))
            assert torch.cdist(bar, ear).min() < 0.008


def test_glasses_are_stiff(assets: StudioAssets, person: tuple[Tensor, Tensor]) -> None:
    neutral, joints = person
    frame, _ = glasses_meshes(assets.head, draw_glasses(np.random.default_rng(1)), neutral, joints)
    smiling = neutral + assets.head.expression_basis.sum(0)
    moved = frame.resting(smiling) - frame.resting(neutral)
    assert (moved - moved[0]).abs().max() < 1e-6
    assert moved.norm(dim=-1).max() < 0.002


def test_hats_cover_the_head(assets: StudioAssets, person: tuple[Tensor, Tensor]) -> None:
    neutral, _ = person
    skull = neutral[assets.head.rows("skin")][assets.head.in_regions("scalp", "face")]
    top = skull[skull[:, 1].argmax()]
    for seed in range(6):
        look = replace(draw_hat(np.random.default_rng(seed)), kind=KINDS[seed % 2])
        (hat,) = hat_meshes(assets, look, neutral)
        points = hat.resting(neutral)
        assert points[:, 1].max() > top[1] + 0.003
        # Along the way to each vertex of the upper skull, the hat is farther out.
        middle = torch.tensor([0.0, 0.02, -0.012])
        upper = skull[skull[:, 1] > 0.08] - middle
        ways = torch.nn.functional.normalize(points - middle, dim=-1)
        beside = (torch.nn.functional.normalize(upper, dim=-1) @ ways.T).argmax(1)
        assert ((points[beside] - middle).norm(dim=-1) > upper.norm(dim=-1)).all()


def test_hair_makes_room_for_a_hat(assets: StudioAssets) -> None:
    neutral = assets.head.mean
    hair = assets.hair("short01", neutral)
    for kind in KINDS:
        look = replace(draw_hat(np.random.default_rng(2)), kind=kind)
        hats = hat_meshes(assets, look, neutral)
        kept = make_room([hair], hats, look, neutral)
        above = [mesh.resting(neutral)[mesh.faces].mean(1)[:, 1].max() for mesh in kept]
        whole = hair.resting(neutral)[hair.faces].mean(1)[:, 1].max()
        assert all(height < whole - 0.02 for height in above)


def test_clothes_are_dyed(assets: StudioAssets) -> None:
    names = tuple(assets.wearables["clothes"])
    assert not any(
        "fedora" in draw_clothes(names, np.random.default_rng(seed), female=False).name for seed in range(40)
    )
    base = replace(
        draw_clothes(names, np.random.default_rng(0), female=True),
        keep=0.0,
        pattern="plain",
        neckline=None,
        collar=None,
    )
    red = replace(base, color=(0.5, 0.02, 0.02))
    (top,) = clothes_meshes(assets, red, assets.head.mean)
    texture = top.texture.float()
    assert texture[..., 0].mean() > 3 * texture[..., 1].mean()
    plain = texture[..., 0].std()
    for pattern in PATTERNS[1:]:
        look = replace(red, pattern=pattern, second=(0.02, 0.02, 0.02))
        (patterned,) = clothes_meshes(assets, look, assets.head.mean)
        assert patterned.texture[..., 0].float().std() > 2 * plain


def test_necklines_bare_the_skin_above_them(assets: StudioAssets, person: tuple[Tensor, Tensor]) -> None:
    neutral, _ = person
    head = assets.head
    made = replace(draw_clothes(tuple(assets.wearables["clothes"]), np.random.default_rng(0), female=True), collar=None)
    line = Neckline(front=-0.23, back=-0.2, rise=0.05, point=2.0)
    cut = replace(made, neckline=line)
    (whole,) = clothes_meshes(assets, replace(made, neckline=None), neutral)
    (low,) = clothes_meshes(assets, cut, neutral)
    assert len(low.faces) < len(whole.faces)
    assert line.above(low.resting(head.mean))[low.faces].max() < 0.001
    assert (covered_skin(assets, made) | ~covered_skin(assets, cut)).all()
    assert clothes_meshes(assets, replace(made, neckline=Neckline(-1.0, -1.0, 0.0, 2.0)), neutral) == []
    hidden = covered_skin(assets, cut)[head.drawn.quad[: len(head.skin_faces)]]
    skin = line.above(head.drawn.mean)[head.drawn.faces[: len(head.skin_faces)]]
    assert (skin[hidden] < 0).all()


def test_a_collar_stands_around_the_neck(assets: StudioAssets, person: tuple[Tensor, Tensor]) -> None:
    neutral, _ = person
    made = draw_clothes(tuple(assets.wearables["clothes"]), np.random.default_rng(0), female=False)
    _, collar = clothes_meshes(assets, replace(made, neckline=None, collar=-0.1), neutral)
    assert collar.material == Material.CLOTH
    used = collar.faces.flatten()
    away = torch.cdist(collar.resting(neutral)[used], neutral[assets.head.rows("skin")]).amin(1)
    assert 0.001 < away.median() < 0.01
    assert collar.resting(assets.head.mean)[used][:, 1].max() < -0.07


def test_necks_of_clothes_vary() -> None:
    looks = [draw_clothes(("female_a", "male_a"), np.random.default_rng(seed), female=True) for seed in range(300)]
    bare = sum(look.neckline is not None for look in looks)
    assert 60 < bare < 150
    assert 10 < sum(look.collar is not None for look in looks) < 50
    assert all(look.neckline is None or look.collar is None for look in looks)


def test_a_suit_shows_shirt_and_tie_before_a_plain_jacket(assets: StudioAssets) -> None:
    """The pack's jacket, on whose picture they are outlined, is not in the miniature: another top is taken for it."""
    garment = replace(assets.wearables["clothes"]["male_casualsuit01"], texture=torch.full((200, 240, 4), 90).byte())
    wardrobe = assets.wearables | {"clothes": {"male_elegantsuit01": garment}}
    drawn = draw_suit(("male_elegantsuit01", "fedora"), np.random.default_rng(2), female=False)
    assert drawn is not None
    assert drawn.beneath is not None
    beneath = replace(drawn.beneath, shirt=(0.8, 0.8, 0.8), tie=(0.4, 0.01, 0.01), stripe=(0.4, 0.01, 0.01))
    look = replace(drawn, color=(0.01, 0.01, 0.03), pattern="plain", beneath=beneath)
    (top,) = clothes_meshes(replace(assets, wearables=wardrobe), look, assets.head.mean)
    colors = top.texture[..., :3].float()
    shirt, tie = parts("male_elegantsuit01", 200, 240)
    assert shirt.any()
    assert tie.any()
    assert not (shirt & tie).any()
    assert colors[shirt].min() > 200
    assert colors[tie][:, 0].min() > 150
    assert colors[tie][:, 1:].max() < 40
    jacket = colors[~(shirt | tie)]
    assert jacket.max() < 60
    assert jacket.std(0).max() < 1


def test_suits_are_of_the_pack_and_mostly_dark() -> None:
    assert draw_suit(("female_a", "male_a"), np.random.default_rng(0), female=True) is None
    for female in (False, True):
        looks = [draw_suit(tuple(SUITS[female]), np.random.default_rng(seed), female=female) for seed in range(200)]
        suits = [look for look in looks if look is not None and look.beneath is not None]
        assert len(suits) == 200
        assert np.mean([max(look.color) < 0.1 for look in suits]) > (0.5 if female else 0.8)
        ties = np.mean([look.beneath is not None and look.beneath.tie != look.beneath.shirt for look in suits])
        assert ties < 0.15 if female else 0.65 < ties < 0.95
