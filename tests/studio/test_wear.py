from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from avatarcli.studio.assets import StudioAssets
from avatarcli.studio.glasses import draw_glasses, glasses_meshes
from avatarcli.studio.hats import KINDS, draw_hat, hat_meshes, make_room
from avatarcli.studio.scene import BoundMesh
from avatarcli.studio.wear import PATTERNS, clothes_mesh, draw_clothes


def resting(mesh: BoundMesh, head: Tensor) -> Tensor:
    return (head[mesh.bind_index] * mesh.bind_weight[..., None]).sum(-2) + mesh.offset


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
        glass, bars = resting(lens, neutral), resting(frame, neutral)
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
    moved = resting(frame, smiling) - resting(frame, neutral)
    assert (moved - moved[0]).abs().max() < 1e-6
    assert moved.norm(dim=-1).max() < 0.002


def test_hats_cover_the_head(assets: StudioAssets, person: tuple[Tensor, Tensor]) -> None:
    neutral, _ = person
    skull = neutral[assets.head.rows("skin")][assets.head.in_regions("scalp", "face")]
    top = skull[skull[:, 1].argmax()]
    for seed in range(6):
        look = replace(draw_hat(np.random.default_rng(seed)), kind=KINDS[seed % 2])
        (hat,) = hat_meshes(assets, look, neutral)
        points = resting(hat, neutral)
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
        above = [resting(mesh, neutral)[mesh.faces].mean(1)[:, 1].max() for mesh in kept]
        whole = resting(hair, neutral)[hair.faces].mean(1)[:, 1].max()
        assert all(height < whole - 0.02 for height in above)


def test_clothes_are_dyed(assets: StudioAssets) -> None:
    names = tuple(assets.wearables["clothes"])
    assert not any(
        "fedora" in draw_clothes(names, np.random.default_rng(seed), female=False).name for seed in range(40)
    )
    base = replace(draw_clothes(names, np.random.default_rng(0), female=True), keep=0.0, pattern="plain")
    red = replace(base, colour=(0.5, 0.02, 0.02))
    texture = clothes_mesh(assets, red, assets.head.mean).texture.float()
    assert texture[..., 0].mean() > 3 * texture[..., 1].mean()
    plain = texture[..., 0].std()
    for pattern in PATTERNS[1:]:
        patterned = clothes_mesh(assets, replace(red, pattern=pattern, second=(0.02, 0.02, 0.02)), assets.head.mean)
        assert patterned.texture[..., 0].float().std() > 2 * plain
