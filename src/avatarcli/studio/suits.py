"""Suits: which of the pack's jackets show a shirt and a tie beneath, and what colors those have."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from avatarcli.studio.skin import Color, color_of

_Outline = tuple[tuple[float, float], ...]


def _box(left: float, top: float, right: float, bottom: float) -> _Outline:
    return ((left, top), (right, top), (right, bottom), (left, bottom))


# Outlines on the pack's own pictures, as shares of width and height: shirts, and ties that lie upon them.
_SHIRTS: dict[str, tuple[_Outline, ...]] = {
    "male_elegantsuit01": (
        ((0.329, 0.008), (0.351, 0.008), (0.372, 0.050), (0.386, 0.066), (0.417, 0.071), (0.456, 0.052), (0.472, 0.061),
         (0.471, 0.077), (0.396, 0.136), (0.342, 0.217), (0.339, 0.215), (0.346, 0.114), (0.329, 0.020)),
        _box(0.300, 0.440, 0.345, 0.565),
    ),
    "male_casualsuit05": (
        _box(0.0, 0.139, 0.156, 0.195), _box(0.0, 0.218, 0.211, 0.265),
        _box(0.589, 0.007, 0.711, 0.364), _box(0.861, 0.305, 0.989, 0.662),
        _box(0.622, 0.682, 0.822, 0.768),
    ),
}  # fmt: skip
_TIES: dict[str, tuple[_Outline, ...]] = {
    "male_elegantsuit01": (
        ((0.380, 0.085), (0.390, 0.086), (0.392, 0.111), (0.384, 0.133), (0.371, 0.168), (0.360, 0.188), (0.342, 0.217),
         (0.338, 0.215), (0.347, 0.151), (0.359, 0.125), (0.361, 0.104), (0.366, 0.092)),
    ),
}  # fmt: skip
SUITS: dict[bool, dict[str, float]] = {
    False: {"male_elegantsuit01": 0.8, "male_casualsuit05": 0.2},
    True: {"male_elegantsuit01": 0.4, "male_casualsuit05": 0.6},
}
"""Jackets of men (False) and women (True), and how often each is worn. MakeHuman's garments fit everybody."""

_TIE_SHARE = {False: 0.8, True: 0.05}
# Linear albedo.
_SHIRT_COLORS: tuple[Color, ...] = (
    (0.78, 0.78, 0.77), (0.72, 0.73, 0.75), (0.75, 0.74, 0.70), (0.42, 0.54, 0.74), (0.55, 0.63, 0.76), (0.70, 0.55, 0.56),
    (0.35, 0.36, 0.38), (0.02, 0.02, 0.022),
)  # fmt: skip
_SHIRT_SHARES = (0.3, 0.15, 0.15, 0.12, 0.1, 0.05, 0.05, 0.08)
_TIE_COLORS: tuple[Color, ...] = (
    (0.30, 0.02, 0.03), (0.14, 0.015, 0.03), (0.016, 0.024, 0.08), (0.04, 0.10, 0.34), (0.28, 0.42, 0.64), (0.02, 0.02, 0.022),
    (0.20, 0.20, 0.22), (0.03, 0.10, 0.06), (0.50, 0.36, 0.06), (0.20, 0.05, 0.20),
)  # fmt: skip


@dataclass(frozen=True)
class Beneath:
    """What shows under a jacket. shirt, tie, stripe: linear colors, those of the tie equal to the shirt's where none is worn;
    pitch: the tie's stripes over the height of the texture."""

    shirt: Color
    tie: Color
    stripe: Color
    pitch: float


def draw_beneath(rng: np.random.Generator, *, female: bool) -> Beneath:
    """A shirt, most often a light one, and for most men a tie."""
    shirt = _varied(rng, _SHIRT_COLORS[rng.choice(len(_SHIRT_COLORS), p=_SHIRT_SHARES)], 0.08)
    tie, other = (_varied(rng, _TIE_COLORS[rng.integers(len(_TIE_COLORS))], 0.2) for _ in range(2))
    stripe = shirt if rng.random() < 0.3 else other if rng.random() < 0.4 else tie
    pitch = float(rng.uniform(35, 90))
    if rng.random() >= _TIE_SHARE[female]:
        tie = stripe = shirt
    return Beneath(shirt, tie, stripe, pitch)


def _varied(rng: np.random.Generator, color: Color, amount: float) -> Color:
    return color_of(np.clip(np.array(color) * np.exp(rng.normal(0, amount, 3)), 0.01, 0.85))


@cache
def parts(name: str, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Where a jacket's texture shows the shirt and the tie, bool [H, W] each."""
    shirt, tie = (_filled(table.get(name, ()), height, width) for table in (_SHIRTS, _TIES))
    return shirt & ~tie, tie


def _filled(outlines: tuple[_Outline, ...], height: int, width: int) -> Tensor:
    picture = Image.new("1", (width, height))
    for outline in outlines:
        ImageDraw.Draw(picture).polygon([(x * width, y * height) for x, y in outline], fill=1)
    return torch.from_numpy(np.array(picture))
