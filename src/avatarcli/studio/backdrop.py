"""What stands behind a subject: white, a color, a gradient, noise, or a blurred room."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.geometry.fill import blur, resized

_KINDS = ("white", "flat", "gradient", "noise", "room")
_SHARES = (0.2, 0.2, 0.2, 0.1, 0.3)
_PHOTO_SHARE = 0.5  # of the rooms, where there are photos
_SHORT_BLUR, _LONG_BLUR = 0.01, 0.12  # of the picture's side


def draw_backdrop(rng: np.random.Generator, size: int, photos: Sequence[Tensor] = ()) -> Tensor:
    """A background [S, S, 3], sRGB-encoded in [0, 1].

    photos: uint8 [H, W, 3], of which blurred parts are taken now and then.
    """
    kind = _KINDS[rng.choice(len(_KINDS), p=_SHARES)]
    if kind == "white":
        return torch.full((size, size, 3), float(rng.uniform(0.96, 1.0)) if rng.random() < 0.5 else 1.0)
    if kind == "flat":
        return _colors(rng, 1)[0].expand(size, size, 3).clone()
    if kind == "gradient":
        return _gradient(rng, size)
    if kind == "noise":
        return _noise(rng, size)
    if photos and rng.random() < _PHOTO_SHARE:
        picture = _part(rng, photos[int(rng.integers(len(photos)))], size)
    else:
        picture = _room(rng, size)
    return blur(picture, float(np.exp(rng.uniform(np.log(_SHORT_BLUR), np.log(_LONG_BLUR)))) * size)


def _colors(rng: np.random.Generator, count: int) -> Tensor:
    """Colors [n, 3], greyish more often than pure."""
    grey = rng.uniform(0.05, 0.98, (count, 1))
    pure = rng.uniform(0, 1, (count, 3))
    share = rng.beta(1, 2.5, (count, 1))
    return torch.from_numpy((grey * (1 - share) + pure * share).astype(np.float32))


def _gradient(rng: np.random.Generator, size: int) -> Tensor:
    """From one color to another, along a line or outwards, as studio walls are lit."""
    first, second = _colors(rng, 1)[0], _colors(rng, 1)[0]
    second = first + (second - first) * float(rng.uniform(0.2, 1))
    rows, columns = _grid(size)
    if rng.random() < 0.5:
        angle = float(rng.uniform(0, 2 * np.pi))
        share = 0.5 + (columns * np.cos(angle) + rows * np.sin(angle)) * 0.7
    else:
        x, y = (float(v) for v in rng.uniform(-0.4, 0.4, 2))
        share = ((columns - x).square() + (rows - y).square()).sqrt() * float(rng.uniform(0.8, 1.6))
    return (first + (second - first) * share.clamp(0, 1)[..., None]).clamp(0, 1)


def _noise(rng: np.random.Generator, size: int) -> Tensor:
    """Clouds of several sizes in two colors."""
    total = torch.zeros(size, size)
    for cells in (3, 6, 12, 24, 48):
        grain = torch.from_numpy(rng.normal(size=(1, 1, cells, cells)).astype(np.float32))
        total = (
            total + functional.interpolate(grain, (size, size), mode="bicubic", align_corners=False)[0, 0] / cells**0.7
        )
    first, second = _colors(rng, 2)
    return (first + (second - first) * (total * 1.2).sigmoid()[..., None]).clamp(0, 1)


def _room(rng: np.random.Generator, size: int) -> Tensor:
    """A wall with furniture, windows and lamps, to be blurred: boxes and discs of many sizes."""
    picture = _gradient(rng, size)
    rows, columns = _grid(size)
    for _ in range(int(rng.integers(4, 22))):
        color = _colors(rng, 1)[0]
        x, y = (float(v) for v in rng.uniform(-0.5, 0.5, 2))
        width, height = (float(v) for v in np.exp(rng.uniform(np.log(0.03), np.log(0.5), 2)))
        if rng.random() < 0.7:
            inside = ((columns - x).abs() < width / 2) & ((rows - y).abs() < height / 2)
        else:
            inside = (columns - x).square() + (rows - y).square() < (width / 4) ** 2
            color = (color * 1.6).clamp(0, 1)
        picture = torch.where(inside[..., None], color, picture)
    return picture


def _part(rng: np.random.Generator, photo: Tensor, size: int) -> Tensor:
    height, width = photo.shape[:2]
    side = int(min(height, width) * rng.uniform(0.4, 1.0))
    top, left = int(rng.integers(0, height - side + 1)), int(rng.integers(0, width - side + 1))
    return resized(photo[top : top + side, left : left + side].float() / 255, size, size)


def _grid(size: int) -> tuple[Tensor, Tensor]:
    axis = (torch.arange(size) + 0.5) / size - 0.5
    return axis[:, None].expand(size, size), axis[None].expand(size, size)
