"""The light that a face stands in, and the lift of dim photos."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from avatarcli.capture.exposure import TARGET, eye_light, face_area, face_light, lift_gain, lifted, polygon_mask
from avatarcli.capture.landmarks import FaceLandmarks, detect_face
from avatarcli.capture.quality import DIM
from avatarcli.head.face_points import FEATURE_LINES
from example_photo import PHOTO

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def photo() -> Pixels:
    return np.asarray(Image.open(PHOTO).convert("RGB"))


@pytest.fixture(scope="module")
def face(photo: Pixels) -> FaceLandmarks:
    return detect_face(photo)


@pytest.fixture(scope="module")
def inside(photo: Pixels) -> NDArray[np.float32]:
    return np.ones(photo.shape[:2], dtype=np.float32)


def _eyes(face: FaceLandmarks, inside: NDArray[np.float32]) -> NDArray[np.bool_]:
    eyes = [polygon_mask(face.points[list(FEATURE_LINES[side])], inside.shape) for side in ("right eye", "left eye")]
    return eyes[0] | eyes[1]


def test_well_lit_photos_stay_as_they_are(photo: Pixels, face: FaceLandmarks, inside: NDArray[np.float32]) -> None:
    gain = lift_gain(face_light(photo, face, inside))
    assert gain == 1
    assert np.array_equal(lifted(photo, gain), photo)


def test_a_dim_face_is_lifted_whatever_stands_behind_it(
    photo: Pixels, face: FaceLandmarks, inside: NDArray[np.float32]
) -> None:
    dim = np.round(photo * 0.35).astype(np.uint8)
    dim[:, 300:] = 255  # a window
    light = face_light(dim, face, inside)
    assert 0.1 < light < DIM
    bright = lifted(dim, lift_gain(light))
    assert face_light(bright, face, inside) == pytest.approx(TARGET, abs=0.03)
    assert bright[:, 300:].min() > 250
    assert (bright >= dim).all()


def test_dark_skin_in_good_light_is_not_dim(photo: Pixels, face: FaceLandmarks, inside: NDArray[np.float32]) -> None:
    dark = photo.copy()
    skin = face_area(face, inside) & ~_eyes(face, inside)
    dark[skin] = np.round(dark[skin] * 0.3).astype(np.uint8)
    eyes, tone = eye_light(dark, face, inside)
    assert tone < 0.05
    assert eyes > 3 * tone
    assert face_light(dark, face, inside) > DIM + 0.1


def test_blur_does_not_make_dark_skin_dim(face: FaceLandmarks, inside: NDArray[np.float32]) -> None:
    """A painted face of dark skin with a gleam on the forehead, so blurred that the whites of the eyes run into the skin."""
    painted = np.full((*inside.shape, 3), 200.0)
    painted[face_area(face, inside)] = 50
    x, y = face.points[151].astype(int)
    painted[y - 8 : y + 9, x - 15 : x + 16] = 130
    painted[_eyes(face, inside)] = 140
    assert face_light(painted.astype(np.uint8), face, inside) > 0.5
    blurred = gaussian_filter(painted, (8, 8, 0)).astype(np.uint8)
    eyes, skin = eye_light(blurred, face, inside)
    assert skin < eyes < 3 * skin
    assert lift_gain(face_light(blurred, face, inside)) == 1


def test_covered_eyes_do_not_make_a_photo_dim(photo: Pixels, face: FaceLandmarks, inside: NDArray[np.float32]) -> None:
    glasses = photo.copy()
    for iris in face.points[[468, 473]]:
        x, y = np.round(iris).astype(int)
        glasses[y - 14 : y + 15, x - 18 : x + 19] = 20
    eyes, skin = eye_light(glasses, face, inside)
    assert eyes < 0.1 * skin
    assert lift_gain(face_light(glasses, face, inside)) == 1


@pytest.mark.parametrize("gain", [1.5, 4.0, 30.0])
def test_the_lift_keeps_the_order_of_levels(gain: float) -> None:
    ramp = np.arange(256, dtype=np.uint8)[:, None].repeat(3, 1)
    curve = lifted(ramp, gain)[:, 0].astype(int)
    assert (np.diff(curve) >= 0).all()
    assert curve[0] == 0
    assert (curve >= np.arange(256) - 1 - (curve > 200) * 30).all()
