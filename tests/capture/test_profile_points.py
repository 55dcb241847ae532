"""The near ear, found by the face detector. The example photo is no profile, but the detector knows its ears too."""

from __future__ import annotations

import numpy as np
from PIL import Image

from avatarcli.capture.landmarks import measure_face
from avatarcli.capture.profile_points import find_near_ear
from example_photo import PHOTO

_BEFORE_LEFT_EAR, _BEFORE_RIGHT_EAR = 454, 234  # MediaPipe's points of the face's sides


def test_the_ear_lies_at_the_side_of_the_face_and_changes_sides_in_a_mirror() -> None:
    picture = np.asarray(Image.open(PHOTO).convert("RGB"))
    ear, mirrored = find_near_ear(picture), find_near_ear(np.ascontiguousarray(picture[:, ::-1]))
    assert ear is not None
    assert mirrored is not None
    assert mirrored.side == -ear.side
    face = measure_face(picture)
    beside = face.points[_BEFORE_LEFT_EAR if ear.side > 0 else _BEFORE_RIGHT_EAR]
    assert np.linalg.norm(ear.place - beside) < 0.4 * face.interocular
    assert np.abs(mirrored.place - [picture.shape[1] - ear.place[0], ear.place[1]]).max() < 1
    assert np.allclose(ear.scaled(0.5).place, ear.place / 2)


def test_a_picture_without_a_face_shows_no_ear() -> None:
    assert find_near_ear(np.full((200, 300, 3), 128, np.uint8)) is None
