"""Numba kernels that sort splats by depth and list those of every tile of the picture. See `rasterize_cpu`.

Every constant is a float32: one stray Python float would turn the whole expression into float64 in Numba.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]

# Everything `fastmath` allows except the promise that there are no NaNs and infinities: damaged Gaussians must be
# noticed.
FAST = {"reassoc", "contract", "arcp", "nsz", "afn"}

# Tiles are squares of this many pixels. 8 and 32 were slower: more lists, or more pixels that nothing touches.
TILE = 16

# Columns of a splat, a Gaussian as it stands in the picture: centre (pixels), the conic (inverse covariance) as
# A/2, B, C/2 so that sigma = A/2 dx² + B dx dy + C/2 dy², opacity, the sigma where it fades below ALPHA_MIN,
# and its reach above and below the centre (pixels).
SPLAT_COLUMNS = 8

_RADIX_BITS = 11
_ZERO, _HALF, _ONE, _TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
_SIZE, _LAST = np.float32(TILE), np.float32(TILE - 1)
# Slack for rounding: in pixels, as a share of a width, and what a determinant is at least.
_SLACK_PIXELS, _SLACK, _TINY = np.float32(0.01), np.float32(1e-4), np.float32(1e-30)


@njit(cache=True)
def depth_order(depth_bits: NDArray[np.uint32]) -> I32:
    """Numbers of the Gaussians with a depth other than zero, from near to far, equal depths in their order [K].

    depth_bits [N]: the bits of the float32 depths, which sort as whole numbers do since no depth is negative.
    A radix sort: three stable passes of 11 bits.
    """
    buckets, mask = 1 << _RADIX_BITS, np.uint32((1 << _RADIX_BITS) - 1)
    counts = np.zeros((3, buckets), np.int32)
    drawn = 0
    for bits in depth_bits:
        if bits != 0:
            drawn += 1
            counts[0, bits & mask] += 1
            counts[1, (bits >> np.uint32(_RADIX_BITS)) & mask] += 1
            counts[2, bits >> np.uint32(2 * _RADIX_BITS)] += 1
    order, sorted_ = np.empty(drawn, np.int32), np.empty(drawn, np.int32)
    filled = 0
    for g in range(len(depth_bits)):
        if depth_bits[g] != 0:
            order[filled] = g
            filled += 1
    for digit in range(3):
        place = 0
        for bucket in range(buckets):
            count = counts[digit, bucket]
            counts[digit, bucket] = place
            place += count
        shift = np.uint32(digit * _RADIX_BITS)
        for i in range(drawn):
            g = order[i]
            bucket = (depth_bits[g] >> shift) & mask
            sorted_[counts[digit, bucket]] = g
            counts[digit, bucket] += 1
        order, sorted_ = sorted_, order
    return order


@njit(inline="always")
def _tile_rows(splat, tiles_y):  # type: ignore[no-untyped-def]
    """First and one past the last row of tiles that a splat reaches."""
    first = int(max(np.floor((splat[1] - splat[7]) / _SIZE), _ZERO))
    last = int(min(max(np.floor((splat[1] + splat[7]) / _SIZE) + _ONE, _ZERO), np.float32(tiles_y)))
    return first, last


@njit(inline="always")
def _tile_columns(splat, row, tiles_x):  # type: ignore[no-untyped-def]
    """First and one past the last tile of a row of tiles that the visible ellipse of a splat meets.

    The ellipse is A dx² + 2 B dx dy + C dy² = q. Within the strip of the row's pixel centres it reaches furthest
    right at its rightmost point, or at the nearest dy in the strip; the left is its mirror image through the centre.
    """
    a, b, c, q = _TWO * splat[2], splat[3], _TWO * splat[4], _TWO * splat[6]
    low = np.float32(row * TILE) + _HALF - splat[1]
    high = low + _LAST
    determinant = a * c - b * b
    tip = -b * math.sqrt(max(q / (c * max(determinant, _TINY)), _ZERO))
    dy_right, dy_left = min(max(tip, low), high), min(max(-tip, low), high)
    right = (-b * dy_right + math.sqrt(max(q * a - determinant * dy_right * dy_right, _ZERO))) / a
    left = (-b * dy_left - math.sqrt(max(q * a - determinant * dy_left * dy_left, _ZERO))) / a
    slack = _SLACK_PIXELS + _SLACK * (right - left)
    # From pixel centres to whole tiles: centre i + 0.5 is inside when left ≤ i + 0.5 ≤ right.
    first = np.floor((splat[0] + left - slack - _HALF + _ONE) / _SIZE)
    last = np.floor((splat[0] + right + slack - _HALF) / _SIZE) + _ONE
    limit = np.float32(tiles_x)
    return int(min(max(first, _ZERO), limit)), int(min(max(last, _ZERO), limit))


@njit(inline="always")
def tiles_met(splat, tiles_x, tiles_y):  # type: ignore[no-untyped-def]
    """How many tiles a splat meets."""
    total = 0
    first_row, last_row = _tile_rows(splat, tiles_y)
    for row in range(first_row, last_row):
        first, last = _tile_columns(splat, row, tiles_x)
        total += max(last - first, 0)
    return total


@njit(parallel=True, fastmath=FAST, error_model="numpy", cache=True)
def arrange(
    all_splats: F32, all_colors: F32, order: I32, starts: I32, tiles_x: int, tiles_y: int
) -> tuple[F32, F32, I32, I32]:
    """Splats and colors of the drawn Gaussians by depth [K, ...]; tile and splat of every meeting [M], [M].

    starts [K + 1]: where each splat's meetings begin, by `tiles_met`.
    """
    splats = np.empty((len(order), SPLAT_COLUMNS), np.float32)
    colors = np.empty((len(order), all_colors.shape[1]), np.float32)
    tiles, owners = np.empty(starts[-1], np.int32), np.empty(starts[-1], np.int32)
    for k in prange(len(order)):
        splat = all_splats[order[k]]
        for column in range(SPLAT_COLUMNS):
            splats[k, column] = splat[column]
        for channel in range(all_colors.shape[1]):
            colors[k, channel] = all_colors[order[k], channel]
        place = starts[k]
        first_row, last_row = _tile_rows(splat, tiles_y)
        for row in range(first_row, last_row):
            first, last = _tile_columns(splat, row, tiles_x)
            for column in range(first, last):
                tiles[place] = row * tiles_x + column
                owners[place] = k
                place += 1
    return splats, colors, tiles, owners


@njit(cache=True)
def sort_by_tile(tiles: I32, count: int) -> tuple[I32, I32]:
    """Where each tile's meetings begin [count + 1], and their numbers tile by tile from near to far [M].

    tiles [M]: the tile of each meeting, splat by splat. A counting sort.
    """
    starts = np.zeros(count + 1, np.int32)
    for tile in tiles:
        starts[tile + 1] += 1
    for tile in range(count):
        starts[tile + 1] += starts[tile]
    cursor = starts[:-1].copy()
    slots = np.empty(len(tiles), np.int32)
    for slot in range(len(tiles)):
        tile = tiles[slot]
        slots[cursor[tile]] = slot
        cursor[tile] += 1
    return starts, slots
