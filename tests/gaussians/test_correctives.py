"""Correctives of eyes and mouth keep to themselves, from the start and through a fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from avatarcli.gaussians.avatar import Avatar
from avatarcli.gaussians.correctives import may_follow, new_correctives
from avatarcli.gaussians.optimise import optimise
from avatarcli.gaussians.pictures import Schedule, TrainingPicture
from avatarcli.head.expressions import expression_vector
from avatarcli.head.model import PersonalHead
from avatarcli.head.parameters import HeadParameters

DIRECTIONS = 8


def face(**weights: float) -> Tensor:
    return torch.tensor(expression_vector(weights))


def test_eyes_and_mouth_move_coefficients_of_their_own() -> None:
    correctives = new_correctives(1, DIRECTIONS, torch.Generator().manual_seed(0))
    eyes, mouth = (correctives.coefficients(face(**f)) != 0 for f in ({"eyeWideLeft": 1.0}, {"jawOpen": 1.0}))
    assert eyes.any()
    assert mouth.any()
    assert (eyes != mouth).all()


def test_what_no_picture_shows_moves_nothing() -> None:
    shown = torch.stack([face(jawOpen=0.7), face(eyeWideLeft=0.5)])
    correctives = new_correctives(1, DIRECTIONS, torch.Generator().manual_seed(0), shown)
    assert (correctives.coefficients(face(jawOpen=1.0)) != 0).any()
    assert (correctives.coefficients(face(mouthShrugLower=1.0, browDownLeft=1.0)) == 0).all()


def test_skin_follows_what_moves_it(mean_head: PersonalHead) -> None:
    model = mean_head.model
    landmarks = mean_head.model.landmarks(mean_head.neutral)
    centres = mean_head.neutral[model.faces].mean(1)
    chin, brow, top = (torch.cdist(centres, point[None])[:, 0].argmin() for point in (
        landmarks[152], landmarks[105], mean_head.neutral[mean_head.neutral[:, 1].argmax()],
    ))  # fmt: skip
    correctives = new_correctives(3, DIRECTIONS, torch.Generator().manual_seed(0))
    eyes = correctives.coefficients(face(eyeWideLeft=1.0)) != 0
    follows = may_follow(model, torch.stack([chin, brow, top]), DIRECTIONS)
    assert torch.equal(follows[0], ~eyes)
    assert follows[1][eyes].all()
    assert not follows[2].any()


def test_a_fit_to_a_wide_eye_leaves_the_chin(make_avatar: Callable[..., Avatar]) -> None:
    avatar = make_avatar(1500, directions=DIRECTIONS)
    camera = avatar.framing.cameras(torch.zeros(1), torch.zeros(1), 48)[0]
    rest = HeadParameters.at_rest()
    wide = replace(rest, expression=face(eyeWideLeft=1.0, eyeWideRight=1.0)[None])
    white = [
        TrainingPicture(camera, p, moment, torch.ones(48, 48, 3), torch.ones(48, 48), torch.ones(48, 48))
        for moment, p in ((-1, rest), (1, wide))
    ]
    fitted = optimise(avatar, white, Schedule(12, 3, 1500, seed=0), device="cpu")
    moved = fitted.correctives.offsets(wide.expression[0]).norm(dim=-1) > 0
    model = fitted.head.model
    way = (wide.expression[0] @ model.expression_basis.flatten(1)).view(-1, 3).norm(dim=-1)[model.faces].mean(1)
    still = (way[fitted.binding % len(model.faces)] == 0) & (fitted.means[:, 1] < -0.065)
    assert moved.any()
    assert not moved[still].any()
