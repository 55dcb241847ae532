"""Clothes of the photo in the imagined views: where it shows them, in their place, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from avatarcli.gaussians.avatar import SH_C0, Avatar
from avatarcli.gaussians.correctives import new_correctives
from avatarcli.gaussians.initialise import start_gaussians
from avatarcli.gaussians.pictures import TrainingPicture
from avatarcli.gaussians.scene_samples import sample_skin, skin_weights
from avatarcli.gaussians.start import Start
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.mesh import rasterize_mesh
from avatarcli.geometry.rotations import axis_angle_to_matrix, rigid
from avatarcli.head.model import REGIONS, PersonalHead
from avatarcli.head.parameters import HeadParameters
from avatarcli.multiview.framing import Framing
from avatarcli.stages.shown_clothes import ShownClothes

SIZE, SEAM = (
    128,
    0.03,
)  # pixels; metres from the middle to where the red half of the photo's clothes ends and the blue begins
RED, BLUE, GREY = torch.tensor([0.8, 0.1, 0.1]), torch.tensor([0.1, 0.1, 0.8]), torch.full((3,), 0.5)


@pytest.fixture(scope="module")
def bust(mean_head: PersonalHead) -> Avatar:
    """A start on neck, shoulders and head."""
    generator = torch.Generator().manual_seed(0)
    samples = sample_skin(
        mean_head, torch.full((32, 32, 3), 0.5), skin_weights(mean_head, dict.fromkeys(REGIONS, 1.0)), 6000, generator
    )
    return Avatar(
        head=mean_head,
        correctives=new_correctives(6000, 1, generator),
        framing=Framing.of(mean_head.neutral),
        provenance={},
        **start_gaussians(samples, SH_C0)._asdict(),
    )


def view(start: Avatar, degrees: float) -> Camera:
    return start.framing.cameras(torch.deg2rad(torch.tensor([degrees])), torch.zeros(1), SIZE)[0]


def seen(head: PersonalHead, camera: Camera) -> tuple[Tensor, Tensor]:
    """What a camera sees of the head at rest: points [H, W, 3], and which pixels show the torso [H, W] (bool)."""
    model = head.model
    raster = rasterize_mesh(head.neutral, model.faces, camera)
    faces = model.faces[raster.face.clamp(min=0)]
    points = (head.neutral[faces] * raster.weights[..., None]).sum(-2)
    return points, raster.covered & model.in_regions("torso")[faces].all(-1)


def frontal(start: Avatar) -> TrainingPicture:
    """A photo that is red to one side of a seam and blue to the other, as the surface shows it."""
    camera = view(start, 0.0)
    points, _ = seen(start.head, camera)
    color = torch.where(points[..., :1] < SEAM, RED, BLUE)
    ones = torch.ones(SIZE, SIZE)
    return TrainingPicture(camera, HeadParameters.at_rest(), -1, color, ones, ones)


def painted(start: Avatar, photo: TrainingPicture, camera: Camera) -> tuple[Tensor, Tensor]:
    grey = torch.cat([GREY, torch.ones(1)]).expand(SIZE, SIZE, 4)
    return ShownClothes.of(Start(start, "cpu"), [photo]).paint(grey, HeadParameters.at_rest(), camera)


@pytest.mark.parametrize("degrees", [30.0, -30.0, 55.0])
def test_from_aside_clothes_have_the_photos_colors_in_their_places(bust: Avatar, degrees: float) -> None:
    camera = view(bust, degrees)
    picture, share = painted(bust, frontal(bust), camera)
    points, torso = seen(bust.head, camera)
    sure = torso & (share > 0.95)
    assert sure.sum() > 0.25 * torso.sum()
    away = points[..., 0] - SEAM
    for side, color in ((away < -0.006, RED), (away > 0.006, BLUE)):
        assert (sure & side).sum() > 50
        wrong = (picture[..., :3] - color).abs().amax(-1)[sure & side]
        assert wrong.quantile(0.98) < 0.1
    assert (picture[..., 3] == 1).all()


def test_what_the_photo_does_not_show_and_what_is_not_worn_stays(bust: Avatar) -> None:
    for degrees in (0.0, 180.0):
        camera = view(bust, degrees)
        picture, share = painted(bust, frontal(bust), camera)
        model = bust.head.model
        raster = rasterize_mesh(bust.head.neutral, model.faces, camera)
        face = raster.covered & model.in_regions("face", "nose", "scalp")[model.faces[raster.face.clamp(min=0)]].all(-1)
        row = int(face.any(1).nonzero().max())
        above = slice(0, row - SIZE // 16)
        assert share[above].max() < 0.05
        assert (picture[above, :, :3] - GREY).abs().max() < 0.05
    assert share.max() < 0.05  # of the back
    blind = replace(frontal(bust), trust=torch.zeros(SIZE, SIZE))
    assert painted(bust, blind, view(bust, 20.0))[1].max() == 0


def test_a_photo_of_a_bust_that_is_turned_and_shifted_shows_the_same(bust: Avatar) -> None:
    plain, camera = frontal(bust), view(bust, 30.0)
    pose = rigid(axis_angle_to_matrix(torch.tensor([0.0, 0.4, 0.1])), torch.tensor([0.02, -0.01, 0.05]))
    moved = replace(
        plain,
        camera=replace(plain.camera, world_to_camera=plain.camera.world_to_camera @ torch.linalg.inv(pose)),
        parameters=replace(plain.parameters, head_pose=pose[None]),
    )
    for ours, theirs in zip(painted(bust, moved, camera), painted(bust, plain, camera), strict=True):
        torch.testing.assert_close(ours, theirs, atol=0.02, rtol=0)


def test_of_several_photos_the_frontal_one_decides(bust: Avatar) -> None:
    green = replace(frontal(bust), color=torch.tensor([0.1, 0.8, 0.1]).expand(SIZE, SIZE, 3), moment=-2)
    half = torch.ones(SIZE, SIZE)
    half[:, SIZE // 2 :] = 0
    first = replace(frontal(bust), trust=half)
    grey = torch.cat([GREY, torch.ones(1)]).expand(SIZE, SIZE, 4)
    camera = view(bust, 0.0)
    picture, share = ShownClothes.of(Start(bust, "cpu"), [first, green]).paint(grey, HeadParameters.at_rest(), camera)
    _, torso = seen(bust.head, camera)
    sure, columns = torso & (share > 0.95), torch.arange(SIZE)
    for side, color in ((columns < SIZE // 2 - 4, RED), (columns > SIZE // 2 + 4, green.color[0, 0])):
        assert (sure & side).sum() > 50
        assert (picture[..., :3] - color).abs().amax(-1)[sure & side].quantile(0.98) < 0.1
