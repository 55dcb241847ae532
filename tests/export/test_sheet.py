"""Contact sheets: every picture is in its cell, untouched, with ink where the labels are."""

from __future__ import annotations

import numpy as np
import pytest

from avatarcli.export.images import Frame
from avatarcli.export.sheet import BACKGROUND, contact_sheet


def colors(rows: int, columns: int, channels: int = 3) -> list[list[Frame]]:
    rng = np.random.default_rng(1)
    return [[rng.integers(0, 256, (40, 30, channels), dtype=np.uint8) for _ in range(columns)] for _ in range(rows)]


def find(sheet: Frame, cell: Frame) -> tuple[int, int]:
    height, width = cell.shape[:2]
    windows = np.lib.stride_tricks.sliding_window_view(sheet, (height, width, 3))[:, :, 0]
    hits = np.argwhere((windows == cell).all(axis=(2, 3, 4)))
    assert len(hits) == 1
    return int(hits[0, 0]), int(hits[0, 1])


def test_pictures_stand_in_their_cells_beside_their_labels() -> None:
    images = colors(2, 3)
    sheet = contact_sheet(images, ["neutral", "open mouth"], ["front", "left", "back"])
    assert sheet.dtype == np.uint8
    places = np.array([[find(sheet, cell) for cell in row] for row in images])
    assert (np.ptp(places[:, :, 0], axis=1) == 0).all()
    assert (np.ptp(places[:, :, 1], axis=0) == 0).all()
    assert (np.diff(places[:, :, 0], axis=0) >= 40).all()
    assert (np.diff(places[:, :, 1], axis=1) >= 30).all()
    ink = (sheet != BACKGROUND).any(axis=2)
    top, left = places[0, 0]
    for column in range(3):  # a label above each column, inside its width
        x = places[0, column, 1]
        assert ink[:top, x : x + 30].any()
    for row in range(2):  # a label left of each row
        y = places[row, 0, 0]
        assert ink[y : y + 40, :left].any()
    assert not ink[:, 0].any()
    assert not ink[0].any()


def test_transparency_shows_the_background() -> None:
    images = colors(1, 2, 4)
    for cell in images[0]:
        cell[:20, :, 3], cell[20:, :, 3] = 0, 255
    sheet = contact_sheet(images, [""], ["a", "b"])
    clear = np.broadcast_to(np.array(BACKGROUND, np.uint8), (20, 30, 3))
    for cell in images[0]:
        find(sheet, np.concatenate([clear, cell[20:, :, :3]]))


def test_ragged_sheets_are_refused() -> None:
    with pytest.raises(ValueError, match="row labels"):
        contact_sheet(colors(2, 2), ["one"], ["a", "b"])
    with pytest.raises(ValueError, match="3 pictures of 30 × 40"):
        contact_sheet(colors(2, 2), ["one", "two"], ["a", "b", "c"])
