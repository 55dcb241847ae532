"""Pictures of strands: an atlas of locks for cards and tubes, and the hair that lies on the scalp."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from avatarcli.geometry import colors
from avatarcli.studio.hair.colors import HairColor
from avatarcli.studio.hair.guides import Hairline
from avatarcli.studio.hair.meshes import Patch
from avatarcli.studio.hair.space import Floats, HeadSpace, Ints, smoothstep

COLUMNS = 16
"""Locks side by side in an atlas: the first ones dense, the last ones of a few loose hairs."""
DENSE, LOOSE = 10, 13  # locks [0, DENSE) are dense, [DENSE, LOOSE) open, [LOOSE, COLUMNS) a few hairs
PATTERNS = 6
"""Atlases of each kind; which one a style takes comes from its seed."""
_LOCK_WIDTH, _LOCK_HEIGHT, _SOLID_HEIGHT = 32, 224, 96
_CARD_END = _LOCK_HEIGHT / (_LOCK_HEIGHT + _SOLID_HEIGHT)
_SCALP_SIZE = 288

# How far hairs swing inside of a lock (share of its width), and how often from root to tip.
KINDS: dict[str, tuple[float, float]] = {
    "straight": (0.03, 1.0),
    "wavy": (0.12, 3.0),
    "curly": (0.22, 7.0),
    "coily": (0.30, 14.0),
    "plait": (0.05, 2.0),
}


@dataclass(frozen=True)
class _Pattern:
    """alpha, light [H, W]: cover and shading; lot, other_lot [H, W] in [0, 1]: two lots that each strand has drawn;
    along [H, 1]: share of the strand."""

    alpha: Floats
    light: Floats
    lot: Floats
    other_lot: Floats
    along: Floats


def card_patch(columns: Ints, first: float = 0.0, last: float = 1.0) -> Patch:
    """Where cards find locks [N] of an atlas, from one share of a strand's length to another."""
    left = columns.astype(np.float32) / COLUMNS
    return Patch(left + 0.001, left + (1 / COLUMNS - 0.001), max(first * _CARD_END, 0.001), last * _CARD_END - 0.004)


def solid_patch(columns: Ints) -> Patch:
    """Where tubes find locks [N] without gaps or tips."""
    left = columns.astype(np.float32) / COLUMNS
    return Patch(left + 0.002, left + (1 / COLUMNS - 0.002), _CARD_END + 0.006, 0.998)


