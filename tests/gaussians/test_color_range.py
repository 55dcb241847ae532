"""Colors that pictures agree on, and what a fit does with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from avatarcli.gaussians.avatar import SH_C0, Avatar
from avatarcli.gaussians.color_range import ColorRange, agreed_colors
from avatarcli.gaussians.fit_state import Follows
from avatarcli.gaussians.optimise import optimise
from avatarcli.gaussians.pictures import Schedule, TrainingPicture
from avatarcli.head.parameters import HeadParameters

SKIN, HAIR = torch.tensor([0.7, 0.55, 0.45]), torch.tensor([0.15, 0.1, 0.08])


def strip(count: int) -> Tensor:
    """Places a millimetre from each other on a line."""
    return torch.stack([0.001 * torch.arange(count), torch.zeros(count), torch.zeros(count)], dim=-1)


def every(count: int) -> Tensor:
    return torch.ones(count, dtype=torch.bool)


def holds(colors: ColorRange, color: Tensor) -> Tensor:
    """Which places [G] (bool) may have a color [3]."""
    value = (color - 0.5) / SH_C0
    return ((colors.low <= value) & (value <= colors.high)).all(-1)


def test_one_picture_of_many_does_not_make_skin_hair() -> None:
    points, shown = strip(30), SKIN.expand(4, 30, 3).clone()
    shown[2, 10:20] = HAIR
    agreed = agreed_colors(points, shown, torch.ones(4, 30), every(30), ~every(30))
    assert holds(agreed, SKIN).all()
    assert not holds(agreed, HAIR).any()
    # The same picture counts where it alone looks squarely.
    weights = torch.full((4, 30), 0.1)
    weights[2] = 1
    agreed = agreed_colors(points, shown, weights, every(30), ~every(30))
    assert holds(agreed, HAIR)[10:20].all()
    assert not holds(agreed, HAIR)[[0, 1, 28, 29]].any()


def test_what_all_show_stays_and_its_border_may_move_a_little() -> None:
    """A collar, and a mole of more than a point or two."""
    points, shown = strip(60), SKIN.expand(3, 60, 3).clone()
    shown[:, 40:] = 1.0
    shown[:, 18:25] = HAIR
    agreed = agreed_colors(points, shown, torch.ones(3, 60), every(60), ~every(60))
    white = torch.ones(3)
    assert holds(agreed, white)[40:].all()
    assert not holds(agreed, white)[:30].any()
    assert holds(agreed, HAIR)[19:24].all()
    assert not holds(agreed, HAIR)[:10].any()
    assert holds(agreed, SKIN)[:18].all()
    assert not holds(agreed, SKIN)[50:].any()


def test_each_is_not_followed_alone_where_pictures_disagree() -> None:
    """Half of them show hair: chance decides about each place, not about it and the next one together."""
    generator = torch.Generator().manual_seed(0)
    hair = torch.rand(4, 200, generator=generator) < 0.3
    shown = torch.where(hair[..., None], HAIR, SKIN)
    agreed = agreed_colors(strip(200), shown, torch.ones(4, 200), every(200), ~every(200))
    assert holds(agreed, SKIN).float().mean() > 0.95
    assert holds(agreed, HAIR).float().mean() < 0.3


def test_hidden_places_take_what_is_around_them_and_others_are_free() -> None:
    shown = SKIN.expand(2, 30, 3).clone()
    weights = torch.ones(2, 30)
    weights[:, 12:15] = 0
    shown[:, 12:15] = HAIR
    held = torch.arange(30) < 20
    agreed = agreed_colors(strip(30), shown, weights, held, ~every(30))
    assert holds(agreed, SKIN).all()
    assert not holds(agreed, HAIR)[held].any()
    assert holds(agreed, HAIR)[~held].all()
    for nothing in (torch.zeros(2, 30), weights):
        free = agreed_colors(strip(30), shown, nothing, held & (nothing.sum() > 30), ~every(30))
        assert nothing.sum() > 30 or holds(free, HAIR).all()


def test_what_a_photo_decides_about_keeps_its_detail_but_nothing_else() -> None:
    """Stripes of one point each: votes of places beside each other would make them plain."""
    shown = SKIN.expand(1, 60, 3).clone()
    shown[:, 30::2] = HAIR
    agreed = agreed_colors(strip(60), shown, torch.ones(1, 60), every(60), every(60))
    assert holds(agreed, SKIN).all()
    assert holds(agreed, HAIR)[30:].all()
    # Nor has the photo everything in as many pixels.
    assert holds(agreed, SKIN + 0.09).all()
    for wild in (HAIR, torch.ones(3), torch.zeros(3), SKIN + 0.11):
        assert not holds(agreed, wild)[:20].any()


def test_only_chosen_coefficients_are_brought_back() -> None:
    bounds = ColorRange(torch.full((4, 3), -0.5), torch.full((4, 3), 0.5))
    sh = torch.tensor([-1.0, 0.2, 1.0, 1.0])[:, None, None].repeat(1, 1, 3)
    bounds.hold(sh, torch.tensor([True, True, True, False]))
    assert sh[:, 0, 0].tolist() == pytest.approx([-0.5, 0.2, 0.5, 1.0])


def test_a_fit_keeps_to_agreed_colors_also_where_gaussians_are_added(make_avatar: Callable[..., Avatar]) -> None:
    """The picture is red; skin may hardly be."""
    blank = make_avatar(1500, seed=2)
    blank = replace(blank, sh=torch.zeros_like(blank.sh))
    camera = blank.framing.cameras(torch.zeros(1), torch.zeros(1), 48)[0]
    drawn = blank.render(blank.rig(), HeadParameters.at_rest(), camera)
    red = drawn.alpha[..., None] * torch.tensor([1.0, 0.0, 0.0])
    picture = TrainingPicture(camera, HeadParameters.at_rest(), -1, red, drawn.alpha, torch.ones(48, 48))
    skin = (blank.binding < len(blank.head.model.faces))[:, None]
    bounds = ColorRange.free(blank.means)
    bounds = ColorRange(bounds.low.where(~skin, -0.1), bounds.high.where(~skin, 0.1))
    fitted = optimise(blank, [picture], Schedule(60, 3, 1800, seed=0), colors=bounds, device="cpu")
    assert fitted.count > 1500
    skin = fitted.binding < len(blank.head.model.faces)
    assert fitted.sh[skin].abs().max() <= 0.1
    assert fitted.sh[~skin].max() > 0.5
    # What is combed has its colors from elsewhere.
    combed = optimise(
        blank,
        [picture],
        Schedule(9, 3, 1500, seed=0),
        colors=bounds,
        device="cpu",
        comb=lambda avatar: (
            replace(avatar, sh=torch.ones_like(avatar.sh)),
            torch.full((avatar.count,), int(Follows.NONE)),
        ),
    )
    assert torch.equal(combed.sh, torch.ones_like(combed.sh))
