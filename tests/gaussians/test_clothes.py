"""Clothes cling to their surface; shreds of them before the background go, hair and what no picture shows stay."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from avatarcli.gaussians.clothes import Surface, Witness, find_strays
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.rotations import axis_angle_to_matrix, matrix_to_quaternion, quaternion_to_matrix
from avatarcli.head.model import PersonalHead
from avatarcli.multiview.framing import Framing

SIZE = 200
PLACES = torch.tensor([[0.0, -0.15, 0.05], [0.08, -0.15, 0.0], [0.08, -0.15, 0.0], [0.0, -5.0, 0.0]])
"""In the middle of the chest; beside it twice, once as clothes and once as hair; below every picture."""


def binding(head: PersonalHead) -> Tensor:
    torso, scalp = (
        head.model.in_regions(name)[head.model.faces].all(-1).nonzero()[0, 0] for name in ("torso", "scalp")
    )
    return torch.stack([torso, len(head.model.faces) + torso, scalp, torso])


def cameras(head: PersonalHead) -> Camera:
    return Framing.of(head.neutral).cameras(torch.tensor([0.0, 0.3, -0.3]), torch.zeros(3), SIZE)


def found(head: PersonalHead, alphas: list[Tensor], photo: Tensor | None = None, known: bool = True) -> list[bool]:
    """What some views say, and a photo that looks as the last of them does."""
    views = cameras(head)
    everywhere = torch.full((SIZE, SIZE), True)
    witnesses = [Witness(views[n], alpha, everywhere, PLACES, False) for n, alpha in enumerate(alphas)]
    if photo is not None:
        witnesses.append(Witness(views[2], photo, everywhere & known, PLACES, True))
    return find_strays(head, binding(head), witnesses).tolist()


def column(camera: Camera, place: Tensor, half: float) -> Tensor:
    """A matte that is full in a column of 2 · half pixels around a place."""
    middle = camera.project(place[None])[0][0, 0]
    return ((torch.arange(SIZE) + 0.5 - middle).abs() < half).float().expand(SIZE, SIZE).clone()


@pytest.mark.parametrize(("views", "goes"), [(1, False), (2, True), (3, True)])
def test_two_views_tell_that_it_floats(mean_head: PersonalHead, views: int, goes: bool) -> None:
    every = cameras(mean_head)
    alphas = [column(every[n], PLACES[0], 8.0) for n in range(views)]
    assert found(mean_head, alphas) == [False, goes, False, False]


def test_a_photo_counts_as_two_views_where_it_is_believed(mean_head: PersonalHead) -> None:
    every = cameras(mean_head)
    alphas = [column(every[n], PLACES[0], 8.0) for n in range(2)]
    nothing, person = column(every[2], PLACES[0], 8.0), torch.ones(SIZE, SIZE)
    assert found(mean_head, [], nothing)[1]
    assert not found(mean_head, [], nothing, known=False)[1]
    assert not found(mean_head, alphas, person)[1]
    assert found(mean_head, alphas, person, known=False)[1]


def test_what_stands_at_an_outline_stays(mean_head: PersonalHead) -> None:
    """Outlines are known to about a pixel: half a pixel outside is no offence, five pixels are."""
    every = cameras(mean_head)
    for outside, goes in ((0.5, False), (5.0, True)):
        alphas = []
        for n in range(2):
            pixel = every[n].project(PLACES[1][None])[0][0, 0]
            alphas.append((torch.arange(SIZE) + 0.5 < pixel - outside).float().expand(SIZE, SIZE).clone())
        assert found(mean_head, alphas)[1] == goes


def test_pictures_full_of_the_person_object_to_nothing(mean_head: PersonalHead) -> None:
    assert found(mean_head, [torch.ones(SIZE, SIZE)] * 3) == [False] * 4


def test_clothes_slide_along_their_surface_and_do_not_leave_it() -> None:
    normals = torch.tensor([[0.0, 0.6, 0.8]])
    along = torch.tensor([[0.0, 0.008, -0.006]])  # at a right angle to the normal
    points = torch.rand(3, 3, generator=torch.Generator().manual_seed(0))
    means = points + torch.stack([along[0] + 0.02 * normals[0], along[0] - 0.003 * normals[0], 0.02 * normals[0]])
    before = means.clone()
    surface = Surface(torch.tensor([0, 1]), points[:2], normals.expand(2, 3), torch.tensor([0.03, 0.03]))
    turns, sizes = torch.tensor([[1.0, 0, 0, 0]]).repeat(3, 1), torch.full((3, 3), -9.0)
    surface.hold(means, turns, sizes)
    height = ((means - points) * normals).sum(-1)
    torch.testing.assert_close(height, torch.tensor([0.003, -0.003, 0.02]), atol=1e-5, rtol=0)
    # What may stray less keeps nearer.
    surface._replace(reach=torch.tensor([0.004, 0.004])).hold(means, turns, sizes)
    height = ((means - points) * normals).sum(-1)
    torch.testing.assert_close(height, torch.tensor([0.00075, -0.002, 0.02]), atol=1e-5, rtol=0)
    slid = (means - before) - ((means - before) * normals).sum(-1, keepdim=True) * normals
    assert slid.abs().max() < 1e-6


def test_needles_may_lie_on_the_surface_and_not_stand_out_of_it() -> None:
    """Deviations across the surface: a flat disc keeps its size, a needle that stands upright or aslant is cut."""
    flat = torch.zeros(3)
    aslant, upright = torch.tensor([0.0, torch.pi / 4, 0.0]), torch.tensor([0.0, torch.pi / 2, 0.0])
    turn = axis_angle_to_matrix(torch.stack([flat, aslant, upright]))
    quaternions = matrix_to_quaternion(turn)
    log_scales = torch.tensor([0.02, 0.001, 0.001]).log().repeat(3, 1)
    before = log_scales.clone()
    normals = torch.tensor([[0.0, 0.0, 1.0]]).repeat(3, 1)
    Surface(torch.arange(3), torch.zeros(3, 3), normals, torch.ones(3)).hold(torch.zeros(3, 3), quaternions, log_scales)
    axes = quaternion_to_matrix(quaternions) * log_scales.exp()[:, None]
    assert torch.equal(log_scales[0], before[0])
    assert (axes[:, 2].abs() < 0.00151).all()
    assert (log_scales[1:, 0] < before[1:, 0] - 1).all()
    assert torch.equal(log_scales[:, 1], before[:, 1])
