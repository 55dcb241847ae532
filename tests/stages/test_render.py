"""Rendering an avatar file: every kind of output, what it shows and how large it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from avatarcli.clips.files import load_clip
from avatarcli.errors import UsageError
from avatarcli.gaussians.avatar import Avatar
from avatarcli.head.expressions import NAMED_EXPRESSIONS
from avatarcli.progress import SilentProgress
from avatarcli.stages.render import SHEET_VIEWS, render_avatar
from avatarcli.stages.render_request import RenderRequest, RenderResult

SIZE = 48


@pytest.fixture(scope="module")
def avatar_file(make_avatar: Callable[..., Avatar], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head whose left half (the subject's) is red and whose right half is blue."""
    avatar = make_avatar(1500)
    colors = torch.where(avatar.means[:, :1] > 0, torch.tensor([[1.5, -1.5, -1.5]]), torch.tensor([[-1.5, -1.5, 1.5]]))
    path = tmp_path_factory.mktemp("render") / "avatar.safetensors"
    replace(avatar, sh=colors[:, None]).save(path)
    return path


def rendered(avatar: Path, out: Path, request: RenderRequest) -> RenderResult:
    return render_avatar(avatar, out, request, device="cpu", progress=SilentProgress())


def picture(path: Path) -> NDArray[np.float64]:
    with Image.open(path) as image:
        return np.asarray(image).astype(np.float64) / 255


def redness(frame: NDArray[np.float64]) -> float:
    return float((frame[..., 0] - frame[..., 2]).mean())


