"""The hair network on a real photo whose hair anybody can point at."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from avatarcli.capture.hair_net import hair_probability
from example_photo import PHOTO

OUTLINE = [
    (170, 116), (156, 102), (154, 80), (157, 60), (172, 47), (187, 32), (210, 19), (227, 14), (245, 17), (265, 30), (287, 47),
    (299, 65), (300, 90), (295, 110), (282, 127), (271, 135), (268, 120), (268, 92), (260, 82), (240, 80), (215, 77), (195, 70),
    (187, 72), (181, 90), (179, 112), (175, 120),
]  # fmt: skip


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    return np.asarray(Image.open(PHOTO).convert("RGB"))


@pytest.fixture(scope="module")
def hair(astronaut: np.ndarray) -> np.ndarray:
    return hair_probability(astronaut, 512, 512)


def test_hair_frames_the_face(hair: np.ndarray) -> None:
    assert hair.dtype == np.float32
    assert hair[25:65, 205:255].min() > 0.95  # above the forehead
    assert hair[85:105, 282:292].mean() > 0.9  # beside the face
    assert hair[100:140, 195:250].max() < 0.2  # brows to mouth
    assert hair[230:].max() < 0.5  # suit
    assert hair[:, 330:].max() < 0.1  # shuttle
    assert hair[:140, :140].max() < 0.1  # flag


def test_hair_agrees_with_an_outline_drawn_by_hand(hair: np.ndarray) -> None:
    found = hair > 0.5
    drawn = Image.new("1", (512, 512))
    ImageDraw.Draw(drawn).polygon(OUTLINE, fill=1)
    both, either = found & np.asarray(drawn), found | np.asarray(drawn)
    assert both.sum() / either.sum() > 0.85


def test_a_mirror_image_has_mirrored_hair(astronaut: np.ndarray, hair: np.ndarray) -> None:
    mirrored = hair_probability(np.ascontiguousarray(astronaut[:, ::-1]), 512, 512)
    np.testing.assert_allclose(mirrored[:, ::-1], hair, atol=1e-4)


def test_size_asked_for_is_the_size_given(astronaut: np.ndarray, hair: np.ndarray) -> None:
    small = hair_probability(astronaut, 128, 120)
    assert small.shape == (128, 120)
    assert abs(small.mean() - hair.mean()) < 1e-3


def test_a_grey_wall_has_no_hair() -> None:
    assert hair_probability(np.full((140, 200, 3), 128, np.uint8), 140, 200).max() < 0.5
