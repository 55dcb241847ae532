"""Following one face through a video: gaps, several people, changing rates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from avatarcli.capture.face_sequence import FaceSequence, detect_faces
from avatarcli.capture.video import probe_video
from avatarcli.errors import VideoError

VideoMaker = Callable[..., Path]
SIZE = 192


def moved(picture: NDArray[np.uint8], pixels: int) -> NDArray[np.uint8]:
    return np.roll(picture, pixels, axis=1)


def followed(path: Path, fps: float = 25.0) -> FaceSequence:
    return detect_faces(probe_video(path), fps)


def nose_x(sequence: FaceSequence) -> NDArray[np.float32]:
    return sequence.points[:, 1, 0]


def test_no_face_is_an_error(tmp_path: Path, make_video: VideoMaker) -> None:
    path = make_video(tmp_path / "a.mp4", [np.full((SIZE, SIZE, 3), 90, np.uint8)] * 3)
    with pytest.raises(VideoError, match="no face found"):
        followed(path)


def test_gaps_are_marked(tmp_path: Path, make_video: VideoMaker, portrait: NDArray[np.uint8]) -> None:
    nobody = np.full_like(portrait, 90)
    frames = [nobody] * 3 + [portrait] * 6 + [nobody] * 8 + [portrait] * 5
    sequence = followed(make_video(tmp_path / "a.mp4", frames))
    expected = np.array([False] * 3 + [True] * 6 + [False] * 8 + [True] * 5)
    # At a gap's edge a moment between two frames may fall on either side.
    assert (sequence.seen != expected).sum() <= 2
    assert np.isnan(sequence.points[~sequence.seen]).all()
    assert np.isfinite(sequence.points[sequence.seen]).all()
    assert not sequence.several


def test_the_larger_of_two_faces_is_followed(
    tmp_path: Path, make_video: VideoMaker, portrait: NDArray[np.uint8]
) -> None:
    side = portrait.shape[0]
    head = Image.fromarray(portrait).crop((side // 4, 0, side * 5 // 8, side * 3 // 8))
    large = np.asarray(head.resize((256, 256)))
    nobody, small = np.full_like(large, 90), np.full_like(large, 90)
    small[40:200, 40:200] = np.asarray(head.resize((160, 160)))
    # The small one is there first and all the time; the large one comes later.
    frames = [np.hstack([nobody, small])] * 2 + [np.hstack([large, small])] * 6
    sequence = followed(make_video(tmp_path / "a.mp4", frames))
    assert sequence.several
    assert (nose_x(sequence)[sequence.seen] < 256).all()
    assert sequence.seen.sum() >= 6


def test_variable_rates_land_on_a_constant_grid(
    tmp_path: Path, make_video: VideoMaker, portrait: NDArray[np.uint8]
) -> None:
    # The face moves by 100 pixels a second whatever the rate of the frames.
    times = [0.0, 0.04, 0.08, 0.20, 0.24, 0.28, 0.36, 0.40]
    frames = [moved(portrait, round(100 * moment)) for moment in times]
    sequence = followed(make_video(tmp_path / "a.mkv", frames, times=times))
    assert len(sequence) == 11
    assert sequence.seen.all()
    start = nose_x(sequence)[0]
    np.testing.assert_allclose(nose_x(sequence) - start, 100 * np.arange(11) / 25, atol=3)
    slow = followed(tmp_path / "a.mkv", fps=12.5)
    np.testing.assert_allclose(nose_x(slow), nose_x(sequence)[::2], atol=0.5)


def test_a_small_face_is_found_and_followed(
    tmp_path: Path, make_video: VideoMaker, portrait: NDArray[np.uint8]
) -> None:
    frames = []
    for index in range(12):
        frame = np.full((480, 854, 3), 90, np.uint8)
        left = 100 + 30 * index
        frame[200 : 200 + SIZE, left : left + SIZE] = portrait
        frames.append(frame)
    sequence = followed(make_video(tmp_path / "a.mp4", frames))
    assert sequence.seen.all()
    np.testing.assert_allclose(np.diff(nose_x(sequence)), 30, atol=3)
