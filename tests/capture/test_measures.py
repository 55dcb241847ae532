"""The measures of the quality gate on pictures whose answer is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from avatarcli.capture.landmarks import FaceLandmarks
from avatarcli.capture.measures import head_angles, measure_photo
from avatarcli.capture.photo import CropPlace, HeadCrop
from avatarcli.geometry.cameras import Camera, intrinsics
from avatarcli.geometry.rotations import axis_angle_to_matrix, rigid
from avatarcli.head.expressions import EXPRESSION_INDEX
from avatarcli.head.model import HeadModel
from avatarcli.head.photo_fit import PhotoFit

SIZE = 400  # pixels; the average head is about 230 high


@pytest.fixture(scope="module")
def track(model: HeadModel) -> PhotoFit:
    """The average head, seen from the front without any error."""
    return _track(model, torch.zeros(3))


def _track(model: HeadModel, turn: torch.Tensor) -> PhotoFit:
    """The average head turned by a rotation vector in its own axes, before a camera that looks at it."""
    towards = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    pose = rigid(towards @ axis_angle_to_matrix(turn), torch.tensor([0.0, 0.0, 1.2]))
    camera = Camera(pose, intrinsics(1000.0, SIZE, SIZE), SIZE, SIZE)
    zeros = torch.zeros(52)
    landmarks = camera.project(model.landmarks(model.mean))[0]
    nobody = torch.zeros(model.identity_size)
    return PhotoFit(camera, nobody, torch.zeros_like(model.mean), zeros, torch.zeros(2, 2), landmarks, zeros)


def _measure(model: HeadModel, track: PhotoFit, crop: HeadCrop, matte: np.ndarray | None = None) -> dict[str, float]:
    scores = np.zeros(52, np.float32)
    scores[EXPRESSION_INDEX["eyeBlinkLeft"]] = 1
    face = FaceLandmarks(track.landmarks.numpy(), np.zeros(478, np.float32), scores, np.eye(4, dtype=np.float32))
    return measure_photo(crop, face, np.zeros((SIZE, SIZE), np.float32) if matte is None else matte, track, model)


def _crop(image: np.ndarray | None = None, *, scale: float = 1.0) -> HeadCrop:
    grey = np.full((SIZE, SIZE, 3), 128, np.uint8)
    side = round(SIZE / scale)
    place = CropPlace(0, 0, side, side, side)
    return HeadCrop(grey if image is None else image, np.ones((SIZE, SIZE), np.float32), place)


@pytest.mark.parametrize(
    ("axis", "expected"), [((0, 1, 0), (25, 0, 0)), ((-1, 0, 0), (0, 25, 0)), ((0, 0, -1), (0, 0, 25))]
)
def test_angles_and_their_signs(model: HeadModel, axis: tuple[int, int, int], expected: tuple[int, int, int]) -> None:
    """To the subject's left, which is the picture's right; up; clockwise in the picture."""
    turned = _track(model, math.radians(25) * torch.tensor(axis, dtype=torch.float32))
    assert head_angles(turned) == pytest.approx(expected, abs=0.01)
    nose, brow = turned.landmarks[4], turned.landmarks[10]
    if expected[0]:
        assert nose[0] > turned.landmarks[[234, 454], 0].mean()
    if expected[2]:
        assert brow[0] > nose[0] + 10


def test_a_perfect_fit_inside_the_picture(model: HeadModel, track: PhotoFit) -> None:
    values = _measure(model, track, _crop(scale=0.5))
    assert values["misfit"] == pytest.approx(0, abs=1e-3)
    assert values["outside"] < 0.5
    assert values["eyes_closed"] == pytest.approx(50)
    assert values["cut_top"] == 0
    distance = float((track.landmarks[468] - track.landmarks[473]).norm())
    assert values["eye_distance"] == pytest.approx(2 * distance)


def test_the_head_beyond_the_edge_counts(model: HeadModel, track: PhotoFit) -> None:
    top = float(track.camera.project(model.mean[model.in_regions("scalp")])[0][:, 1].min())
    shares = []
    for cut in (10, 40, 80):
        inside = np.ones((SIZE, SIZE), np.float32)
        inside[: round(top) + cut] = 0
        matte = np.zeros((SIZE, SIZE), np.float32)
        matte[round(top) + cut :, 150:250] = 1
        values = _measure(model, track, replace(_crop(), inside=inside), matte)
        shares.append(values["outside"])
        assert values["cut_top"] == pytest.approx(100 / values["eye_distance"], rel=0.01)
    assert 1 < shares[0] < shares[1] < shares[2] < 60


@pytest.mark.parametrize("sigma", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("contrast", [40.0, 200.0])
def test_the_width_of_a_blur_is_found(model: HeadModel, track: PhotoFit, sigma: float, contrast: float) -> None:
    """Bars that are blurred by a known width, whatever their contrast."""
    bars = 20 + contrast * ((np.arange(SIZE) // 30) % 2)
    image = gaussian_filter(np.tile(bars, (SIZE, 1)), sigma)
    values = _measure(model, track, _crop(np.round(image).astype(np.uint8)[..., None].repeat(3, -1)))
    assert values["blur"] / 100 * values["eye_distance"] == pytest.approx(sigma, rel=0.3)


def test_burnt_out_faces(model: HeadModel, track: PhotoFit) -> None:
    image = np.full((SIZE, SIZE, 3), 255, np.uint8)
    assert _measure(model, track, _crop(image))["burnt"] == 100
    image[..., 2] = 120  # yellow is no lost detail
    assert _measure(model, track, _crop(image))["burnt"] == 0


def test_what_cannot_be_measured_is_not_a_number(model: HeadModel, track: PhotoFit) -> None:
    values = _measure(model, track, replace(_crop(), inside=np.zeros((SIZE, SIZE), np.float32)))
    assert all(math.isnan(values[name]) for name in ("blur", "burnt", "eyes_lit"))
    assert values["outside"] == pytest.approx(100)


def test_a_reflection_before_one_eye_counts_and_a_catchlight_hardly(model: HeadModel, track: PhotoFit) -> None:
    eye = track.landmarks[[33, 133]].mean(0).round().int().tolist()  # the corners of the right eye
    picture = np.full((SIZE, SIZE, 3), 200, np.uint8)
    assert _measure(model, track, _crop(picture))["glare"] == 0
    picture[eye[1] - 1 : eye[1] + 1, eye[0]] = 255
    assert 0 < _measure(model, track, _crop(picture))["glare"] < 8
    picture[:, : eye[0]] = (255, 255, 240)
    assert 35 < _measure(model, track, _crop(picture))["glare"] < 65
