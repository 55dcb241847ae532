"""Motion of a video from landmarks and scores that known motion made."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from avatarcli.geometry.rotations import axis_angle_to_matrix
from avatarcli.head.expressions import EXPRESSION_INDEX
from avatarcli.head.model import HeadModel, PersonalHead
from avatarcli.tracking.resting_face import BLINKS
from avatarcli.tracking.smoothing import fill_gaps, smooth
from avatarcli.tracking.video import VideoTrack, fit_video

FRAMES, FPS, SIZE = 60, 30.0, (640, 480)
FOCAL, DISTANCE = 800.0, 0.9
JAW = EXPRESSION_INDEX["jawOpen"]


@pytest.fixture(scope="module")
def motion() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """expression [T, 52], turn [T, 3], gaze [T, 2, 2]: rest, then speech with two blinks, a nod and a look aside."""
    moment = np.arange(FRAMES) / FPS
    moving = moment > 0.5
    expression = np.zeros((FRAMES, 52))
    expression[:, JAW] = moving * 0.3 * (1 - np.cos(2 * np.pi * 2 * (moment - 0.5)))
    for start in (25, 45):
        expression[start : start + 4, BLINKS] = np.array([0.5, 1.0, 1.0, 0.5])[:, None]
    turn = np.zeros((FRAMES, 3))
    turn[:, 0] = moving * 0.15 * np.sin(2 * np.pi * (moment - 0.5))
    turn[:, 1] = moving * 0.3 * np.sin(np.pi * (moment - 0.5))
    gaze = np.zeros((FRAMES, 2, 2))
    gaze[50:, :, 0] = 0.3
    return expression, turn, gaze


@pytest.fixture(scope="module")
def seen(model: HeadModel, motion: tuple[NDArray[np.float64], ...]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Landmarks [T, 478, 3] and scores [T, 52] of somebody with that motion."""
    expression, turn, gaze = (torch.from_numpy(value).float() for value in motion)
    identity = torch.from_numpy(np.random.default_rng(0).normal(size=150) * (np.arange(150) < 10)).float()
    head = PersonalHead.create(model, identity)
    points = model.landmarks(head.vertices(expression, gaze, torch.zeros(FRAMES, 3)))
    points = points @ axis_angle_to_matrix(turn).transpose(-1, -2)
    local = points * torch.tensor([1.0, -1.0, -1.0]) + torch.tensor([0.02, 0.01, DISTANCE])
    pixels = FOCAL * local[..., :2] / local[..., 2:] + torch.tensor(SIZE) / 2
    depth = (local[..., 2:] - local[..., 2:].mean(1, keepdim=True)) * FOCAL / DISTANCE
    noise = np.random.default_rng(1).normal(0, 0.15, (FRAMES, 478, 3))
    scores = 0.1 + 0.7 * expression  # nobody's scores are 0 at rest or 1 at most
    return (torch.cat([pixels, depth], -1).numpy() + noise).astype(np.float32), scores.numpy().astype(np.float32)


@pytest.fixture(scope="module")
def track(model: HeadModel, seen: tuple[NDArray[np.float32], ...]) -> VideoTrack:
    return fit_video(model, *seen, np.ones(FRAMES, bool), SIZE, FPS)


def test_motion_comes_back(track: VideoTrack, motion: tuple[NDArray[np.float64], ...]) -> None:
    expression, turn, _ = motion
    clip = track.clip
    assert len(clip) == FRAMES
    assert clip.fps == FPS
    assert np.abs(clip.expression[:, JAW] - expression[:, JAW]).mean() < 0.08
    assert np.corrcoef(clip.expression[:, JAW], expression[:, JAW])[0, 1] > 0.97
    assert np.abs(clip.expression - expression)[:, EXPRESSION_INDEX["mouthClose"] :].mean() < 0.02
    off = Rotation.from_rotvec(turn).inv() * Rotation.from_rotvec(clip.head_rotation)
    assert np.rad2deg((off.mean().inv() * off).magnitude()).mean() < 1.0
    assert clip.gaze is not None
    assert np.abs(clip.gaze[54:58, :, 0] - 0.3).max() < 0.1
    assert np.abs(clip.gaze[:20]).max() < 0.06


def test_blinks_stay_sharp(track: VideoTrack, motion: tuple[NDArray[np.float64], ...]) -> None:
    np.testing.assert_allclose(track.clip.expression[:, BLINKS], motion[0][:, BLINKS], atol=0.12)


def test_the_mesh_lies_on_the_landmarks(
    track: VideoTrack, seen: tuple[NDArray[np.float32], ...], model: HeadModel
) -> None:
    for frame in (0, 20, 40):
        pixels, _ = track.cameras[frame].project(model.landmarks(track.vertices(frame)))
        assert np.median(np.linalg.norm(pixels.numpy() - seen[0][frame, :, :2], axis=1)) < 1.5


def test_gaps_are_filled_between_their_ends(
    model: HeadModel, seen: tuple[NDArray[np.float32], ...], track: VideoTrack
) -> None:
    known = np.ones(FRAMES, bool)
    known[:4] = known[30:40] = False
    points, scores = (np.where(known.reshape(-1, *[1] * (value.ndim - 1)), value, np.nan) for value in seen)
    clip = fit_video(model, points, scores, known, SIZE, FPS).clip
    assert len(clip) == FRAMES
    inside, ends = clip.head_rotation[30:40, 1], clip.head_rotation[[29, 40], 1]
    assert inside.min() >= ends.min() - 0.02
    assert inside.max() <= ends.max() + 0.02
    np.testing.assert_allclose(clip.head_rotation[50:], track.clip.head_rotation[50:], atol=0.05)


def test_shapes_are_checked(model: HeadModel, seen: tuple[NDArray[np.float32], ...]) -> None:
    with pytest.raises(ValueError, match=r"\[T, 478, 3\]"):
        fit_video(model, seen[0][..., :2], seen[1], np.ones(FRAMES, bool), SIZE, FPS)
    with pytest.raises(ValueError, match="0 of 60 seen"):
        fit_video(model, *seen, np.zeros(FRAMES, bool), SIZE, FPS)


def test_smoothing_takes_jitter_and_leaves_motion() -> None:
    moment = np.arange(120) / FPS
    step = (moment > 2.0).astype(float)[:, None]
    noise = np.random.default_rng(0).normal(0, 0.02, (120, 1))
    smoothed = smooth(step + noise, FPS, cutoff=2.0, opening=2.0)
    still = slice(10, 50)
    assert smoothed[still].std() < 0.6 * noise[still].std()
    # No lag: the step stays where it is, up to a frame or two.
    assert abs(float(np.interp(0.5, smoothed[50:70, 0], moment[50:70])) - 2.0) < 2 / FPS
    np.testing.assert_allclose(smooth(step[:1], FPS, cutoff=2.0, opening=2.0), step[:1])


def test_gap_filling() -> None:
    known = np.array([False, True, False, False, True, False])
    np.testing.assert_allclose(fill_gaps(np.array([[1.0], [4.0]]), known)[:, 0], [1, 1, 2, 3, 4, 4])
