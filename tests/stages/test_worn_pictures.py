"""Clothes and shoulders in training pictures: how far a photo is believed about them, and how they go on below it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from avatarcli.capture.portrait import Label, Portrait
from avatarcli.capture.preprocessed import Preprocessed
from avatarcli.gaussians.avatar import SH_C0, Avatar
from avatarcli.gaussians.pictures import TrainingPicture
from avatarcli.gaussians.start import Start
from avatarcli.geometry.rotations import axis_angle_to_matrix
from avatarcli.head.model import REGIONS, PersonalHead
from avatarcli.head.parameters import HeadParameters
from avatarcli.multiview.framing import Framing
from avatarcli.multiview.pictures import MultiViewVideo
from avatarcli.multiview.plan import make_plan
from avatarcli.stages.below_photo import continued_below, view_nearest
from avatarcli.stages.training_pictures import (
    Authority,
    photo_picture,
    with_shown_clothes,
    without_contradictions,
)
from toy_photos import SIZE, bare, start_of, track_of, view


def test_shoulders_that_the_views_do_not_know_are_not_believed(mean_head: PersonalHead) -> None:
    """The photo's matte reaches beyond the start on one side, below the chin and above it: below, it does not count there."""
    camera, rest = view(mean_head, 0.0), HeadParameters.at_rest()
    model, start = mean_head.model, start_of(mean_head)
    alpha = start.draw(rest, camera).alpha.clamp(0, 1)
    landmarks, _ = camera.project(model.landmarks(mean_head.neutral))
    chin = int(landmarks[152, 1])
    column = 20
    for row in (chin - 40, chin + 12):
        alpha[row - 6 : row + 6, column - 6 : column + 6] = 1 - alpha[row, column].round()
    photo = TrainingPicture(camera, rest, -1, torch.zeros(SIZE, SIZE, 3), alpha, torch.ones(SIZE, SIZE))
    trust = without_contradictions(photo, start, track_of(mean_head, camera, landmarks), SIZE).trust
    assert trust[chin + 12, column] < 0.05
    assert trust[chin - 40, column] == 1
    assert trust.mean() > 0.9
    # Labelled as clothes, a raised collar, it does not count above the chin either.
    clothes = torch.zeros(SIZE, SIZE)
    clothes[:, : column + 10] = 1
    trust = without_contradictions(photo, start, track_of(mean_head, camera, landmarks), SIZE, clothes).trust
    assert trust[chin - 40, column] < 0.05
    assert trust.mean() > 0.9


def cut_off(head: PersonalHead, label: Label) -> tuple[TrainingPicture, Portrait]:
    """A photo that ends at the height of the chest, 30 rows above its crop's lower border: a red tie on something blue."""
    column, row = torch.arange(SIZE), torch.arange(SIZE)[:, None]
    color = torch.where(
        ((column - 64).abs() < 6)[:, None], torch.tensor([0.8, 0.1, 0.1]), torch.tensor([0.1, 0.1, 0.6])
    )
    inside = (row < SIZE - 30).float().expand(SIZE, SIZE).clone()
    alpha = inside * ((column - 64).abs() < 50)
    labels = torch.full((SIZE, SIZE), int(label), dtype=torch.uint8)
    color = color.expand(SIZE, SIZE, 3)
    camera, rest = view(head, 0.0), HeadParameters.at_rest()
    photo = TrainingPicture(camera, rest, -1, color * alpha[..., None], alpha, inside)
    return photo, Portrait(color, color, alpha, inside, labels)


def nothing(head: PersonalHead) -> TrainingPicture:
    """A view that shows nobody."""
    blank = torch.zeros(SIZE, SIZE)
    return TrainingPicture(view(head, 0.0), HeadParameters.at_rest(), 0, torch.zeros(SIZE, SIZE, 3), blank, blank + 1)


