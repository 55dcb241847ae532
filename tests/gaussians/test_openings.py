"""What shows between lids and lips: which triangles, how densely they are covered, and that a fit leaves them alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from avatarcli.gaussians.avatar import SH_C0, Avatar
from avatarcli.gaussians.openings import at_edges, at_rims, between_rims, detail, hidden_at_rest, rolled_lids
from avatarcli.gaussians.optimise import optimise
from avatarcli.gaussians.pictures import Schedule, TrainingPicture
from avatarcli.head.expressions import NAMED_EXPRESSIONS, expression_vector
from avatarcli.head.hidden import rolled_up
from avatarcli.head.model import PersonalHead
from avatarcli.head.parameters import HeadParameters


def test_teeth_are_covered_where_an_open_mouth_shows_them(mean_head: PersonalHead) -> None:
    model, density = mean_head.model, detail(mean_head)
    centres = mean_head.neutral[model.faces].mean(1)
    teeth = model.in_regions("teeth")[model.faces].all(-1)
    front = teeth & (centres[:, 2] > centres[teeth, 2].amax() - 0.002)
    back = teeth & (centres[:, 2] < centres[teeth, 2].amin() + 0.01)
    assert density[front].mean() > 0.35
    assert density[front].mean() > 2 * density[back].mean()
    skin = model.in_regions("face", "scalp", "neck")[model.faces].all(-1) & ~hidden_at_rest(mean_head)
    assert (density[skin] == 1).all()


def test_irises_are_covered_most_finely_and_backs_of_eyes_not_at_all(mean_head: PersonalHead) -> None:
    model, density = mean_head.model, detail(mean_head)
    centre = mean_head.joints[model.joint_names.index("eye_l")]
    rows = model.part("eye_l")
    ball = ((model.faces >= rows.start) & (model.faces < rows.stop)).all(-1)
    ahead = torch.nn.functional.normalize(mean_head.neutral[model.faces].mean(1) - centre, dim=-1)[:, 2]
    assert (density[ball & (ahead > 0.95)] > density[ball & (ahead > 0.5) & (ahead < 0.8)].amax()).all()
    assert (density[ball & (ahead < 0.3)] == 0).all()


def test_lids_roll_up_above_the_eyes(mean_head: PersonalHead) -> None:
    model, lid = mean_head.model, rolled_up(mean_head)
    shut = torch.tensor(expression_vector(NAMED_EXPRESSIONS["blink"]))
    way = torch.tensordot(shut, mean_head.expression_basis, dims=1)
    assert (way[lid == 1].norm(dim=-1) > 0.004).all()
    eyes = mean_head.joints[[model.joint_names.index(name) for name in ("eye_l", "eye_r")]]
    apart = torch.cdist(mean_head.neutral[lid > 0.5], eyes).amin(-1)
    assert len(apart) > 10
    assert apart.amax() < 0.03
    rolled = hidden_at_rest(mean_head) & ~between_rims(mean_head)
    assert (model.face_part[rolled] == 0).all()
    assert rolled.any()


def test_edges_are_where_lips_turn_into_the_mouth_and_all_of_the_lids(mean_head: PersonalHead) -> None:
    model, edges, rims = mean_head.model, at_edges(mean_head), at_rims(mean_head)
    assert not (edges & ~rims).any()
    assert not (rims & between_rims(mean_head)).any()
    assert (rolled_lids(mean_head) & ~edges).sum() == 0
    assert (model.faces_in("eyelid") & ~edges).sum() == 0
    lips = model.faces_in("lip")
    assert 0.1 < float(edges[lips].float().mean()) < 0.7
    # From the front, at rest, lips show nearly none of it.
    centres = mean_head.neutral[model.faces].mean(1)
    assert centres[lips & edges, 2].mean() < centres[lips & ~edges, 2].mean() - 0.002


def test_a_fit_does_not_touch_them(make_avatar: Callable[..., Avatar]) -> None:
    avatar = make_avatar(300)
    inside = between_rims(avatar.head).nonzero()[:, 0]
    binding = avatar.binding.clone()
    binding[:40] = inside[torch.arange(40) * (len(inside) // 40)]
    avatar = replace(avatar, binding=binding)
    camera = avatar.framing.cameras(torch.zeros(1), torch.zeros(1), 32)[0]
    white = TrainingPicture(
        camera, HeadParameters.at_rest(), -1, torch.ones(32, 32, 3), torch.ones(32, 32), torch.ones(32, 32)
    )
    fitted = optimise(avatar, [white], Schedule(6, 1, 300, seed=0), device="cpu")
    assert torch.equal(fitted.binding, binding)
    kept = torch.isin(binding, inside)
    assert 40 <= int(kept.sum()) < 100
    assert torch.equal(fitted.sh[kept], avatar.sh[kept])
    assert torch.equal(fitted.means[kept], avatar.means[kept])
    assert (fitted.sh != avatar.sh)[~kept].any()


def test_lids_and_lips_keep_their_shape_and_cover_and_take_colors(make_avatar: Callable[..., Avatar]) -> None:
    avatar = make_avatar(300)
    rims = at_rims(avatar.head)
    assert not (rims & between_rims(avatar.head)).all()
    assert (rims & hidden_at_rest(avatar.head)).any()  # lids that are rolled up
    soft = (rims & ~between_rims(avatar.head)).nonzero()[:, 0]
    binding = avatar.binding.clone()
    binding[:60] = soft[torch.arange(60) * (len(soft) // 60)]
    binding[60:80] += len(rims)  # hair and clothes do not move with the face
    avatar = replace(avatar, binding=binding)
    camera = avatar.framing.cameras(torch.zeros(1), torch.zeros(1), 32)[0]
    black = TrainingPicture(
        camera, HeadParameters.at_rest(), -1, torch.zeros(32, 32, 3), torch.ones(32, 32), torch.ones(32, 32)
    )
    fitted = optimise(avatar, [black], Schedule(24, 1, 300, seed=0), device="cpu")
    held = torch.isin(binding, rims.nonzero()[:, 0])
    changed = (fitted.sh != avatar.sh).flatten(1).any(-1)
    assert changed[held].any()
    # Rolled-up lids lie in the shadow of their fold: they hardly follow.
    rolled = torch.isin(binding, rolled_lids(avatar.head).nonzero()[:, 0])
    assert rolled.any()
    darkened = SH_C0 * (avatar.sh - fitted.sh).flatten(1).amax(-1)
    assert darkened[rolled].amax() < 0.101
    assert darkened[held & ~rolled].amax() > 0.12
    # What draws the edges of openings stays where the head model has it, the rest of the lips may move.
    edges = torch.isin(binding, at_edges(avatar.head).nonzero()[:, 0])
    assert (held & ~edges).any()
    for before, after in ((avatar.means, fitted.means), (avatar.correctives.basis, fitted.correctives.basis)):
        assert torch.equal(after[edges], before[edges])
    assert (fitted.means != avatar.means)[held & ~edges].any()
    for name in ("log_scales", "opacity_logits"):
        before, after = getattr(avatar, name), getattr(fitted, name)
        assert torch.equal(after[held], before[held])
        assert (after != before)[~held].any()
