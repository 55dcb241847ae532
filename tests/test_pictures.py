"""Pictures survive their files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from avatarcli.pictures import encode_png, read_picture, to_bytes, write_png


@pytest.mark.parametrize("shape", [(9, 13), (9, 13, 3), (9, 13, 4)])
def test_a_picture_comes_back_within_half_a_level(tmp_path: Path, shape: tuple[int, ...]) -> None:
    picture = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    path = tmp_path / "picture.png"
    write_png(path, picture)
    again = read_picture(path)
    assert again.shape == shape
    assert (again - picture).abs().max() <= 0.5 / 255 + 1e-6
    assert np.array_equal(np.asarray(Image.open(path)), to_bytes(picture))
    assert encode_png(to_bytes(picture)) == path.read_bytes()
    assert list(tmp_path.iterdir()) == [path]


def test_values_beyond_the_range_are_clipped() -> None:
    assert to_bytes(torch.tensor([-0.2, 0.0, 0.5, 1.0, 1.7])).tolist() == [0, 0, 128, 255, 255]


def test_a_grey_picture_is_read_in_another_mode(tmp_path: Path) -> None:
    path = tmp_path / "grey.png"
    write_png(path, torch.full((2, 3), 0.2))
    assert read_picture(path, "RGBA")[0, 0].tolist() == pytest.approx([0.2, 0.2, 0.2, 1.0])


def test_a_damaged_picture_is_an_os_error(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    path.write_bytes(encode_png(torch.rand(64, 64, 3))[:900])
    with pytest.raises(OSError, match="truncated"):
        read_picture(path)
    with pytest.raises(FileNotFoundError):
        read_picture(tmp_path / "none.png")