@lru_cache(maxsize=len(KINDS) * PATTERNS)
def _pattern(kind: str, number: int) -> _Pattern:
    rng = np.random.default_rng([7919, number, list(KINDS).index(kind)])
    swing, turns = KINDS[kind]
    height, width = _LOCK_HEIGHT, _LOCK_WIDTH
    v = (np.arange(height, dtype=np.float32) + 0.5) / height
    x = (np.arange(width, dtype=np.float32) + 0.5) / width
    alpha = np.zeros((height, COLUMNS * width), np.float32)
    light, lots = np.ones_like(alpha), np.zeros((2, *alpha.shape), np.float32)
    for column in range(COLUMNS):
        count, breadth = (17, 0.050) if column < DENSE else (10, 0.034) if column < LOOSE else (4, 0.024)
        place = (np.arange(count) + rng.uniform(0.1, 0.9, count)) / count * 0.9 + 0.05
        order = rng.permutation(count)
        gather = rng.uniform(0.0, 0.45)
        centre = place[:, None] + (0.5 + rng.normal(0, 0.12, (count, 1)) - place[:, None]) * gather * v**1.5
        phase = rng.uniform(0, 2 * np.pi, (count, 1)) * (0.25 if swing < 0.2 else 1.0)
        rate = turns * rng.uniform(0.8, 1.25, (count, 1))
        amplitude = swing * rng.uniform(0.5, 1.1, (count, 1)) * np.minimum(1, v * 6)
        centre = centre + amplitude * np.sin(2 * np.pi * rate * v + phase) * (1 - 0.5 * np.abs(2 * place[:, None] - 1))
        end = 1 - rng.uniform(0, 1, (count, 1)) ** 1.6 * 0.42
        thin = np.clip((end - v) / 0.28, 0, 1) ** 0.6
        shape = np.exp(-(((x[None, None] - centre[..., None]) / (breadth * (0.35 + 0.65 * thin[..., None]))) ** 2))
        # Roots come out of the hair below one by one, or the cards' ends would show.
        born = np.clip((v - rng.uniform(-0.02, 0.045, (count, 1))) / 0.03, 0, 1)
        cover = np.clip(shape * 1.7, 0, 1) * (np.clip(thin * 2.2, 0, 1) * born)[..., None]
        tone = rng.normal(0, 1, count)
        region = slice(column * width, (column + 1) * width)
        clear = np.ones((height, width), np.float32)
        shade, draw = np.zeros((height, width)), np.zeros((2, height, width))
        for k in order:  # front to back
            part = cover[k] * clear
            shade += part * (1 + 0.22 * tone[k]) * (0.62 + 0.38 * shape[k])
            draw += part * rng.random((2, 1, 1))
            clear = clear * (1 - cover[k])
        total = 1 - clear
        alpha[:, region] = total
        light[:, region] = shade / np.maximum(total, 1e-3)
        lots[:, :, region] = draw / np.maximum(total, 1e-3)
        light[:, region] *= 1 + 0.10 * rng.normal()
    solid = slice(height // 4, height // 4 + _SOLID_HEIGHT)
    solid_light = light[solid]
    if kind == "plait":  # crossing strands, drawn as a herringbone
        u, w = np.meshgrid(x, (np.arange(_SOLID_HEIGHT) + 0.5) / _SOLID_HEIGHT)
        bone = np.abs(np.sin(np.pi * (4 * w + 1.2 * np.abs(2 * ((2 * u) % 1) - 1))))
        solid_light = solid_light * np.tile(0.35 + 0.75 * bone, (1, COLUMNS))
    along = np.concatenate([v, np.full(_SOLID_HEIGHT, 0.45, np.float32)])[:, None]
    return _Pattern(
        np.concatenate([alpha, np.ones((_SOLID_HEIGHT, alpha.shape[1]), np.float32)]),
        np.concatenate([light, solid_light]).astype(np.float32),
        np.concatenate([lots[0], lots[0][solid]]),
        np.concatenate([lots[1], lots[1][solid]]),
        along.astype(np.float32),
    )


def strand_atlas(kind: str, number: int, color: HairColor, rng: np.random.Generator) -> Tensor:
    """uint8 [H, W, 4]: COLUMNS locks of one of KINDS in a color; above for cards (root above, tip below), under it
    without gaps.
    """
    pattern = _pattern(kind, number % PATTERNS)
    tint = 1 + color.spread * 0.4 * rng.normal(size=COLUMNS)
    tint = np.repeat(np.clip(tint, 0.45, 1.7), _LOCK_WIDTH)[None]
    # Some columns take the streaks of their whole lock, as highlights are painted lock by lock.
    bias = np.repeat(rng.normal(0, 0.25, COLUMNS), _LOCK_WIDTH)[None]
    rgb = mixed(color, pattern.along, np.clip(pattern.lot + bias, 0, 1), pattern.other_lot)
    return encoded(rgb * (pattern.light * tint)[..., None], pattern.alpha)


def scalp_texture(
    space: HeadSpace,
    hairline: Hairline,
    color: HairColor,
    rng: np.random.Generator,
    *,
    opacity: float,
    stubble: float,
    strip: float = 1.0,
    thin: float = 0.0,
) -> Tensor:
    """uint8 [S, S, 4]: hair that lies on the scalp, over the chart.

    opacity: where it is dense; stubble 0: combed, 1: cropped dots; strip: metres; outside of this half width the hair
    is shaved to a shadow; thin: share of hair lost on top.
    """
    points, angle, reach = space.chart_picture(_SCALP_SIZE)
    depth = hairline.depth(points)
    size = _SCALP_SIZE
    streaks = rng.normal(size=(14, 640)).astype(np.float32)
    streaks = ndimage.map_coordinates(
        streaks, [reach * 12 + 0.5, (angle / (2 * np.pi) + 0.5) * 639], order=1, mode="nearest"
    )
    dots = rng.normal(size=(size, size)).astype(np.float32)
    noise = (1 - stubble) * streaks + stubble * dots
    edge = np.clip(depth / (hairline.soft * 1.6) + 0.15, 0, 1)
    # At the hairline only some hairs are left, so the noise decides.
    alpha = opacity * np.clip(edge * 1.35 + 0.35 * noise * (1 - edge) - 0.15, 0, 1) * (depth > -hairline.soft)
    if strip < 0.2:
        alpha = alpha * (0.45 + 0.55 * smoothstep(strip + 0.004, strip - 0.004, np.abs(points[..., 0])))
    if thin > 0:
        alpha = alpha * (1 - thin * smoothstep(0.06, 0.09, points[..., 1]))
    lot = np.clip(0.5 + 0.28 * noise, 0, 1)
    rgb = (
        mixed(color, np.zeros((size, 1), np.float32), lot, lot)
        * np.maximum(0.82 + (0.10 + 0.25 * stubble) * noise, 0.1)[..., None]
    )
    return encoded(rgb, alpha)


def mixed(color: HairColor, along: Floats, lot: Floats, other_lot: Floats) -> Floats:
    """Linear RGB [H, W, 3] of strands: roots to tips, then streaks, then grey."""
    root, tip = np.array(color.root, np.float32), np.array(color.tip, np.float32)
    turned = smoothstep(color.turn - 0.22, color.turn + 0.22, along)[..., None]
    rgb = root * (1 - turned) + tip * turned + np.zeros((*lot.shape, 1), np.float32)
    if color.streak > 0:
        chosen = (smoothstep(color.streak + 0.08, color.streak - 0.08, lot) * smoothstep(0.02, 0.2, along))[..., None]
        rgb = rgb * (1 - chosen) + np.array(color.streak_color, np.float32) * chosen
    if color.grey > 0:
        grey = color.grey * 1.3 - 0.15
        chosen = smoothstep(grey + 0.15, grey - 0.15, other_lot)[..., None]
        rgb = rgb * (1 - chosen) + np.array(color.grey_color, np.float32) * chosen
    return rgb


# The sRGB levels, 8 bits, of 4096 steps of linear light.
_ENCODING = (colors.encoded(torch.arange(4096, dtype=torch.float64) / 4095) * 255 + 0.5).to(torch.uint8).numpy()


def encoded(rgb: Floats, alpha: Floats) -> Tensor:
    """An sRGB picture uint8 [H, W, 4] of linear light [H, W, 3] and alpha [H, W]."""
    picture = np.empty((*alpha.shape, 4), np.uint8)
    picture[..., :3] = _ENCODING[(np.clip(rgb, 0, 1) * 4095).astype(np.int16)]
    picture[..., 3] = (np.clip(alpha, 0, 1) * 255 + 0.5).astype(np.uint8)
    return torch.from_numpy(picture)