def test_a_still_shows_the_head_on_its_background(avatar_file: Path, tmp_path: Path) -> None:
    result = rendered(avatar_file, tmp_path / "a.png", RenderRequest(size=SIZE, background=(0.0, 1.0, 0.0)))
    assert (result.kind, result.frames, result.size, result.fps) == ("png", 1, (SIZE, SIZE), None)
    frame = picture(tmp_path / "a.png")
    assert frame.shape == (SIZE, SIZE, 3)
    np.testing.assert_allclose(frame[0, 0], [0, 1, 0], atol=0.01)
    middle = frame[SIZE // 2 - 4 : SIZE // 2 + 4]
    # From the front the subject's left, +x, is on the right of the picture.
    assert redness(middle[:, 28:34]) > 0.2
    assert redness(middle[:, 14:20]) < -0.2


def test_the_camera_goes_where_the_view_says(avatar_file: Path, tmp_path: Path) -> None:
    views = ((90.0, 0.0), (-90.0, 0.0), (180.0, 0.0))
    result = rendered(avatar_file, tmp_path / "views", RenderRequest(size=SIZE, views=views))
    assert (result.kind, result.frames) == ("frames", 3)
    left, right, back = (picture(path) for path in sorted((tmp_path / "views").iterdir()))
    assert redness(left) > 0.05
    assert redness(right) < -0.05
    assert redness(back[20:28, 14:20]) > 0.2  # seen from behind, the left half is on the left


def test_transparent_stills_have_straight_alpha(avatar_file: Path, tmp_path: Path) -> None:
    rendered(avatar_file, tmp_path / "a.png", RenderRequest(size=SIZE, background=None))
    frame = picture(tmp_path / "a.png")
    assert frame.shape == (SIZE, SIZE, 4)
    assert frame[0, 0, 3] == 0
    assert frame[SIZE // 2, SIZE // 2, 3] > 0.9
    # Over black it is what a black background gives, over white what a white one does.
    for value in (0.0, 1.0):
        rendered(avatar_file, tmp_path / "b.png", RenderRequest(size=SIZE, background=(value, value, value)))
        flat = frame[..., :3] * frame[..., 3:] + value * (1 - frame[..., 3:])
        np.testing.assert_allclose(flat, picture(tmp_path / "b.png"), atol=0.012)


def test_an_expression_changes_the_face(avatar_file: Path, tmp_path: Path) -> None:
    rendered(avatar_file, tmp_path / "a.png", RenderRequest(size=SIZE))
    rendered(avatar_file, tmp_path / "b.png", RenderRequest(size=SIZE, expression={"jawOpen": 1.0}))
    difference = np.abs(picture(tmp_path / "a.png") - picture(tmp_path / "b.png")).max(-1)
    assert difference.max() > 0.1
    assert difference[: SIZE // 4].max() < 0.02  # the top of the head stays


def test_an_orbit_goes_all_the_way_round(avatar_file: Path, tmp_path: Path) -> None:
    request = RenderRequest(orbit=360.0, seconds=0.8, fps=10.0, size=SIZE)
    result = rendered(avatar_file, tmp_path / "orbit.mp4", request)
    assert (result.kind, result.frames, result.size, result.fps) == ("mp4", 8, (SIZE, SIZE), 10.0)
    with av.open(str(tmp_path / "orbit.mp4")) as video:
        frames = np.stack([shot.to_ndarray(format="rgb24") for shot in video.decode(video=0)]).astype(np.float64) / 255
    assert frames.shape == (8, SIZE, SIZE, 3)
    # A quarter of the way it sees the left side, at three quarters the right one.
    assert redness(frames[2]) > 0.03
    assert redness(frames[6]) < -0.03


def test_a_camera_that_swings_sees_both_sides_and_comes_back(avatar_file: Path, tmp_path: Path) -> None:
    rendered(avatar_file, tmp_path / "swing", RenderRequest(swing=60.0, seconds=0.8, fps=10.0, size=SIZE))
    frames = [picture(path) for path in sorted((tmp_path / "swing").iterdir())]
    assert redness(frames[2]) > 0.03
    assert redness(frames[6]) < -0.03
    np.testing.assert_allclose(frames[0], frames[4], atol=0.02)


def test_a_moving_camera_starts_where_it_is_told(avatar_file: Path, tmp_path: Path) -> None:
    rendered(avatar_file, tmp_path / "orbit", RenderRequest(orbit=90.0, yaw=-90.0, seconds=0.4, fps=10.0, size=SIZE))
    rendered(avatar_file, tmp_path / "a.png", RenderRequest(views=((-90.0, 0.0),), size=SIZE))
    np.testing.assert_array_equal(picture(tmp_path / "orbit" / "frame_00000.png"), picture(tmp_path / "a.png"))


def test_other_shapes_have_more_room_and_the_same_bust(avatar_file: Path, tmp_path: Path) -> None:
    rendered(avatar_file, tmp_path / "square.png", RenderRequest(size=SIZE))
    for width, height in ((SIZE + 20, SIZE), (SIZE, SIZE + 21)):
        result = rendered(avatar_file, tmp_path / "other.png", RenderRequest(size=(width, height)))
        assert result.size == (width, height)
        frame = picture(tmp_path / "other.png")
        assert frame.shape[:2] == (height, width)
        left = (width - SIZE) // 2
        inner = frame[height - SIZE :, left : left + SIZE]
        np.testing.assert_allclose(inner, picture(tmp_path / "square.png"), atol=0.02)


def test_zoom_comes_closer_to_the_head(avatar_file: Path, tmp_path: Path) -> None:
    shares = []
    for zoom in (1.0, 2.0):
        rendered(avatar_file, tmp_path / "a.png", RenderRequest(size=SIZE, zoom=zoom, background=None))
        alpha = picture(tmp_path / "a.png")[..., 3]
        assert alpha[SIZE // 2, SIZE // 2] > 0.9
        shares.append(alpha.mean())
    assert shares[1] > 1.3 * shares[0]


def test_a_picture_lies_behind_the_head(avatar_file: Path, tmp_path: Path) -> None:
    # Twice as wide as it is high: its outer quarters, black, are cut off.
    wide = np.zeros((200, 400, 3), np.uint8)
    wide[:, 90:310] = (0, 0, 255)
    Image.fromarray(wide).save(tmp_path / "wall.png")
    rendered(avatar_file, tmp_path / "a.png", RenderRequest(size=SIZE, background=tmp_path / "wall.png"))
    rendered(avatar_file, tmp_path / "b.png", RenderRequest(size=SIZE, background=(0.0, 0.0, 1.0)))
    np.testing.assert_allclose(picture(tmp_path / "a.png"), picture(tmp_path / "b.png"), atol=0.012)


def test_one_moment_of_a_clip_is_a_still(avatar_file: Path, tmp_path: Path) -> None:
    request = RenderRequest(clip=load_clip("speech"), seconds=0.4, fps=10.0, size=SIZE)
    rendered(avatar_file, tmp_path / "frames", request)
    rendered(avatar_file, tmp_path / "a.png", replace(request, seconds=None, at=0.3))
    np.testing.assert_array_equal(picture(tmp_path / "a.png"), picture(tmp_path / "frames" / "frame_00003.png"))
    with pytest.raises(UsageError, match="the clip lasts"):
        rendered(avatar_file, tmp_path / "b.png", replace(request, seconds=None, at=100.0))


def test_a_clip_moves_the_face(avatar_file: Path, tmp_path: Path) -> None:
    request = RenderRequest(clip=load_clip("speech"), seconds=0.4, fps=10.0, size=SIZE)
    result = rendered(avatar_file, tmp_path / "frames", request)
    assert (result.kind, result.frames) == ("frames", 4)
    frames = [picture(path) for path in sorted((tmp_path / "frames").iterdir())]
    assert len(frames) == 4
    assert max(np.abs(frames[0] - frame).max() for frame in frames[1:]) > 0.02


def test_a_sheet_has_a_row_for_every_face_and_a_column_for_every_view(avatar_file: Path, tmp_path: Path) -> None:
    result = rendered(avatar_file, tmp_path / "sheet.png", RenderRequest(sheet=True, size=SIZE))
    frame = picture(tmp_path / "sheet.png")
    assert result.frames == 1
    assert result.size == (frame.shape[1], frame.shape[0])
    assert frame.shape[1] >= SIZE * len(SHEET_VIEWS)
    assert frame.shape[0] >= SIZE * len(NAMED_EXPRESSIONS)
    assert frame.shape[1] < SIZE * (len(SHEET_VIEWS) + 4)


def test_the_same_request_draws_the_same_picture(avatar_file: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        rendered(avatar_file, tmp_path / name, RenderRequest(size=SIZE, views=((30.0, 10.0),)))
    np.testing.assert_array_equal(picture(tmp_path / "a.png"), picture(tmp_path / "b.png"))
