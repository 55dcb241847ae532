"""What the training pictures agree on about skin and clothes."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from avatarcli.gaussians.avatar import SH_C0, Avatar
from avatarcli.gaussians.color_range import ColorRange
from avatarcli.gaussians.hair import HairPhoto
from avatarcli.gaussians.pictures import FRONTAL, TrainingPicture
from avatarcli.gaussians.start import Start
from avatarcli.geometry.colors import log_colors
from avatarcli.head.model import PersonalHead
from avatarcli.head.parameters import HeadParameters
from avatarcli.stages.shown_colors import shown_colors
from toy_photos import SIZE, bare, view

SKIN, DARK = (0.7, 0.55, 0.45), (0.12, 0.1, 0.1)


def colored(avatar: Avatar, dark: Tensor) -> Avatar:
    """Skin, with some Gaussians [G] (bool) as dark as hair."""
    color = torch.where(dark[:, None], torch.tensor(DARK), torch.tensor(SKIN))
    return replace(avatar, sh=((color - 0.5) / SH_C0)[:, None])


def picture(avatar: Avatar, degrees: float, moment: int = 0) -> TrainingPicture:
    camera, rest = view(avatar.head, degrees), HeadParameters.at_rest()
    drawn = avatar.render(avatar.rig(), rest, camera)
    return TrainingPicture(camera, rest, moment, drawn.color, drawn.alpha, torch.ones(SIZE, SIZE))


def of_regions(avatar: Avatar, *names: str) -> Tensor:
    """Which Gaussians [G] (bool) are carried by triangles wholly of these regions."""
    return avatar.head.model.in_regions(*names)[avatar.head.model.faces[avatar.binding]].all(-1)


def may_be(colors: ColorRange, color: tuple[float, float, float]) -> Tensor:
    value = (torch.tensor(color) - 0.5) / SH_C0
    return ((colors.low <= value) & (value <= colors.high)).all(-1)


def test_a_neck_has_no_spot_that_one_view_alone_imagines(mean_head: PersonalHead) -> None:
    start = bare(mean_head)
    left = of_regions(start, "neck") & (start.means[:, 0] > 0.03)
    plain, spotted = colored(start, torch.zeros_like(left)), colored(start, left)
    sides = (30.0, 50.0, 70.0, 90.0, 110.0)
    for others, allowed in ((plain, False), (spotted, True)):
        pictures = [picture(spotted if degrees == 70.0 else others, degrees) for degrees in sides]
        agreed = shown_colors(Start(plain, "cpu"), pictures)
        assert (may_be(agreed, DARK)[left].float().mean() > 0.9) == allowed
        assert allowed or may_be(agreed, DARK)[left].float().mean() < 0.05
        # What none of them sees, on the other side, takes what is nearest; eyes and lips are not held.
        eyes = of_regions(start, "eye", "lip")
        assert torch.isinf(agreed.low[eyes]).all()


def test_what_the_photo_sees_squarely_it_decides_about(mean_head: PersonalHead) -> None:
    """A pendant, say, that no view shows."""
    start = bare(mean_head)
    normal_ahead = start.means[:, 2] > start.means[of_regions(start, "neck"), 2].quantile(0.8)
    pendant = of_regions(start, "neck", "torso") & normal_ahead & (start.means[:, 0].abs() < 0.03)
    plain, worn = colored(start, torch.zeros_like(pendant)), colored(start, pendant)
    views = [picture(plain, degrees) for degrees in (-40.0, 0.0, 40.0)]
    agreed = shown_colors(Start(plain, "cpu"), [picture(worn, 0.0, FRONTAL), *views])
    assert may_be(agreed, DARK)[pendant].float().mean() > 0.5
    # A moving chin may hide in all pictures what the start shows in the photo: without bounds it would drift to any color.
    assert not may_be(agreed, (1.0, 1.0, 1.0))[pendant].any()
    assert may_be(shown_colors(Start(plain, "cpu"), views), DARK)[pendant].float().mean() < 0.05


def test_hair_beside_a_neck_is_not_painted_on_its_skin(mean_head: PersonalHead) -> None:
    """The photo shows hair where the views show the neck's side: it hangs before it, or behind."""
    start = bare(mean_head)
    neck = of_regions(start, "neck") & (start.means[:, 2] > 0)
    hidden = neck & (start.means[:, 0].abs() > 0.02)
    plain, hairy = colored(start, torch.zeros_like(hidden)), colored(start, hidden)
    photo = picture(hairy, 0.0, FRONTAL)
    views = [picture(plain, degrees) for degrees in (-60.0, -30.0, 30.0, 60.0)]
    on_hair = ((photo.color.mean(-1) / photo.alpha.clamp(min=0.1) < 0.3) & (photo.alpha > 0.5)).float()
    hair = HairPhoto(
        photo.camera,
        photo.parameters,
        log_colors(photo.color),
        on_hair,
        1 - on_hair,
        SIZE,
        log_colors(torch.tensor(DARK)),
    )
    believed, doubted = (
        may_be(shown_colors(Start(plain, "cpu"), [photo, *views], h), DARK)[hidden] for h in (None, hair)
    )
    assert believed.float().mean() > 0.5
    assert doubted.float().mean() < 0.15
    # Where the views show hair too, it is hair.
    views = [picture(hairy, degrees) for degrees in (-60.0, -30.0, 30.0, 60.0)]
    assert may_be(shown_colors(Start(plain, "cpu"), [photo, *views], hair), DARK)[hidden].float().mean() > 0.8
