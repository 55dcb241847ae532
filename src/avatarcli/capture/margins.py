"""Margins that are no part of a photo: black or white bars, and the wedges that a turned scan leaves along its edges.

Left in, a wedge is taken for clothes, and a dark one is continued all over the chest.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

_BLACK, _WHITE = 24, 247  # of 255: filled margins are purer than these, but for what JPEG makes of them
_EDGE = 0.002  # of the photo's side: how far a margin's edge may be off a straight line
_STRAIGHT = 0.85  # of the columns must lie on it: beside dark clothes the rest runs on
_WEDGE, _BAR = 0.12, 0.45  # of the photo's side: a wedge is no higher, and a bar, which has the same height everywhere
_LEAST = 3.0  # pixels: lower margins do no harm
# A photo begins at once: of 255, how much it differs from the margin, so few pixels beyond its edge, in this share of the columns.
_JUMP, _BEYOND, _MOSTLY = 16, 3, 0.6
_FILLED = 0.3  # of the outermost row
# A line is fitted to what lies so near to the one before: shares of its height at first, then as near as it must be.
_NEAR = (1.0, 0.5, 0.25, 0.0)


def without_margins(photo: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The part of a photo [H, W, 3] inside its black or white margins; the photo itself where there are none.

    A margin is told by its edge, a straight line from side to side: no person and no plain backdrop has one.
    """
    for turns in range(4):
        turned = np.rot90(photo, turns)
        photo = np.rot90(turned[: len(turned) - _margin(turned)], -turns)
    return np.ascontiguousarray(photo)


def _margin(photo: npt.NDArray[np.uint8]) -> int:
    """Rows at the bottom of a photo [H, W, 3] that a margin reaches into."""
    lower = photo[: math.floor((1 - _BAR) * len(photo)) : -1]
    heights = []
    for values, purest in ((lower.max(-1), _BLACK), (255 - lower.min(-1), 255 - _WHITE)):
        if (values[0] <= purest).mean() > _FILLED:
            heights.append(_height(values, purest, len(photo)))
    return max(heights, default=0)


def _height(values: npt.NDArray[np.uint8], purest: int, side: int) -> int:
    """How high a margin reaches; 0 where there is none.

    values [K, W]: how far pixels are from the margin's color, the lowest row first; purest: up to which they have it; side: the
    photo's height.
    """
    pure = values <= purest
    runs = np.where(pure.all(0), len(pure), pure.argmin(0)).astype(np.float64)
    columns = np.arange(len(runs)) / len(runs)
    there, off = runs > 0, max(1.5, _EDGE * side)
    line = np.full(len(runs), np.median(runs[there]))
    for near in _NEAR:
        fitted = there & (abs(runs - line) <= max(near * line.max(), off))
        if fitted.sum() < len(runs) / 4:
            return 0
        slope, start = np.polyfit(columns[fitted], runs[fitted], 1)
        line = (start + slope * columns).clip(0)
    reach, rise = float(line.max()), float(line.max() - line.min())
    if not _LEAST <= reach < len(pure) - 1 or np.mean(abs(runs - line) <= off) < _STRAIGHT:
        return 0
    beyond = values[(runs.astype(int) + _BEYOND).clip(max=len(values) - 1), np.arange(len(runs))]
    if np.mean(beyond[there] > purest + _JUMP) < _MOSTLY:
        return 0
    return math.ceil(reach + off) if reach <= (_WEDGE if rise > 2 * off else _BAR) * side else 0
