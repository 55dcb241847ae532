"""MediaPipe on a real photo, on parts of it, and on pictures without a face."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from avatarcli.capture.face_crop import FaceCrop
from avatarcli.capture.landmarks import choose_face, detect_face, find_faces, measure_face, upright
from avatarcli.errors import PhotoError
from avatarcli.head.expressions import EXPRESSION_INDEX
from example_photo import PHOTO


@pytest.fixture(scope="module")
def photo() -> NDArray[np.uint8]:
    return np.asarray(Image.open(PHOTO).convert("RGB"))


def test_finds_the_face(photo: NDArray[np.uint8]) -> None:
    face = detect_face(photo)
    assert face.points.shape == (478, 2)
    assert face.scores.shape == (52,)
    assert abs(face.yaw) < 30
    # She smiles with both sides of the mouth; MediaPipe knows no tongue.
    assert min(face.scores[EXPRESSION_INDEX[f"mouthSmile{side}"]] for side in ("Left", "Right")) > 0.4
    assert face.scores[EXPRESSION_INDEX["tongueOut"]] == 0
    right_eye, left_eye, chin = face.points[468], face.points[473], face.points[152]
    assert right_eye[0] < left_eye[0]
    assert chin[1] > right_eye[1] + face.interocular
    assert face.steady
    assert face.unsteadiness > 0


def test_a_face_that_no_framing_shows_again_is_not_steady(photo: NDArray[np.uint8]) -> None:
    face = detect_face(photo)
    assert not measure_face(np.full_like(photo, 180), face).steady


def test_a_crop_knows_its_face(photo: NDArray[np.uint8]) -> None:
    found = detect_face(photo)
    seen = FaceCrop.of(photo, 256, found)
    assert seen.crop.image.shape == (256, 256, 3)
    assert np.abs(seen.face.points - seen.crop.to_crop(found.points)).max() < 0.1 * seen.face.interocular


def test_small_face_in_a_large_picture_is_found_at_its_place(photo: NDArray[np.uint8]) -> None:
    near = detect_face(photo)
    canvas = np.full((2600, 3000, 3), 200, dtype=np.uint8)
    canvas[1500:2012, 2100:2612] = photo
    far = detect_face(canvas)
    assert np.median(np.linalg.norm(far.points - [2100, 1500] - near.points, axis=1)) < 0.02 * near.interocular


def _side_by_side(photo: NDArray[np.uint8], *heights: int) -> NDArray[np.uint8]:
    """Her head several times, each so many pixels high, from left to right."""
    head = Image.fromarray(photo[:260, 100:340])
    heads = [np.asarray(head.resize((round(height * 240 / 260), height))) for height in heights]
    canvas = np.full((max(heights), sum(part.shape[1] for part in heads), 3), 200, dtype=np.uint8)
    left = 0
    for part in heads:
        canvas[: part.shape[0], left : left + part.shape[1]] = part
        left += part.shape[1]
    return canvas


def test_faces_are_told_apart_by_size_and_place(photo: NDArray[np.uint8]) -> None:
    canvas = _side_by_side(photo, 217, 260)
    assert detect_face(canvas).points[:, 0].min() > 200
    faces = find_faces(canvas)
    assert [choose_face(faces, which) for which in ("largest", "left", "right", "1", "2")] == [1, 0, 1, 0, 1]
    with pytest.raises(PhotoError, match=r"shows 2 faces: there is no face 3"):
        choose_face(faces, "3")
    # Measured again where it lies, though a larger face is in the same picture.
    again = measure_face(canvas, faces[0])
    assert np.linalg.norm(again.points - faces[0].points, axis=1).max() < 0.1 * again.interocular


def test_every_face_of_a_group_is_counted_once(photo: NDArray[np.uint8]) -> None:
    row = _side_by_side(photo, 400, 330, 400, 300, 400)
    group = np.concatenate([row, row[:, ::-1]])
    faces = find_faces(group)
    assert len(faces) == 10
    middles = [float(face.points[:, 0].mean()) for face in faces]
    assert middles == sorted(middles)
    assert len(find_faces(photo)) == 1


@pytest.mark.parametrize("turns", range(4))
def test_a_photo_is_set_upright_however_it_lies(photo: NDArray[np.uint8], turns: int) -> None:
    with Image.open(Path(__file__).with_name("lisa.jpg")) as image:
        lisa = np.asarray(image)  # of this one the detector sees a face upside down as well
    for picture in (photo, lisa):
        back, done = upright(np.ascontiguousarray(np.rot90(picture, turns)))  # rot90 turns counterclockwise
        assert done == turns
        assert np.array_equal(back, picture)


def test_what_shows_no_face_is_not_turned() -> None:
    assert upright(np.full((300, 200, 3), 180, dtype=np.uint8))[1] == 0


def test_no_face(photo: NDArray[np.uint8]) -> None:
    with pytest.raises(PhotoError, match="no face found"):
        detect_face(np.full((256, 256, 3), 180, dtype=np.uint8))
    with pytest.raises(PhotoError, match="no face found"):
        find_faces(np.full((256, 256, 3), 180, dtype=np.uint8))


def test_face_too_small(photo: NDArray[np.uint8]) -> None:
    tiny = np.asarray(Image.fromarray(photo).resize((160, 160)))
    with pytest.raises(PhotoError, match="too small"):
        detect_face(tiny)


def test_wrong_shape_or_type(photo: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="uint8"):
        detect_face(photo.astype(np.float32))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\[512, 512\]"):
        detect_face(photo[..., 0])
