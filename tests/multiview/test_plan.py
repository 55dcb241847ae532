"""The plan: the head at rest from all sides, and the face from the front in poses in which every part of it moves."""

from __future__ import annotations

import math

import pytest
import torch

from avatarcli.config import PRESETS, PresetName, check_steps
from avatarcli.head.expressions import EXPRESSION_INDEX
from avatarcli.head.model import HeadModel, PersonalHead, gaze_from_expression
from avatarcli.multiview.framing import DISTANCE, Framing
from avatarcli.multiview.plan import Plan, Reel, make_plan, scheduled_clip

FRAMING = Framing((0.0, -0.05, 0.0), 0.5)
FACE = torch.tensor([[-0.07, -0.12, 0.05], [0.07, 0.06, 0.05], [0.0, -0.02, 0.12]])


def test_a_plan_at_rest_has_the_first_frame_of_all_views_as_stills() -> None:
    plan = make_plan(FRAMING, FACE, views=4, face_views=2, frames=3, size=64)
    rest = plan.at_rest()
    assert rest.pictures == [place for place in plan.pictures if place[1] == 0]
    assert (rest.views, rest.crops, rest.frames) == (6, 2, 1)
    clip = Plan.full(plan.cameras, plan.parameters).at_rest()
    assert clip.clips == tuple(Reel(view, (0,)) for view in range(6))


@pytest.mark.parametrize("views", [1, 2, 12, 16, 24])
def test_cameras_stand_all_around_at_all_heights(views: int) -> None:
    plan = make_plan(FRAMING, FACE, views=views, face_views=0, frames=3, size=64)
    assert (plan.views, plan.crops, plan.frames) == (views, 0, 3)
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


@pytest.mark.parametrize("frames", [1, 2, 5, 9, 17])
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


def test_fewer_frames_are_the_first_ones_and_more_than_nine_come_halved() -> None:
    every = scheduled_clip(17)
    for frames in (1, 2, 8, 9, 12):
        few = scheduled_clip(frames)
        assert torch.equal(few.expression, every.expression[:frames])
        assert torch.equal(few.gaze, every.gaze[:frames])
    assert torch.equal(every.expression[9:], every.expression[1:9] / 2)
    assert len(every.expression.unique(dim=0)) == 17
    # What is seen most comes first: an open mouth, a smile, closed eyes.
    for frame, name in enumerate(("jawOpen", "mouthSmileLeft", "eyeBlinkLeft"), 1):
        assert every.expression[frame, EXPRESSION_INDEX[name]] >= 0.75


@pytest.mark.parametrize("frames", [-1, 0, 18, 33])
def test_more_frames_than_there_are_poses_are_refused(frames: int) -> None:
    with pytest.raises(ValueError, match=f"1 to 17 expressions, {frames} are wanted"):
        scheduled_clip(frames)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_ask_for_what_can_be_made(preset: PresetName) -> None:
    config = PRESETS[preset].generate
    plan = make_plan(
        FRAMING, FACE, views=config.views, face_views=config.face_views, frames=config.frames, size=config.size
    )
    assert len(plan.pictures) == config.views + config.face_views * config.frames
    assert config.size % 16 == 0  # the model's patches
    check_steps(config.steps)


@pytest.mark.parametrize(("views", "face_views", "frames"), [(5, 3, 4), (20, 3, 9), (4, 0, 9), (3, 1, 1)])
def test_heads_are_seen_at_rest_and_faces_in_every_pose(views: int, face_views: int, frames: int) -> None:
    plan = make_plan(FRAMING, FACE, views=views, face_views=face_views, frames=frames, size=64)
    heads = [(view, 0) for view in range(views)]
    faces = [(view, frame) for view in range(views, views + face_views) for frame in range(frames)]
    assert sorted(plan.pictures) == sorted(heads + faces)
    assert all(len(clip.frames) == 1 for clip in plan.clips)
    # What is at rest comes first, then pose after pose.
    assert [frame for _, frame in plan.pictures] == sorted(frame for _, frame in plan.pictures)
    assert torch.equal(plan.parameters.expression, scheduled_clip(frames).expression)


def test_a_full_grid_has_a_clip_a_view() -> None:
    cameras = FRAMING.cameras(torch.tensor([0.0, 1.0]), torch.zeros(2), 16)
    plan = Plan.full(cameras, scheduled_clip(3))
    assert plan.clips == (Reel(0, (0, 1, 2)), Reel(1, (0, 1, 2)))
    assert plan.pictures == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert (plan.views, plan.frames, plan.crops) == (2, 3, 0)


def test_pictures_of_other_sizes_show_the_same(model: HeadModel) -> None:
    points = model.mean[::50]
    small, large = (make_plan(FRAMING, FACE, views=4, face_views=2, frames=1, size=size).cameras for size in (32, 128))
    torch.testing.assert_close(4 * small.project(points)[0], large.project(points)[0], atol=2e-2, rtol=0)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_face_views_hold_the_face_whatever_it_does(model: HeadModel, mean_head: PersonalHead, count: int) -> None:
    face = model.in_regions("face", "nose", "lip", "eyelid")
    surface = mean_head.neutral[face]
    heads = make_plan(FRAMING, surface, views=5, face_views=0, frames=9, size=64)
    plan = make_plan(FRAMING, surface, views=5, face_views=count, frames=9, size=64)
    assert (plan.views, plan.crops, plan.frames) == (5 + count, count, 9)
    torch.testing.assert_close(plan.cameras[:5].K, heads.cameras.K)
    torch.testing.assert_close(plan.cameras[:5].world_to_camera, heads.cameras.world_to_camera)
    clip = plan.parameters
    points = mean_head.posed(clip)[:, face]
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
