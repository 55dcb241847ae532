"""Upper lashes: where they stand, what carries them, and what they add to an avatar."""

from __future__ import annotations

from dataclasses import replace

import torch
from tests.conftest import AvatarMaker
from torch import Tensor

from avatarcli.gaussians.avatar import SH_C0, Avatar
from avatarcli.gaussians.lashes import LASHES, ON_A_LID, with_lashes
from avatarcli.gaussians.rig import on_triangles
from avatarcli.geometry.rotations import quaternion_to_matrix
from avatarcli.head.expressions import NAMED_EXPRESSIONS
from avatarcli.head.face_points import UPPER_LIDS
from avatarcli.head.model import PersonalHead, still_head


def _lidded(make_avatar: AvatarMaker) -> Avatar:
    """An avatar all of whose Gaussians are on the edges of lids: a fifth of them dark, the others pale."""
    avatar = make_avatar(50)
    edge = avatar.head.model.faces_in("eyelid").nonzero()[:, 0]
    colors = torch.where(torch.arange(50) % 5 == 0, 0.2, 0.7)
    sh = ((colors - 0.5) / SH_C0)[:, None, None].expand(50, 1, 3)
    return replace(avatar, binding=edge[torch.arange(50) * len(edge) // 50], sh=sh.contiguous())


def _pitch(avatar: Avatar, weights: dict[str, float]) -> Tensor:
    """How many degrees above straight ahead each lash points [LASHES] in a face."""
    rig = avatar.rig()
    splats = avatar.splats(rig, still_head(weights))
    along = quaternion_to_matrix(splats.quaternions[-LASHES:])[..., 0]
    return torch.rad2deg(torch.atan2(along[:, 1], along[:, 2]))


def test_lashes_take_the_dark_of_the_lids_edge(make_avatar: AvatarMaker) -> None:
    bare = _lidded(make_avatar)
    avatar = with_lashes(bare, 0)
    assert avatar.count == bare.count + LASHES
    colors = 0.5 + SH_C0 * avatar.sh[-LASHES:, 0]
    assert (colors < 0.2).all()
    assert (colors > 0.1).all()
    for name in ("means", "binding", "sh", "log_scales"):
        assert torch.equal(getattr(avatar, name)[: bare.count], getattr(bare, name))
    assert not avatar.correctives.basis[-LASHES:].any()


def test_lashes_stand_on_the_upper_lids_and_move_with_them(make_avatar: AvatarMaker, mean_head: PersonalHead) -> None:
    avatar = with_lashes(_lidded(make_avatar), 0)
    model = mean_head.model
    assert on_triangles(model.faces_in("eyelid", "face"), avatar.binding[-LASHES:]).all()
    points = model.landmarks(mean_head.neutral)
    for side, lid in enumerate(UPPER_LIDS.values()):
        means = avatar.means[avatar.count - LASHES + side * ON_A_LID :][:ON_A_LID]
        edge = points[list(lid)]
        assert torch.cdist(means, edge).amin(1).amax() < 0.006
        assert (means[:, 2] > edge[:, 2].amin()).all()
    shut = NAMED_EXPRESSIONS["blink"]
    rest = avatar.splats(avatar.rig(), still_head({})).means[-LASHES:, 1]
    down = rest - avatar.splats(avatar.rig(), still_head(shut)).means[-LASHES:, 1]
    assert down.median() > 0.005


def test_shut_eyes_turn_their_lashes_down(make_avatar: AvatarMaker) -> None:
    avatar = with_lashes(_lidded(make_avatar), 0)
    rest, shut = _pitch(avatar, {}), _pitch(avatar, dict(NAMED_EXPRESSIONS["blink"]))
    assert rest.abs().median() < 15
    assert shut.median() < rest.median() - 10


def test_a_seed_plants_the_same_lashes_again(make_avatar: AvatarMaker) -> None:
    bare = _lidded(make_avatar)
    first, again, other = (with_lashes(bare, seed) for seed in (1, 1, 2))
    assert torch.equal(first.means, again.means)
    assert not torch.equal(first.means, other.means)


def test_without_gaussians_on_lids_there_are_no_lashes(make_avatar: AvatarMaker) -> None:
    bare = _lidded(make_avatar)
    nose = bare.head.model.faces_in("nose").nonzero()[0, 0]
    bare = replace(bare, binding=torch.full_like(bare.binding, int(nose)))
    assert with_lashes(bare, 0) is bare
