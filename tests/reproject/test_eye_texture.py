"""Eyes from the part that a photo shows: whole and round, without a piece of the lids."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from avatarcli.head.model import PersonalHead
from avatarcli.reproject.eye_texture import EYES, ShownEye, paint_eyes

IRIS, WHITE, SKIN, LASH = (
    torch.tensor(c) for c in ((0.2, 0.3, 0.4), (0.8, 0.8, 0.78), (0.7, 0.5, 0.4), (0.1, 0.08, 0.07))
)
RADIUS = math.radians(24)


def sphere(head: PersonalHead, name: str = "eye_l") -> tuple[Tensor, Tensor]:
    """Points [T, 3] on the front of an eye, and their angles [T, 2] to the side and up, in radii of the iris."""
    steps = torch.linspace(-2.5, 2.5, 81)
    flat = torch.cartesian_prod(steps, steps)
    angle = flat.norm(dim=-1) * RADIUS
    aside = torch.nn.functional.normalize(flat, dim=-1) * angle.sin()[:, None]
    centre = head.joints[head.model.joint_names.index(name)]
    return centre + 0.015 * torch.cat([aside, angle.cos()[:, None]], dim=-1), flat


def photo(flat: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """What a photo says of an eye whose iris is at `centre`: colors and trust. Lids reach into what it is trusted for."""
    iris = (flat - centre).norm(dim=-1) < 1
    color = torch.where(iris[:, None], IRIS, WHITE)
    color = torch.where((flat[:, 1] > 0.65)[:, None], LASH, torch.where((flat[:, 1] < -0.75)[:, None], SKIN, color))
    return color, (flat[:, 1].abs() < 1).float()


def painted(head: PersonalHead, color: Tensor, trust: Tensor) -> Tensor:
    """The left eye, of which the photo says this; of the other it says nothing."""
    return both(head, (color, trust), (color, trust * 0))[0]


def both(head: PersonalHead, *says: tuple[Tensor, Tensor]) -> list[Tensor]:
    return paint_eyes(head, [ShownEye(sphere(head, name)[0], *said) for name, said in zip(EYES, says, strict=True)])


@pytest.mark.parametrize("centre", [(0.0, 0.0), (0.3, -0.1), (-0.4, 0.1)])
def test_the_iris_is_found_and_round_and_the_lids_are_gone(
    mean_head: PersonalHead, centre: tuple[float, float]
) -> None:
    _, flat = sphere(mean_head)
    middle = torch.tensor(centre)
    color, trust = photo(flat, middle)
    eye = painted(mean_head, color, trust)
    radius = (flat - middle).norm(dim=-1)
    ring = (radius > 0.5) & (radius < 0.75)
    assert (eye[ring] - IRIS).abs().mean() < 0.06  # above and below too, where lids hide it
    white = (radius > 1.4) & (radius < 2)
    assert eye[white].mean() > 0.65
    assert eye[white].std(0).amax() < 0.05


def test_reflections_in_the_iris_stay(mean_head: PersonalHead) -> None:
    _, flat = sphere(mean_head)
    color, trust = photo(flat, torch.zeros(2))
    spark = (flat - torch.tensor([0.2, 0.2])).norm(dim=-1) < 0.15
    color[spark] = 0.95
    assert painted(mean_head, color, trust)[spark].mean() > 0.8


def test_an_eye_that_the_photo_does_not_show_is_any_eye(mean_head: PersonalHead) -> None:
    _, flat = sphere(mean_head)
    color, trust = photo(flat, torch.zeros(2))
    eye = painted(mean_head, color, trust * 0)
    assert eye[flat.norm(dim=-1) < 0.3].mean() < 0.1
    assert eye[(flat.norm(dim=-1) > 1.3)].mean() > 0.6


def test_an_iris_behind_a_reflection_is_like_the_other(mean_head: PersonalHead) -> None:
    _, flat = sphere(mean_head)
    shown, hidden = photo(flat, torch.zeros(2)), (torch.full((len(flat), 3), 0.9), (flat[:, 1].abs() < 1).float())
    left, right = both(mean_head, hidden, shown)
    iris = (flat.norm(dim=-1) > 0.5) & (flat.norm(dim=-1) < 0.75)
    assert (left[iris] - IRIS).abs().mean() < 0.06
    assert (right[iris] - IRIS).abs().mean() < 0.06
