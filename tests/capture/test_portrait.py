"""The portrait of a photo: its matte where a crop is padded, its labels on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from avatarcli.capture.photo import photo_window
from avatarcli.capture.portrait import Label, Portrait, find_hair
from example_photo import PHOTO

LEFT, TOP = 70, 40  # pixels of padding


@pytest.fixture(scope="module")
def head() -> np.ndarray:
    return np.asarray(Image.open(PHOTO).convert("RGB").crop((90, 0, 350, 260)))


@pytest.fixture(scope="module")
def padded(head: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A crop that reaches beyond the photo: image and inside, as `head_crop` makes them."""
    image = np.pad(head, ((TOP, 0), (LEFT, 0), (0, 0)), mode="edge")
    inside = np.zeros(image.shape[:2], np.float32)
    inside[TOP:, LEFT:] = 1
    return image, inside


def test_padding_changes_neither_matte_nor_hair(head: np.ndarray, padded: tuple[np.ndarray, np.ndarray]) -> None:
    """The streaks of the padding are no picture of anything: networks must not see them."""
    image, inside = padded
    everywhere = np.ones(head.shape[:2], np.float32)
    whole, hair = Portrait.cut_out(head, everywhere), find_hair(head, everywhere)
    part = Portrait.cut_out(image, inside)
    torch.testing.assert_close(part.matte[TOP:, LEFT:], whole.matte)
    assert part.matte[:TOP].max() == 0
    assert part.matte[:, :LEFT].max() == 0
    np.testing.assert_allclose(find_hair(image, inside)[TOP:, LEFT:], hair)
    again = Portrait.cut_out(head, everywhere, hair)
    torch.testing.assert_close(again.matte, whole.matte)


def test_photo_window_is_where_any_photo_is() -> None:
    inside = np.zeros((10, 12), np.float32)
    inside[2:7, 3:11] = 1
    inside[1, 3:11] = 0.2  # a row that the photo fills in part
    assert photo_window(inside) == (slice(1, 7), slice(3, 11))


def small_portrait() -> Portrait:
    grey = torch.full((8, 8, 3), 128 / 255)
    labels = torch.zeros(8, 8, dtype=torch.uint8)
    labels[:4], labels[4:6], labels[6:] = Label.HAIR, Label.SKIN, Label.CLOTHES
    return Portrait(grey, grey, torch.ones(8, 8), torch.ones(8, 8), labels)


def test_labels_come_back_from_disk_as_indices_with_colors(tmp_path: Path) -> None:
    portrait = small_portrait()
    portrait.save(tmp_path)
    loaded = Portrait.load(tmp_path)
    assert loaded.labels is not None
    torch.testing.assert_close(loaded.labels, portrait.labels)
    with Image.open(tmp_path / "labels.png") as picture:
        assert picture.mode == "P"
        colors = np.asarray(picture.convert("RGB"))
    assert len(np.unique(colors.reshape(-1, 3), axis=0)) == 3


def test_a_portrait_without_labels_still_loads(tmp_path: Path) -> None:
    replace(small_portrait(), labels=None).save(tmp_path)
    loaded = Portrait.load(tmp_path)
    assert loaded.labels is None
    assert loaded.region(Label.HAIR) is None
    assert loaded.resized(4).labels is None


def test_region_and_size_of_labels() -> None:
    portrait = small_portrait()
    hair, cover = portrait.region(Label.HAIR), portrait.region(Label.HAIR, Label.CLOTHES)
    assert hair is not None
    assert cover is not None
    assert hair.sum() == 32
    assert cover.sum() == 48
    half = portrait.resized(4)
    assert half.labels is not None
    assert half.labels.dtype == torch.uint8
    assert half.labels[:, 0].tolist() == [Label.HAIR, Label.HAIR, Label.SKIN, Label.CLOTHES]
