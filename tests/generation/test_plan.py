"""The plan: cameras on all sides, and a clip in which every part of the face moves."""

from __future__ import annotations

import math

import pytest
import torch

from avatarcli.generation.plan import make_plan, scheduled_clip, with_face_views
from avatarcli.geometry.framing import DISTANCE, Framing
from avatarcli.head.expressions import EXPRESSION_INDEX
from avatarcli.head.model import HeadModel, PersonalHead, gaze_from_expression

FRAMING = Framing((0.0, -0.05, 0.0), 0.5)


@pytest.mark.parametrize("views", [1, 2, 12, 16, 24])
def test_cameras_stand_all_around_at_all_heights(views: int) -> None:
    plan = make_plan(FRAMING, views, 3, 64)
    assert (plan.views, plan.frames) == (views, 3)
    assert (plan.cameras.width, plan.cameras.height) == (64, 64)
    offset = plan.cameras.centre - torch.tensor(FRAMING.target)
    torch.testing.assert_close(offset.norm(dim=-1), torch.full((views,), DISTANCE), atol=1e-4, rtol=0)
    yaw = torch.rad2deg(torch.atan2(offset[:, 0], offset[:, 2])) % 360
    torch.testing.assert_close(
        torch.cos(torch.deg2rad(yaw)), torch.cos(torch.arange(views) / views * 2 * math.pi), atol=1e-4, rtol=0
    )
    gaps = torch.cat([yaw.sort().values.diff(), yaw.sort().values[:1] + 360 - yaw.sort().values[-1:]])
    assert gaps.max() <= 360 / views + 0.1
    elevation = torch.rad2deg(torch.asin(offset[:, 1] / DISTANCE))
    assert elevation.min() >= -18.1
    assert elevation.max() <= 40.1
    if views >= 12:
        assert elevation.min() < -15
        assert elevation.max() > 35
    assert elevation[0] == pytest.approx(0.0, abs=0.1)  # the first looks straight at the face
    assert yaw[0] == pytest.approx(0.0, abs=0.1)
    # Every one of them has the target in the middle of the picture.
    pixels, _ = plan.cameras.project(torch.tensor(FRAMING.target)[None])
    torch.testing.assert_close(pixels, torch.full_like(pixels, 32.0), atol=1e-2, rtol=0)


@pytest.mark.parametrize("frames", [1, 2, 5, 9, 17, 33])
def test_the_clip_starts_at_rest_and_holds_valid_values(frames: int) -> None:
    clip = scheduled_clip(frames)
    assert len(clip) == frames
    assert clip.expression.shape == (frames, 52)
    assert (clip.expression[0] == 0).all()
    assert (clip.gaze[0] == 0).all()
    assert clip.expression.min() >= 0
    assert clip.expression.max() <= 1
    assert (clip.neck == 0).all()  # the head stays: cameras go around it instead
    assert (clip.head_pose == torch.eye(4)).all()
    torch.testing.assert_close(clip.gaze, gaze_from_expression(clip.expression))


@pytest.mark.parametrize("frames", [9, 17])
def test_every_part_of_the_face_has_its_turn(frames: int) -> None:
    clip = scheduled_clip(frames)
    peak = clip.expression.amax(0)
    for name in (
        "jawOpen", "jawLeft", "jawRight", "mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft", "mouthPucker", "mouthFunnel",
        "mouthLeft", "mouthRight", "mouthUpperUpLeft", "mouthPressRight", "mouthRollLower", "mouthRollUpper",
        "browInnerUp", "browOuterUpLeft", "browDownLeft", "browDownRight", "eyeBlinkLeft", "eyeBlinkRight",
        "eyeWideLeft", "eyeSquintRight", "cheekPuff", "cheekSquintLeft", "noseSneerLeft",
    ):  # fmt: skip
        assert peak[EXPRESSION_INDEX[name]] >= 0.3, name
    both_closed = clip.expression[:, [EXPRESSION_INDEX["eyeBlinkLeft"], EXPRESSION_INDEX["eyeBlinkRight"]]].amin(1)
    assert both_closed.max() == 1
    # The eyes look to both sides, up and down.
    assert clip.gaze[..., 0].max() > 0.2
    assert clip.gaze[..., 0].min() < -0.2
    assert clip.gaze[..., 1].max() > 0.1
    assert clip.gaze[..., 1].min() < -0.1


def test_more_frames_are_the_same_clip_in_smaller_steps() -> None:
    coarse, fine = scheduled_clip(9), scheduled_clip(17)
    torch.testing.assert_close(fine.expression[::2], coarse.expression)
    torch.testing.assert_close(fine.expression[1::2], (coarse.expression[1:] + coarse.expression[:-1]) / 2)


def test_pictures_of_other_sizes_show_the_same(model: HeadModel) -> None:
    points = model.mean[::50]
    small, large = make_plan(FRAMING, 4, 1, 32).cameras, make_plan(FRAMING, 4, 1, 128).cameras
    torch.testing.assert_close(4 * small.project(points)[0], large.project(points)[0], atol=1e-2, rtol=0)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_face_views_hold_the_face_whatever_it_does(model: HeadModel, mean_head: PersonalHead, count: int) -> None:
    face = model.in_regions("face", "nose", "lip", "eyelid")
    heads = make_plan(FRAMING, 5, 9, 64)
    plan = with_face_views(heads, FRAMING, mean_head.neutral[face], count)
    assert (plan.views, plan.crops, plan.frames) == (5 + count, count, 9)
    torch.testing.assert_close(plan.cameras[:5].K, heads.cameras.K)
    torch.testing.assert_close(plan.cameras[:5].world_to_camera, heads.cameras.world_to_camera)
    clip = plan.parameters
    points = mean_head.vertices(clip.expression, clip.gaze, clip.neck)[:, face]
    for camera in (plan.cameras[view] for view in range(5, plan.views)):
        pixels, _ = camera.project(points)
        assert pixels.min() >= 0
        assert pixels.max() <= 64
        assert (pixels[0].amax(0) - pixels[0].amin(0)).max() > 0.8 * 64
    if count:
        offset = plan.cameras.centre[5:] - torch.tensor(FRAMING.target)
        yaw = torch.rad2deg(torch.atan2(offset[:, 0], offset[:, 2]))
        torch.testing.assert_close(
            yaw, torch.linspace(-45, 45, count) if count > 1 else torch.zeros(1), atol=0.1, rtol=0
        )
