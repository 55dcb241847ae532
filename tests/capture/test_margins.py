"""Bars and wedges around photos are cut off, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from avatarcli.capture.margins import without_margins
from avatarcli.capture.photo import read_photo, read_picture

HEIGHT, WIDTH = 480, 360


def portrait(*, ground: int = 150, coat: int = 90) -> NDArray[np.uint8]:
    """Before a plain backdrop a head above shoulders that slope down to both sides."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    head = ((columns - WIDTH / 2) / 90) ** 2 + ((rows - 190) / 120) ** 2 < 1
    shoulders = rows > 330 + 0.25 * abs(columns - WIDTH / 2)
    picture = np.full((HEIGHT, WIDTH, 3), ground, np.uint8)
    picture[shoulders] = coat
    picture[head] = (190, 150, 130)
    noise = np.random.default_rng(3).integers(-4, 5, picture.shape)
    return (picture.astype(int) + noise).clip(0, 255).astype(np.uint8)


def wedge(photo: NDArray[np.uint8], left: float, right: float, fill: int = 0) -> NDArray[np.uint8]:
    """Filled below a line that ends so many pixels above the lower corners."""
    rows, columns = np.mgrid[: len(photo), : photo.shape[1]]
    line = left + (right - left) * columns / photo.shape[1]
    marred = photo.copy()
    marred[len(photo) - rows <= line] = fill
    return marred


@pytest.mark.parametrize("fill", [0, 255])
@pytest.mark.parametrize(("left", "right"), [(30, 12), (0, 40), (24, -18), (17, 17)])
@pytest.mark.parametrize("side", range(4))
def test_bars_and_wedges_are_cut_off(side: int, left: float, right: float, fill: int) -> None:
    photo = np.rot90(portrait(), side)
    found = np.rot90(without_margins(np.rot90(wedge(photo, left, right, fill), -side)), side)
    assert found.shape[1] == photo.shape[1]
    cut = len(photo) - len(found)
    assert max(left, right) <= cut <= max(left, right) + 4
    assert np.array_equal(found, photo[: len(found)])


def test_bars_above_and_below_in_a_screenshot() -> None:
    photo = portrait()
    screen = np.zeros((900, WIDTH, 3), np.uint8)
    screen[210:690] = photo
    found = without_margins(screen)
    assert HEIGHT - 8 <= found.shape[0] <= HEIGHT
    assert found.shape[1] == WIDTH


@pytest.mark.parametrize(
    "photo",
    [
        portrait(),
        portrait(coat=2),
        portrait(ground=3),
        portrait(ground=255),
        portrait(ground=255, coat=1),
        portrait(ground=2, coat=3),
        np.zeros((200, 200, 3), np.uint8),
    ],
    ids=["grey", "black coat", "night", "white", "black on white", "black on black", "nothing"],
)
def test_dark_and_light_pictures_stay_whole(photo: NDArray[np.uint8]) -> None:
    assert without_margins(photo) is not photo
    assert np.array_equal(without_margins(photo), photo)


def test_a_photo_is_read_without_its_margins_unless_too_little_is_left(tmp_path: Path) -> None:
    path = tmp_path / "scan.png"
    Image.fromarray(wedge(portrait(), 40, 40)).save(path)
    assert read_picture(path).shape == (HEIGHT, WIDTH, 3)
    assert HEIGHT - 44 <= read_photo(path).shape[0] <= HEIGHT - 40
    Image.fromarray(wedge(portrait()[:140], 40, 40)).save(path)
    assert read_photo(path).shape == (140, WIDTH, 3)