def test_below_a_photo_clothes_are_as_the_view_from_there_shows_them(mean_head: PersonalHead) -> None:
    photo, portrait = cut_off(mean_head, Label.CLOTHES)
    border, green = SIZE - 30, torch.tensor([0.1, 0.7, 0.2])
    shows = replace(nothing(mean_head), color=green.expand(SIZE, SIZE, 3), alpha=torch.ones(SIZE, SIZE))
    start = start_of(mean_head)
    made = continued_below(photo, portrait, start, shows)
    assert torch.equal(made.color[:border], photo.color[:border])
    torch.testing.assert_close(made.color[border, 64], torch.tensor([0.8, 0.1, 0.1]), atol=0.1, rtol=0)
    solid = start.draw(photo.parameters, made.camera).alpha > 0.99
    below = solid & (torch.arange(made.camera.height) > border + 12)[:, None]
    below[SIZE:] = False  # farther down than the view shows
    below[:, :20], below[:, 110:] = False, False
    assert below.sum() > 500
    assert (made.color[below] - green).abs().mean() < 0.02
    assert made.trust[below].min() > 0.9


def test_beside_hair_views_are_not_asked_what_is_worn_below(mean_head: PersonalHead) -> None:
    photo, portrait = cut_off(mean_head, Label.CLOTHES)
    assert portrait.labels is not None
    portrait.labels[:, 30:44] = int(Label.HAIR)
    green = torch.tensor([0.1, 0.7, 0.2])
    shows = replace(nothing(mean_head), color=green.expand(SIZE, SIZE, 3), alpha=torch.ones(SIZE, SIZE))
    made = continued_below(photo, portrait, start_of(mean_head), shows)
    row = SIZE - 8
    torch.testing.assert_close(made.color[row, 46], torch.tensor([0.1, 0.1, 0.6]), atol=0.05, rtol=0)
    torch.testing.assert_close(made.color[row, 90], green, atol=0.05, rtol=0)


def test_the_view_that_looks_from_where_the_photo_does_goes_on_for_it(mean_head: PersonalHead, tmp_path: Path) -> None:
    framing = Framing.of(mean_head.neutral)
    face = mean_head.neutral[mean_head.model.in_regions("face")]
    video = MultiViewVideo(tmp_path, make_plan(framing, face, views=8, face_views=1, frames=1, size=16), framing, "toy")
    for place in video.plan.pictures:
        video.write_frame(*place, torch.full((16, 16, 4), place[0] / 10))
    photo, _ = cut_off(mean_head, Label.CLOTHES)
    turn = torch.eye(4)
    turn[:3, :3] = axis_angle_to_matrix(torch.tensor([0.0, torch.pi / 2, 0.0]))
    turned = replace(photo.parameters, head_pose=turn[None])
    for parameters, shown in ((photo.parameters, 0), (turned, 6)):
        found = view_nearest(replace(photo, parameters=parameters), video)
        assert torch.equal(found.camera.centre, video.plan.cameras[shown].centre)
        assert found.alpha.mean() == pytest.approx(shown / 10, abs=0.01)


def test_clothes_go_on_below_the_border_of_a_photo(mean_head: PersonalHead) -> None:
    photo, portrait = cut_off(mean_head, Label.CLOTHES)
    made = continued_below(photo, portrait, start_of(mean_head), nothing(mean_head))
    border = SIZE - 30
    assert torch.equal(made.color[:border], photo.color[:border])
    assert torch.equal(made.trust[:border], photo.trust[:border])
    low = slice(border, made.camera.height)
    assert made.color.shape == (made.camera.height, SIZE, 3)
    assert (made.camera.K == photo.camera.K).all()
    assert made.trust[low].min() > 0.9
    tie, cloth, beside = (
        made.color[low, columns].mean((0, 1)) for columns in (slice(62, 66), slice(90, 100), slice(0, 6))
    )
    torch.testing.assert_close(tie, torch.tensor([0.8, 0.1, 0.1]), atol=0.1, rtol=0)
    torch.testing.assert_close(cloth, torch.tensor([0.1, 0.1, 0.6]), atol=0.02, rtol=0)
    assert beside.max() < 0.05
    assert made.alpha[low, :6].max() < 0.1


