"""Takes, videos and pictures."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from avatarcli.gaussians.avatar import Avatar
from avatarcli.head.parameters import HeadParameters
from avatarcli.viewer.painter import Painter, View
from avatarcli.viewer.recording import FPS, Moment, ViewRecorder, draw_picture, draw_video
from origin_reader import read_origin


@pytest.fixture(scope="module")
def shots(front: Callable[[int, int], View]) -> list[Moment]:
    """Four moments in which the head moves to its left and the background turns from blue to red."""
    poses = []
    for step in range(4):
        head_pose = torch.eye(4)[None].clone()
        head_pose[0, 0, 3] = 0.02 * step
        poses.append(replace(HeadParameters.at_rest(), head_pose=head_pose))
    return [Moment(pose, front(90, 60), (step / 3, 0.0, 1 - step / 3)) for step, pose in enumerate(poses)]


def test_a_video_shows_every_shot(toy: Avatar, shots: list[Moment], tmp_path: Path) -> None:
    said: list[float] = []
    content = draw_video(Painter(toy), shots, lambda share: not said.append(share))  # type: ignore[func-returns-value]
    assert content is not None
    path = tmp_path / "take.mp4"
    path.write_bytes(content)
    with av.open(str(path)) as video:
        stream = video.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(stream)]
        assert stream.average_rate == FPS
    assert [frame.shape for frame in frames] == [(720, 1080, 3)] * 4
    assert said == [0.0, 0.25, 0.5, 0.75]
    corners = [frame[5, 5].astype(int) for frame in frames]
    assert all(later[0] > earlier[0] + 40 for earlier, later in pairwise(corners))
    heads = [np.nonzero(np.abs(frame.astype(int) - frame[5, 5]).max(-1) > 40)[1].mean() for frame in frames]
    assert heads == sorted(heads)
    assert heads[-1] > heads[0] + 50  # 6 cm to the subject's left, the picture's right
    mark = read_origin(path)
    assert mark is not None
    assert mark.photo_sha256 == "0" * 64


def test_a_video_can_be_given_up(toy: Avatar, shots: list[Moment]) -> None:
    assert draw_video(Painter(toy), shots, lambda share: share < 0.5) is None


def test_a_picture_is_a_png_of_the_page_s_shape(toy: Avatar, shots: list[Moment]) -> None:
    with Image.open(io.BytesIO(draw_picture(Painter(toy), shots[0]))) as image:
        assert (image.format, image.size) == ("PNG", (1600, 1066))
        assert image.getpixel((3, 3)) == (0, 0, 255)


def test_a_take_collects_until_it_is_stopped(shots: list[Moment]) -> None:
    done = threading.Event()
    got: list[Moment] = []
    looked = threading.Event()
    calls = 0

    def look() -> Moment:
        nonlocal calls
        calls += 1
        if calls == 3:
            looked.set()
        return shots[calls % 4]

    def ended(taken: list[Moment]) -> None:
        got.extend(taken)
        done.set()

    take = ViewRecorder(look, ended)
    assert looked.wait(20)
    take.stop()
    assert done.wait(20)
    assert len(got) == calls >= 3
    assert got[0] is shots[1]


def test_a_take_ends_when_nobody_looks_any_more(shots: list[Moment]) -> None:
    done = threading.Event()
    got: list[int] = []

    def ended(taken: list[Moment]) -> None:
        got.append(len(taken))
        done.set()

    moments = iter([shots[0], shots[1], None])
    ViewRecorder(lambda: next(moments), ended)
    assert done.wait(20)
    assert got == [2]
