"""The conditioning maps of the shipped head model."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from avatarcli.diffusion.conditioning import MAP_CHANNELS, Conditioner, Reference, fourier_code
from avatarcli.geometry.cameras import Camera, focal_for_field_of_view, orbit_cameras
from avatarcli.head.expressions import EXPRESSION_INDEX
from avatarcli.head.model import PersonalHead
from avatarcli.head.parameters import HeadParameters
from avatarcli.multiview.framing import Framing

SIZE = 64
POSE, EXPRESSION, RAY, CROP, SEEN = slice(0, 42), slice(42, 45), slice(45, 48), slice(48, 49), slice(49, 51)


def cameras(*yaw: float) -> Camera:
    angles = torch.deg2rad(torch.tensor(yaw))
    focal = focal_for_field_of_view(18, SIZE)
    return orbit_cameras(angles, torch.zeros_like(angles), distance=1.3, target=torch.zeros(3), focal=focal, size=SIZE)


@pytest.fixture(scope="module")
def conditioner(mean_head: PersonalHead) -> Conditioner:
    """A grey photo with a red left half (the picture's, so the subject's right)."""
    picture = torch.cat([torch.full((SIZE, SIZE, 3), 0.5), torch.ones(SIZE, SIZE, 1)], dim=-1)
    picture[:, : SIZE // 2, :3] = torch.tensor([0.9, 0.1, 0.1])
    inside = torch.ones(SIZE, SIZE)
    inside[-16:] = 0
    reference = Reference(picture, inside, cameras(0)[0], HeadParameters.at_rest())
    return Conditioner(mean_head, reference)


def test_fourier_code_tells_positions_apart_and_agrees_with_the_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    position = torch.rand(50, 3, generator=generator) * 4 - 2
    code = fourier_code(position)
    for octave in range(7):
        for axis in range(3):
            angle = position[:, axis] * 2**octave * math.pi / 2
            assert torch.allclose(code[:, 3 * octave + axis], angle.sin(), atol=1e-5)
            assert torch.allclose(code[:, 21 + 3 * octave + axis], angle.cos(), atol=1e-5)
    assert torch.cdist(code, code).fill_diagonal_(9).min() > 0.5


def test_photo_seen_by_its_own_camera_comes_back(conditioner: Conditioner) -> None:
    maps = conditioner.of_reference(SIZE)
    assert maps.maps.shape == (1, MAP_CHANNELS, SIZE // 8, SIZE // 8)
    seen = maps.hint[0, 3] > 0.99
    # The face alone is an eighth of this picture, and its lower quarter lies outside the photo.
    assert seen.float().mean() > 0.1
    assert not seen[-16:].any()
    assert torch.allclose(
        maps.hint[0, :3][:, seen], conditioner.reference.picture[..., :3].permute(2, 0, 1)[:, seen], atol=0.02
    )
    crop = maps.maps[0, CROP]
    assert crop[:, :-2].eq(1).all()
    assert crop[:, -2:].eq(0).all()


def test_each_side_shows_its_half_of_the_photo_and_the_back_nothing(conditioner: Conditioner) -> None:
    views = cameras(-60, 60, 180)
    right, left, back = (conditioner.of_view(HeadParameters.at_rest(), views[i]) for i in range(3))
    redness = [(m.hint[0, 0] - m.hint[0, 1]).sum() / m.hint[0, 3].sum() for m in (right, left)]
    assert redness[0] > 0.6
    assert redness[1] < 0.3
    assert back.hint[0, 3].mean() < 0.02
    # The pose map is there all the same.
    assert back.maps[0, POSE].abs().amax() > 0.9


def test_views_frames_and_given_rasters_agree_one_by_one(conditioner: Conditioner) -> None:
    from avatarcli.diffusion.conditioning import rasterize_frames

    rest = HeadParameters.at_rest(5)
    expression = rest.expression.clone()
    expression[:, EXPRESSION_INDEX["jawOpen"]] = torch.linspace(0, 1, 5)
    parameters = HeadParameters(expression, rest.gaze, rest.neck, rest.head_pose)
    view = cameras(30)
    together = conditioner.of_view(parameters, view[0])
    raster = rasterize_frames(conditioner.head.in_world(parameters), conditioner.head.model.faces, view[0])
    per_frame = Camera(view.world_to_camera.repeat(5, 1, 1), view.K.repeat(5, 1, 1), SIZE, SIZE)
    assert torch.equal(together.maps, conditioner.of_view(parameters, view[0], raster=raster).maps)
    assert torch.allclose(together.maps, conditioner.of_view(parameters, per_frame).maps, atol=1e-6)
    for frame in range(5):
        alone = conditioner.of_view(parameters[frame : frame + 1], view[0])
        assert torch.allclose(together.maps[frame], alone.maps[0], atol=1e-6)
        assert torch.allclose(together.hint[frame], alone.hint[0], atol=1e-6)
    # An opening jaw moves the chin down, and nothing moves at rest.
    assert together.maps[0, EXPRESSION].abs().amax() == 0
    assert together.maps[4, EXPRESSION][1].amin() < -0.5
    assert together.packed().shape == (2, 4 * MAP_CHANNELS, SIZE // 8, SIZE // 8)


def test_rays_are_unit_and_turn_with_the_camera(conditioner: Conditioner) -> None:
    front, side = (conditioner.of_view(HeadParameters.at_rest(), cameras(0, 90)[i]).maps[0, RAY] for i in range(2))
    assert torch.allclose(front.norm(dim=0), torch.ones(SIZE // 8, SIZE // 8), atol=1e-5)
    # The middle of the picture looks along the reference's axis; from the subject's left it looks along the reference's −x.
    assert torch.allclose(front[:, 3:5, 3:5].mean((1, 2)), torch.tensor([0.0, 0.0, 1.0]), atol=1e-2)
    assert torch.allclose(side[:, 3:5, 3:5].mean((1, 2)), torch.tensor([-1.0, 0.0, 0.0]), atol=1e-2)


def test_warp_takes_what_another_photo_sees_better(conditioner: Conditioner) -> None:
    blue = torch.cat([torch.tensor([0.1, 0.1, 0.9]).expand(SIZE, SIZE, 3), torch.ones(SIZE, SIZE, 1)], dim=-1)
    profile = Reference(blue, torch.ones(SIZE, SIZE), cameras(90)[0], HeadParameters.at_rest())
    both = Conditioner(conditioner.head, conditioner.reference, [profile])
    rest = HeadParameters.at_rest()
    front, side = (both.of_view(rest, cameras(yaw)[0]).hint[0] for yaw in (0, 90))
    alone = conditioner.of_view(rest, cameras(90)[0]).hint[0]
    assert (side[3] > 0.99).sum() > 1.5 * (alone[3] > 0.99).sum()
    seen = side[3] > 0.99
    assert (side[2, seen] > 0.8).float().mean() > 0.95
    # In front, the frontal photo decides wherever it shows anything.
    frontal = conditioner.of_view(rest, cameras(0)[0]).hint[0]
    shown = frontal[3] > 0.99
    square = shown & (frontal[4] > 0.7)
    assert (front - frontal)[:, square].abs().mean() < 0.01
    assert not shown[-16:].any()
    # A photo that is not in place to the pixel is carried nowhere.
    loose = Conditioner(conditioner.head, conditioner.reference, [replace(profile, exact=False)])
    assert torch.equal(loose.of_view(rest, cameras(90)[0]).hint[0], alone)


def test_from_its_own_direction_a_photo_decides_alone(conditioner: Conditioner) -> None:
    """Whatever another one, a three-quarter photo, sees more squarely."""
    rest, inside = HeadParameters.at_rest(), torch.ones(SIZE, SIZE)
    red, blue = (torch.tensor([r, 0.1, b, 1.0]).expand(SIZE, SIZE, 4) for r, b in ((0.9, 0.1), (0.1, 0.9)))
    front, beside = cameras(0)[0], cameras(38)[0]
    both = Conditioner(conditioner.head, Reference(red, inside, front, rest), [Reference(blue, inside, beside, rest)])
    for own, camera in ((0, front), (2, beside)):
        hint = both.of_view(rest, camera).hint[0]
        seen = (hint[3] > 0.99) & (hint[4] > 0.4)
        assert (hint[own, seen] > 0.85).float().mean() > 0.97
    between = both.of_view(rest, cameras(19)[0]).hint[0]
    assert min(float((between[color] > 0.5).sum() / (between[3] > 0.99).sum()) for color in (0, 2)) > 0.2


def test_photos_pass_into_each_other_without_a_seam(conditioner: Conditioner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two photos of other colors, one of which ends at the mouth, as a view from between them shows them."""
    rest, size = HeadParameters.at_rest(), 4 * SIZE
    red, blue = (torch.tensor([r, 0.1, b, 1.0]).expand(size, size, 4) for r, b in ((0.9, 0.1), (0.1, 0.9)))
    whole, upper = torch.ones(size, size), torch.ones(size, size)
    upper[int(0.6 * size) :] = 0
    first, second, view = (cameras(yaw)[0].resized(size, size) for yaw in (-25, 25, 0))
    both = Conditioner(conditioner.head, Reference(red, upper, first, rest), [Reference(blue, whole, second, rest)])

    def steps() -> float:
        """The share of the skin at which colors change by a quarter of their difference from one pixel to the next."""
        hint = both.of_view(rest, view).hint[0]
        assert (hint[0] > 0.85).any()
        assert (hint[2] > 0.85).any()
        skin = (hint[3] > 0.99) & (hint[4] > 0.6)
        return float(((hint[0].diff(dim=0).abs() > 0.2) & skin[1:] & skin[:-1]).sum() / skin.sum())

    soft = steps()
    monkeypatch.setattr("avatarcli.diffusion.conditioning._PASSING", 1e-3)
    assert soft < 0.2 * steps()


def test_a_photo_as_a_view_is_cut_to_the_framing_and_to_what_it_shows(conditioner: Conditioner) -> None:
    framing = Framing.of(conditioner.head.neutral)
    view = conditioner.reference.framed(framing, SIZE)
    assert view.picture.shape == (SIZE, SIZE, 4)
    assert view.inside.min() > 0.99
    # The same point of the head has the same color as in the photo.
    nose = conditioner.head.model.landmarks(conditioner.head.neutral)[1:2]
    there, here = view.camera.project(nose)[0][0], conditioner.reference.camera.project(nose)[0][0]
    assert 0 < there.min() < there.max() < SIZE
    left = view.picture[int(there[1]), : max(int(there[0]) - 4, 1), 0]
    assert left.min() > 0.85
    assert int(here[0]) in (SIZE // 2 - 1, SIZE // 2)