def test_of_a_neckline_nobody_knows_how_it_goes_on(mean_head: PersonalHead) -> None:
    photo, portrait = cut_off(mean_head, Label.CLOTHES)
    border, shown = SIZE - 30, 8  # rows
    labels = portrait.labels
    assert labels is not None
    labels[: border - shown] = int(Label.SKIN)
    made = continued_below(photo, portrait, start_of(mean_head), nothing(mean_head))
    assert made.trust[border : border + shown // 2, 20:50].min() > 0.9
    assert made.trust[border + shown + 1 :].max() < 0.1


def test_nobody_fades_out_at_the_border_of_a_photo(mean_head: PersonalHead) -> None:
    _, portrait = cut_off(mean_head, Label.CLOTHES)
    border = SIZE - 30
    for picture in (portrait.matte, portrait.inside):
        picture[border] = 0.7 * picture[border - 1]  # of a row that the photo ends in
    track = track_of(mean_head, view(mean_head, 0.0), torch.zeros(478, 2))
    made = photo_picture(Preprocessed(portrait, track), SIZE)
    assert made.alpha[border, 20:110].min() > 0.99
    torch.testing.assert_close(made.color[border, 20:110], made.color[border - 1, 20:110])
    assert made.trust[border, 20:110].max() == pytest.approx(0.7)
    assert made.alpha[border + 1 :].max() == 0


@pytest.mark.parametrize("label", [Label.SKIN, Label.HAIR, None])
def test_below_the_border_nothing_but_clothes_goes_on(mean_head: PersonalHead, label: Label | None) -> None:
    photo, portrait = cut_off(mean_head, label or Label.CLOTHES)
    portrait = portrait if label else replace(portrait, labels=None)
    made = continued_below(photo, portrait, start_of(mean_head), nothing(mean_head))
    assert torch.equal(made.trust[: SIZE - 30], photo.trust[: SIZE - 30])
    assert made.trust[SIZE - 30 :].max() == 0


def test_skin_that_is_labelled_as_clothes_does_not_go_on(mean_head: PersonalHead) -> None:
    photo, portrait = cut_off(mean_head, Label.CLOTHES)
    skin, neckline = torch.tensor([0.8, 0.6, 0.5]), slice(70, 90)
    color, labels = portrait.foreground.clone(), portrait.labels
    assert labels is not None
    color[:, neckline], color[:40], labels[:40] = skin, skin, int(Label.SKIN)
    photo = replace(photo, color=color * photo.alpha[..., None])
    made = continued_below(photo, replace(portrait, foreground=color), start_of(mean_head), nothing(mean_head))
    low = slice(SIZE - 30, made.camera.height)
    assert made.trust[low, 76:84].max() < 0.1
    assert made.trust[low, 20:60].min() > 0.9


def test_clothes_that_a_photo_shows_start_as_it_shows_them(mean_head: PersonalHead) -> None:
    bust, rest, camera = bare(mean_head), HeadParameters.at_rest(), view(mean_head, 0.0)
    region = mean_head.model.region[mean_head.model.faces[bust.binding]].long()
    torso, nose = ((region == REGIONS.index(name)).all(-1) for name in ("torso", "nose"))
    blue = (torch.tensor([0.1, 0.1, 0.8]) - 0.5) / SH_C0
    start = replace(bust, sh=torch.where(torso[:, None, None], blue, bust.sh))
    red = torch.tensor([0.8, 0.1, 0.1]).expand(SIZE, SIZE, 3)
    ones = torch.ones(SIZE, SIZE)
    photo = TrainingPicture(camera, rest, -1, red, ones, ones)
    authority = Authority.of(Start(start, "cpu"), [photo])

    def made(of: Avatar) -> tuple[Avatar, Tensor]:
        faint = replace(of, opacity_logits=torch.full_like(of.opacity_logits, -1.0))
        worn, reach = with_shown_clothes(Start(faint, "cpu"), torch.full((of.count,), 0.015), [photo], authority)
        return worn.avatar, reach

    worn, reach = made(start)
    front, back = torso & (authority.share[0] > 0.9), torso & (start.means[:, 2] < -0.08)
    assert front.sum() > 20
    color = 0.5 + SH_C0 * worn.sh[:, 0]
    torch.testing.assert_close(color[front], red[0, 0].expand_as(color[front]), atol=1e-4, rtol=0)
    assert worn.opacity_logits[front].min() > 2
    assert reach[front].max() < 0.01
    for other in (back, nose):
        assert torch.equal(worn.sh[other], start.sh[other])
        assert worn.opacity_logits[other].max() == -1
        assert reach[other].min() == pytest.approx(0.015)
    # What the views show as skin is none of the clothes.
    skin, _ = made(bust)
    assert torch.equal(skin.sh, bust.sh)
