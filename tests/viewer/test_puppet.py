"""Sliders, clip and camera take turns with one face."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from avatarcli.clips.clip import Clip
from avatarcli.clips.files import load_clip
from avatarcli.head.expressions import EXPRESSION_INDEX, NAMED_EXPRESSIONS
from avatarcli.head.model import gaze_from_expression
from avatarcli.head.parameters import HeadParameters
from avatarcli.viewer.puppet import Puppet, between


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def clips() -> dict[str, Clip]:
    return {name: load_clip(name) for name in ("tour", "speech")}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def puppet(clips: dict[str, Clip], clock: Clock) -> Puppet:
    return Puppet(clips, clock=clock)


def same(one: HeadParameters, other: HeadParameters) -> bool:
    return all(torch.allclose(a, b, atol=1e-6) for a, b in zip(vars(one).values(), vars(other).values(), strict=True))


def test_a_clip_is_shown_at_its_time_and_between_frames(puppet: Puppet, clips: dict[str, Clip], clock: Clock) -> None:
    frames, fps = clips["tour"].parameters(), clips["tour"].fps
    puppet.play()
    clock.now += 10.5 / fps
    middle = replace(frames[10:11], expression=(frames.expression[10:11] + frames.expression[11:12]) / 2)
    assert torch.allclose(puppet.pose().expression, middle.expression, atol=1e-5)
    puppet.seek(7 / fps)
    assert same(puppet.pose(), between(frames, 7.0))
    assert same(between(frames, 7.0), frames[7:8])
    assert same(between(frames, len(frames) + 3.0), frames[-1:])


def test_a_slider_takes_over_where_the_clip_is(puppet: Puppet, clips: dict[str, Clip], clock: Clock) -> None:
    puppet.play()
    clock.now += 1.0
    before = puppet.pose()
    index = EXPRESSION_INDEX["cheekPuff"]
    puppet.set_weight(index, 0.7)
    assert not puppet.playing
    clock.now += 1.0
    after = puppet.pose()
    assert float(after.expression[0, index]) == pytest.approx(0.7)
    kept = after.expression.clone()
    kept[0, index] = before.expression[0, index]
    assert same(replace(after, expression=kept), before)
    puppet.play()  # goes on from where it was left
    assert puppet.position == pytest.approx(1.0)
    assert same(puppet.pose(), between(clips["tour"].parameters(), clips["tour"].fps))


def test_a_named_face_leaves_the_head_where_it_is(puppet: Puppet) -> None:
    puppet.set_neck(1, math.radians(20))
    puppet.set_place(2, 0.05)
    puppet.set_face(NAMED_EXPRESSIONS["smile"])
    pose = puppet.pose()
    assert float(pose.neck[0, 1]) == pytest.approx(math.radians(20))
    assert pose.head_pose[0, :3, 3].tolist() == pytest.approx([0, 0, 0.05])
    assert float(pose.expression[0, EXPRESSION_INDEX["mouthSmileLeft"]]) == pytest.approx(0.8)
    assert float(pose.expression.sum()) == pytest.approx(sum(NAMED_EXPRESSIONS["smile"].values()))


@pytest.mark.parametrize(("sideways", "upward"), [(0.5, -0.25), (-1.0, 1.0), (0.0, 0.0)])
def test_gaze_turns_both_eyes_and_the_lids(puppet: Puppet, sideways: float, upward: float) -> None:
    puppet.set_gaze(1.0, 1.0)
    puppet.set_gaze(sideways, upward)
    assert puppet.gaze() == pytest.approx((sideways, upward))
    pose = puppet.pose()
    yaw, pitch = math.radians(30) * sideways, 0.7 * math.radians(30) * upward
    assert pose.gaze[0].flatten().tolist() == pytest.approx([yaw, pitch, yaw, pitch], abs=1e-6)
    assert torch.allclose(pose.gaze, gaze_from_expression(pose.expression), atol=1e-6)


def test_choosing_a_clip_keeps_playing_from_its_beginning(puppet: Puppet, clips: dict[str, Clip], clock: Clock) -> None:
    puppet.play()
    clock.now += 1.0
    puppet.choose("speech")
    assert (puppet.clip, puppet.playing, puppet.position) == ("speech", True, 0.0)
    assert puppet.duration == clips["speech"].duration


def test_head_motion_can_be_left_out(puppet: Puppet) -> None:
    puppet.choose("speech")
    puppet.set_head_motion(False)
    puppet.seek(2.0)
    assert not puppet.pose().neck.any()
    puppet.set_head_motion(True)
    assert puppet.pose().neck.any()


def test_a_camera_holds_the_pose_it_gives(puppet: Puppet, clock: Clock) -> None:
    seen = replace(HeadParameters.at_rest(), neck=torch.tensor([[0.1, 0.2, 0.3]]))
    puppet.play()
    puppet.hold(seen)
    clock.now += 1.0
    assert puppet.pose() is seen
    assert not puppet.playing


def test_every_change_is_told(clips: dict[str, Clip]) -> None:
    told: list[int] = []
    puppet = Puppet(clips, changed=lambda: told.append(1))
    actions = (
        puppet.play, puppet.pause, lambda: puppet.seek(1.0), lambda: puppet.set_weight(3, 0.5), lambda: puppet.set_face({}),
        lambda: puppet.set_gaze(0.1, 0.1), lambda: puppet.set_neck(0, 0.1), lambda: puppet.choose("speech"),
    )  # fmt: skip
    for number, act in enumerate(actions):
        act()
        assert len(told) > number
        told[:] = told[: number + 1]
