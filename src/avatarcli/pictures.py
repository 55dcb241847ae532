"""Pictures as tensors, as 8-bit arrays and as PNG files."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch
from torch import Tensor

from avatarcli.arrays import Pixels
from avatarcli.files import replacing


def to_bytes(picture: Tensor) -> Pixels:
    """A picture of any shape in [0, 1] as 8-bit values; what lies outside of that is clipped."""
    array: Pixels = (picture.clamp(0, 1) * 255).round().byte().cpu().numpy()
    return array


def encode_png(picture: Tensor | Pixels) -> bytes:
    """A PNG file of a picture [H, W] or [H, W, 3 or 4]: a tensor in [0, 1], or 8-bit values."""
    pixels = to_bytes(picture) if isinstance(picture, Tensor) else picture
    content: bytes = iio.imwrite("<bytes>", np.ascontiguousarray(pixels), plugin="pillow", extension=".png")
    return content


def write_png(path: Path, picture: Tensor | Pixels) -> None:
    """Write what `encode_png` makes. A reader never sees half a file. Raises OSError."""
    with replacing(path) as partial:
        partial.write_bytes(encode_png(picture))


def read_picture(path: Path, mode: str | None = None) -> Tensor:
    """A picture [H, W] or [H, W, C] in [0, 1], as stored or in Pillow's `mode` ("RGB", "RGBA"). Raises OSError."""
    return torch.from_numpy(np.array(iio.imread(path, plugin="pillow", mode=mode))).float() / 255
