"""Numba kernels that blend splats into the tiles of a picture, and the gradients of that. See `rasterize_cpu`.

A tile is kept as flat arrays of TILE × TILE pixels, so that the inner loops run over consecutive floats and become
vector code. For that they have no branches: a splat that does not count in a pixel gets weight zero there.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from avatarcli.gaussians import _raster_rules as rules
from avatarcli.gaussians._cpu_tiles import F32, FAST, I32, TILE

_AREA = TILE * TILE
_ZERO, _HALF, _ONE = np.float32(0), np.float32(0.5), np.float32(1)
_ALPHA_MAX = np.float32(rules.ALPHA_MAX)
_T_MIN = np.float32(rules.TRANSMITTANCE_MIN)
# Splats between two looks at whether the whole tile is finished.
_LOOK_EVERY = 16

# exp(-s) for s in [0, ln 255] as p(s / 8)⁸, where p of the fifth degree is fitted to the least largest relative error,
# 2e-6 in float32. Splats fade below ALPHA_MIN at s = ln 255 at the latest. LLVM has no vector form of expf of its own.
_EIGHTH, _SIGMA_MAX = np.float32(0.125), np.float32(5.6)
_P0, _P1, _P2 = np.float32(0.99999991), np.float32(-0.99999143), np.float32(0.49986913)
_P3, _P4, _P5 = np.float32(-0.16591683), np.float32(0.0396737), np.float32(-0.00578709)


@njit(inline="always")
def _exp_minus(sigma):  # type: ignore[no-untyped-def]
    u = min(sigma, _SIGMA_MAX) * _EIGHTH
    p = _P0 + u * (_P1 + u * (_P2 + u * (_P3 + u * (_P4 + u * _P5))))
    p = p * p
    p = p * p
    return p * p


@njit(inline="always")
def _pixel_centres():  # type: ignore[no-untyped-def]
    """x and y of the pixel centres of a tile, from its corner [_AREA], [_AREA]."""
    xs, ys = np.empty(_AREA, np.float32), np.empty(_AREA, np.float32)
    for p in range(_AREA):
        xs[p], ys[p] = np.float32(p % TILE) + _HALF, np.float32(p // TILE) + _HALF
    return xs, ys


@njit(inline="always")
def _pixel_rows(splat, top):  # type: ignore[no-untyped-def]
    """The pixels of the tile's rows that a splat reaches: first and one past the last."""
    first = min(max(np.floor(splat[1] - splat[7] - top), _ZERO), np.float32(TILE))
    last = min(max(np.floor(splat[1] + splat[7] - top) + _ONE, first), np.float32(TILE))
    return np.uint64(first) * np.uint64(TILE), np.uint64(last) * np.uint64(TILE)


@njit(inline="always")
def _share(worker, workers, count):  # type: ignore[no-untyped-def]
    return worker * count // workers, (worker + 1) * count // workers


@njit(parallel=True, fastmath=FAST, error_model="numpy", cache=True)
def blend(
    splats: F32, colors: F32, owners: I32, tile_starts: I32, slots: I32, tiles_x: int, stride: int, workers: int,
    color: F32, alpha: F32,
) -> None:  # fmt: skip
    """Fills color [H, W, C] (multiplied by alpha) and alpha [H, W].

    splats [K, SPLAT_COLUMNS] and colors [K, C] from near to far; owners [M] the splat of each meeting; tile_starts and
    slots from `sort_by_tile`. Each worker walks the picture in steps of `stride` tiles, so that all get some of the
    busy middle.
    """
    height, width = alpha.shape
    channels = colors.shape[1]
    count = len(tile_starts) - 1
    for worker in prange(workers):
        xs, ys = _pixel_centres()
        through, weight, covered = np.empty(_AREA, np.float32), np.empty(_AREA, np.float32), np.empty(_AREA, np.float32)
        sums = np.empty((channels, _AREA), np.float32)
        begin, end = _share(worker, workers, count)
        for turn in range(begin, end):
            tile = turn * stride % count
            x0, y0 = tile % tiles_x * TILE, tile // tiles_x * TILE
            left, top = np.float32(x0), np.float32(y0)
            through[:] = _ONE
            covered[:] = _ZERO
            sums[:] = _ZERO
            for place in range(tile_starts[tile], tile_starts[tile + 1]):
                if (place - tile_starts[tile]) % _LOOK_EVERY == _LOOK_EVERY - 1 and through.max() == _ZERO:
                    break
                k = owners[slots[place]]
                splat = splats[k]
                mx, my = splat[0] - left, splat[1] - top
                a, b, c, opacity, limit = splat[2], splat[3], splat[4], splat[5], splat[6]
                first, last = _pixel_rows(splat, top)
                for p in range(first, last):
                    dx, dy = xs[p] - mx, ys[p] - my
                    sigma = a * dx * dx + b * dx * dy + c * dy * dy
                    t = through[p]
                    full = min(opacity * _exp_minus(sigma), _ALPHA_MAX)
                    here = full if (sigma >= _ZERO) & (sigma <= limit) else _ZERO
                    after = t - t * here
                    alive = after > _T_MIN
                    w = t * here if alive else _ZERO
                    through[p] = after if alive else _ZERO
                    covered[p] += w
                    weight[p] = w
                for channel in range(channels):
                    value = colors[k, channel]
                    row = sums[channel]
                    for p in range(first, last):
                        row[p] += value * weight[p]
            for y in range(y0, min(y0 + TILE, height)):
                for x in range(x0, min(x0 + TILE, width)):
                    p = (y - y0) * TILE + x - x0
                    alpha[y, x] = covered[p]
                    for channel in range(channels):
                        color[y, x, channel] = sums[channel, p]


