"""A tongue that is put out, told from teeth, dark and lips by its color."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from avatarcli.capture.face_sequence import detect_faces
from avatarcli.capture.landmarks import measure_face
from avatarcli.capture.tongue import seen_tongue
from avatarcli.capture.video import probe_video
from avatarcli.head.expressions import EXPRESSION_INDEX
from avatarcli.head.face_points import FEATURE_LINES, LOWER_INNER_LIP, UPPER_INNER_LIP

Picture = NDArray[np.uint8]
LIGHTS = (1.0, 0.45, (1.0, 0.85, 0.6), (0.8, 0.95, 1.0))  # full, dim, of a lamp, of the sky
SKINS = ((224, 178, 150), (120, 80, 60))
# Of pictures: pale, deep red, and out of a mouth that is dark inside.
TONGUES = ((225, 140, 140), (205, 115, 115))


def face(opening: float) -> NDArray[np.float32]:
    """Landmarks [478, 2] of which only eyes, cheeks and lips are where a face has them; opening: eye distances."""
    points = np.full((478, 2), 100, np.float32)
    points[[33, 133, 263, 362]] = [[50, 60], [70, 60], [150, 60], [130, 60]]
    points[[205, 36, 203]] = [[50, 110], [55, 105], [60, 110]]
    points[[425, 266, 423]] = [[150, 110], [145, 105], [140, 110]]
    points[list(UPPER_INNER_LIP)] = [[x, 140] for x in range(80, 121, 10)]
    points[list(LOWER_INNER_LIP)] = [[x, 140 + 80 * opening] for x in range(80, 121, 10)]
    return points


def drawn(skin: tuple[int, ...], mouth: tuple[int, ...], light: float | tuple[float, ...]) -> Picture:
    picture = np.full((200, 200, 3), skin, np.float64)
    picture[138:170, 74:127] = mouth
    return (picture * np.asarray(light)).round().astype(np.uint8)


@pytest.mark.parametrize("light", LIGHTS)
@pytest.mark.parametrize("skin", SKINS)
def test_a_tongue_is_told_from_what_mouths_show_else(skin: tuple[int, ...], light: float | tuple[float, ...]) -> None:
    for tongue in TONGUES:
        assert seen_tongue(drawn(skin, tongue, light), face(0.2)) == 1.0
        assert 0.1 < seen_tongue(drawn(skin, tongue, light), face(0.07)) < 0.9
        assert seen_tongue(drawn(skin, tongue, light), face(0.02)) == 0.0  # shut lips have that color too
    for other in ((235, 225, 205), (200, 180, 150), (60, 25, 25), skin):  # teeth, worn teeth, the inside, a hand
        assert seen_tongue(drawn(skin, other, light), face(0.2)) == 0.0


def test_half_of_it_is_half_a_tongue() -> None:
    picture = drawn(SKINS[0], TONGUES[0], 1.0)
    picture[:, :95] = SKINS[0]  # over two of five columns
    assert 0.1 < seen_tongue(picture, face(0.2)) < 0.9


def test_a_smile_shows_none_until_one_is_drawn(
    tmp_path: Path, make_video: Callable[..., Path], portrait: Picture
) -> None:
    """The whole way from a film; the tongue covers the teeth and hangs over the lip."""
    points = measure_face(portrait).points
    lips = points[list(FEATURE_LINES["inner lips"])] + np.array([0, 1], np.float32)
    picture = Image.fromarray(portrait)
    ImageDraw.Draw(picture).polygon([tuple(map(float, point)) for point in lips], fill=(214, 128, 128))
    frames = [portrait] * 5 + [np.asarray(picture)] * 5
    sequence = detect_faces(probe_video(make_video(tmp_path / "a.mp4", frames)), 25.0)
    tongue = sequence.scores[:, EXPRESSION_INDEX["tongueOut"]]
    assert not tongue[:4].any()
    assert tongue[6:].min() > 0.5
