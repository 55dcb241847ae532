"""MediaPipe on a real photo, on parts of it, and on pictures without a face."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from avatarcli.capture.landmarks import detect_face
from avatarcli.errors import PhotoError
from avatarcli.head.expressions import EXPRESSION_INDEX

PHOTO = Path(__file__).parents[2] / "examples" / "astronaut.png"


@pytest.fixture(scope="module")
def photo() -> NDArray[np.uint8]:
    return np.asarray(Image.open(PHOTO).convert("RGB"))


def test_finds_the_face(photo: NDArray[np.uint8]) -> None:
    face = detect_face(photo)
    assert face.points.shape == (478, 2)
    assert face.scores.shape == (52,)
    assert face.faces_found == 1
    assert abs(face.yaw) < 30
    # She smiles with both sides of the mouth; MediaPipe knows no tongue.
    assert min(face.scores[EXPRESSION_INDEX[f"mouthSmile{side}"]] for side in ("Left", "Right")) > 0.4
    assert face.scores[EXPRESSION_INDEX["tongueOut"]] == 0
    right_eye, left_eye, chin = face.points[468], face.points[473], face.points[152]
    assert right_eye[0] < left_eye[0]
    assert chin[1] > right_eye[1] + face.interocular


def test_small_face_in_a_large_picture_is_found_at_its_place(photo: NDArray[np.uint8]) -> None:
    near = detect_face(photo)
    canvas = np.full((2600, 3000, 3), 200, dtype=np.uint8)
    canvas[1500:2012, 2100:2612] = photo
    far = detect_face(canvas)
    assert np.median(np.linalg.norm(far.points - [2100, 1500] - near.points, axis=1)) < 0.02 * near.interocular


def test_largest_face_wins(photo: NDArray[np.uint8]) -> None:
    head = photo[:260, 100:340]
    canvas = np.full((260, 440, 3), 200, dtype=np.uint8)
    canvas[:217, :200] = np.asarray(Image.fromarray(head).resize((200, 217)))
    canvas[:, 200:] = head
    face = detect_face(canvas)
    assert face.faces_found == 2
    assert face.points[:, 0].min() > 200


def test_no_face(photo: NDArray[np.uint8]) -> None:
    with pytest.raises(PhotoError, match="no face found"):
        detect_face(np.full((256, 256, 3), 180, dtype=np.uint8))


def test_face_too_small(photo: NDArray[np.uint8]) -> None:
    tiny = np.asarray(Image.fromarray(photo).resize((160, 160)))
    with pytest.raises(PhotoError, match="too small"):
        detect_face(tiny)


def test_wrong_shape_or_type(photo: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="uint8"):
        detect_face(photo.astype(np.float32))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\[512, 512\]"):
        detect_face(photo[..., 0])