@njit(parallel=True, fastmath=FAST, error_model="numpy", cache=True)
def blend_backward(
    splats: F32, colors: F32, owners: I32, tile_starts: I32, slots: I32, tiles_x: int, stride: int, workers: int,
    color: F32, alpha: F32, v_color: F32, v_alpha: F32, out: F32,
) -> None:  # fmt: skip
    """Fills out [M, 6 + C] (zero before), the slots that `project_backward` adds up; the rest as for `blend`.

    Goes from front to back like `blend`, so that it meets the same transmittances and stops at the same splats.
    `behind` is what the splats not yet met add to the loss: at first the whole pixel times its gradient.
    """
    height, width = alpha.shape
    channels = colors.shape[1]
    count = len(tile_starts) - 1
    for worker in prange(workers):
        xs, ys = _pixel_centres()
        through, weight, behind = np.empty(_AREA, np.float32), np.empty(_AREA, np.float32), np.empty(_AREA, np.float32)
        gain = np.empty(_AREA, np.float32)
        v_covered, v_sums = np.empty(_AREA, np.float32), np.empty((channels, _AREA), np.float32)
        begin, end = _share(worker, workers, count)
        for turn in range(begin, end):
            tile = turn * stride % count
            x0, y0 = tile % tiles_x * TILE, tile // tiles_x * TILE
            left, top = np.float32(x0), np.float32(y0)
            # Pixels outside the picture start finished.
            through[:] = _ZERO
            behind[:] = _ZERO
            v_covered[:] = _ZERO
            v_sums[:] = _ZERO
            for y in range(y0, min(y0 + TILE, height)):
                for x in range(x0, min(x0 + TILE, width)):
                    p = (y - y0) * TILE + x - x0
                    through[p] = _ONE
                    v_covered[p] = v_alpha[y, x]
                    total = v_alpha[y, x] * alpha[y, x]
                    for channel in range(channels):
                        v_sums[channel, p] = v_color[y, x, channel]
                        total += v_color[y, x, channel] * color[y, x, channel]
                    behind[p] = total
            for place in range(tile_starts[tile], tile_starts[tile + 1]):
                if (place - tile_starts[tile]) % _LOOK_EVERY == _LOOK_EVERY - 1 and through.max() == _ZERO:
                    break
                slot = slots[place]
                k = owners[slot]
                splat = splats[k]
                mx, my = splat[0] - left, splat[1] - top
                a, b, c, opacity, limit = splat[2], splat[3], splat[4], splat[5], splat[6]
                first, last = _pixel_rows(splat, top)
                for p in range(first, last):
                    gain[p] = v_covered[p]
                for channel in range(channels):
                    value = colors[k, channel]
                    row = v_sums[channel]
                    for p in range(first, last):
                        gain[p] += value * row[p]
                v, v_x, v_y, v_xx, v_xy, v_yy = _ZERO, _ZERO, _ZERO, _ZERO, _ZERO, _ZERO
                for p in range(first, last):
                    dx, dy = xs[p] - mx, ys[p] - my
                    sigma = a * dx * dx + b * dx * dy + c * dy * dy
                    t = through[p]
                    raw = opacity * _exp_minus(sigma)
                    here = min(raw, _ALPHA_MAX) if (sigma >= _ZERO) & (sigma <= limit) else _ZERO
                    after = t - t * here
                    alive = after > _T_MIN
                    w = t * here if alive else _ZERO
                    through[p] = after if alive else _ZERO
                    weight[p] = w
                    rest = behind[p] - w * gain[p]
                    behind[p] = rest
                    # d loss / d sigma = -alpha × d loss / d alpha; zero where alpha is capped.
                    flows = alive & (raw <= _ALPHA_MAX)
                    d = here * rest / (_ONE - here) - w * gain[p] if flows else _ZERO
                    v += d
                    v_x += d * dx
                    v_y += d * dy
                    v_xx += d * dx * dx
                    v_xy += d * dx * dy
                    v_yy += d * dy * dy
                out[slot, 0], out[slot, 1], out[slot, 2] = v, v_x, v_y
                out[slot, 3], out[slot, 4], out[slot, 5] = v_xx, v_xy, v_yy
                for channel in range(channels):
                    row = v_sums[channel]
                    total = _ZERO
                    for p in range(first, last):
                        total += weight[p] * row[p]
                    out[slot, 6 + channel] = total
