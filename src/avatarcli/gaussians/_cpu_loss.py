"""Numba kernels of `picture_loss` and its gradients, on pictures as channels [C, H, W]: rows then are vectors.

Every row has sums of its own, which are added up in their order: the number of threads changes no result.
Every constant is a float32, as in `_cpu_tiles`.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from avatarcli.gaussians._cpu_tiles import F32, FAST, I32
from avatarcli.gaussians.losses import C1, C2

_ZERO, _ONE, _TWO, _QUARTER = np.float32(0), np.float32(1), np.float32(2), np.float32(0.25)
_C1, _C2 = np.float32(C1), np.float32(C2)


@njit(inline="always")
def _signed(value, size):  # type: ignore[no-untyped-def]
    """`size` with the sign of a value, nothing for zero: the gradient of an absolute value.

    Without branches: processors would guess them wrong half of the time.
    """
    return size * (np.float32(value > _ZERO) - np.float32(value < _ZERO))


@njit(parallel=True, fastmath=FAST, error_model="numpy", cache=True)
def compare(
    color: F32, alpha: F32, wanted: F32, wanted_alpha: F32, trust: F32, background: F32,
    target: F32, difference: F32, sums: F32,
) -> None:  # fmt: skip
    """Fills target and difference [3, H, W], both before the background and the latter where it is trusted.

    color, wanted [H, W, 3], premultiplied, and alpha, wanted_alpha, trust [H, W]; sums [H, 2]: of the absolute differences of
    color and of alpha.
    """
    height, width = alpha.shape
    for y in prange(height):
        colors, alphas = _ZERO, _ZERO
        for x in range(width):
            clear, wanted_clear = _ONE - alpha[y, x], _ONE - wanted_alpha[y, x]
            alphas += abs(alpha[y, x] - wanted_alpha[y, x]) * trust[y, x]
            for c in range(3):
                there = wanted[y, x, c] + wanted_clear * background[c]
                off = trust[y, x] * (color[y, x, c] + clear * background[c] - there)
                target[c, y, x], difference[c, y, x] = there, off
                colors += abs(off)
        sums[y, 0], sums[y, 1] = colors, alphas


@njit(fastmath=FAST, error_model="numpy", cache=True)
def halve(fine: F32, coarse: F32) -> None:
    """Fills coarse [C, H // 2, W // 2] with means of four pixels of fine [C, H, W]."""
    channels, height, width = coarse.shape
    for c in range(channels):
        for y in range(height):
            upper, lower, out = fine[c, 2 * y], fine[c, 2 * y + 1], coarse[c, y]
            for x in range(width):
                out[x] = _QUARTER * (upper[2 * x] + upper[2 * x + 1] + lower[2 * x] + lower[2 * x + 1])


@njit(fastmath=FAST, error_model="numpy", cache=True)
def add_halved_backward(v_coarse: F32, v_fine: F32) -> None:
    """Adds the gradient of `halve`."""
    channels, height, width = v_coarse.shape
    for c in range(channels):
        for y in range(2 * height):
            row, out = v_coarse[c, y // 2], v_fine[c, y]
            for x in range(width):
                value = _QUARTER * row[x]
                out[2 * x] += value
                out[2 * x + 1] += value


@njit(inline="always")
def _mixed(first, second, share, out):  # type: ignore[no-untyped-def]
    """Fills out with a mean of two rows, of which the second has a share."""
    for x in range(len(out)):
        out[x] = first[x] + share * (second[x] - first[x])


@njit(parallel=True, fastmath=FAST, error_model="numpy", cache=True)
def details(
    fine: F32, coarse: F32, rows: I32, row_shares: F32, columns: I32, column_shares: F32, price: F32,
    v_detail: F32, sums: F32,
) -> None:  # fmt: skip
    """Compares fine [C, H, W] with coarse [C, h, w], enlarged to its size.

    Fills sums [H] with the absolute differences, and v_detail [C, H, W] with their gradients times price [1]. rows [H], row_shares
    [H]: the upper of the two coarse rows between which each row lies, and the share of the lower one; columns [W], column_shares
    [W]: likewise.
    """
    channels, height, width = fine.shape
    last_row, last_column = coarse.shape[1] - 1, coarse.shape[2] - 1
    for y in prange(height):
        total, between = _ZERO, np.empty(last_column + 1, np.float32)
        for c in range(channels):
            _mixed(coarse[c, rows[y]], coarse[c, min(rows[y] + 1, last_row)], row_shares[y], between)
            for x in range(width):
                left, right = between[columns[x]], between[min(columns[x] + 1, last_column)]
                off = fine[c, y, x] - left - column_shares[x] * (right - left)
                total += abs(off)
                v_detail[c, y, x] = _signed(off, price[0])
        sums[y] = total


@njit(parallel=True, fastmath=FAST, error_model="numpy", cache=True)
def subtract_enlarged_backward(
    v_detail: F32, rows: I32, row_shares: F32, columns: I32, column_shares: F32, v_coarse: F32
) -> None:
    """Subtracts from v_coarse [C, h, w] the gradient v_detail [C, H, W] of the picture that it was enlarged to."""
    channels, _, width = v_detail.shape
    last_row, last_column = v_coarse.shape[1] - 1, v_coarse.shape[2] - 1
    for r in prange(last_row + 1):
        pulled = np.empty(width, np.float32)
        # The rows that lie between this one and its neighbours.
        first, last = np.searchsorted(rows, r - 1), np.searchsorted(rows, r + 1)
        for c in range(channels):
            pulled[:] = _ZERO
            for y in range(first, last):
                weight = _ONE - row_shares[y] if rows[y] == r else _ZERO
                if min(rows[y] + 1, last_row) == r:
                    weight += row_shares[y]
                for x in range(width):
                    pulled[x] += weight * v_detail[c, y, x]
            for x in range(width):
                v_coarse[c, r, columns[x]] -= (_ONE - column_shares[x]) * pulled[x]
                v_coarse[c, r, min(columns[x] + 1, last_column)] -= column_shares[x] * pulled[x]


@njit(inline="always")
def _add_window(row, window, out):  # type: ignore[no-untyped-def]
    """Adds means of a row [W] under a window [n] to out [W − n + 1]."""
    for k in range(len(window)):
        weight = window[k]
        for x in range(len(out)):
            out[x] += weight * row[x + k]


@njit(parallel=True, fastmath=FAST, error_model="numpy", cache=True)
def smooth_rows(image: F32, target: F32, window: F32, out: F32) -> None:
    """Fills out [5, C, H, W − n + 1] with means along rows of both pictures [C, H, W], their squares and their product."""
    channels, height, width = image.shape
    for y in prange(height):
        products = np.empty((5, width), np.float32)
        for c in range(channels):
            for x in range(width):
                ours, theirs = image[c, y, x], target[c, y, x]
                products[0, x], products[1, x] = ours, theirs
                products[2, x], products[3, x], products[4, x] = ours * ours, theirs * theirs, ours * theirs
            for kind in range(5):
                out[kind, c, y, :] = _ZERO
                _add_window(products[kind], window, out[kind, c, y])


@njit(parallel=True, fastmath=FAST, error_model="numpy", cache=True)
def similarity(smooth: F32, window: F32, v_moments: F32, sums: F32) -> None:
    """From what `smooth_rows` filled: sums [H − n + 1] of every row's similarities (SSIM).

    Also fills v_moments [3, C, H − n + 1, W − n + 1]: gradients of their sum by the mean, the mean square and the mean product.
    """
    channels, height, width = v_moments.shape[1:]
    for y in prange(height):
        means, total = np.empty((5, width), np.float32), _ZERO
        for c in range(channels):
            means[:] = _ZERO
            for kind in range(5):
                for k in range(len(window)):
                    weight, row = window[k], smooth[kind, c, y + k]
                    for x in range(width):
                        means[kind, x] += weight * row[x]
            for x in range(width):
                mx, my = means[0, x], means[1, x]
                vx, vy, vxy = means[2, x] - mx * mx, means[3, x] - my * my, means[4, x] - mx * my
                light, structure = _TWO * mx * my + _C1, _TWO * vxy + _C2
                below_light, below_structure = mx * mx + my * my + _C1, vx + vy + _C2
                inverse = _ONE / (below_light * below_structure)
                score = light * structure * inverse
                total += score
                by_product, by_square = _TWO * light * inverse, -score / below_structure
                v_moments[0, c, y, x] = (
                    _TWO * (my * structure * inverse - mx * score / below_light - mx * by_square) - my * by_product
                )
                v_moments[1, c, y, x], v_moments[2, c, y, x] = by_square, by_product
        sums[y] = total


@njit(parallel=True, fastmath=FAST, error_model="numpy", cache=True)
def add_similarity_backward(image: F32, target: F32, v_moments: F32, window: F32, price: F32, v_image: F32) -> None:
    """Adds to v_image [C, H, W] the gradient of the sum of similarities times price [1]."""
    channels, height, width = image.shape
    size = len(window)
    windows, across = v_moments.shape[2:]
    for y in prange(height):
        column, row = np.empty((3, across), np.float32), np.empty((3, width), np.float32)
        for c in range(channels):
            column[:] = _ZERO
            row[:] = _ZERO
            for kind in range(3):
                for k in range(max(0, y - windows + 1), min(size, y + 1)):
                    weight, gradient = window[k], v_moments[kind, c, y - k]
                    for x in range(across):
                        column[kind, x] += weight * gradient[x]
                for k in range(size):
                    weight = window[k]
                    for x in range(across):
                        row[kind, x + k] += weight * column[kind, x]
            for x in range(width):
                v_image[c, y, x] += price[0] * (
                    row[0, x] + _TWO * image[c, y, x] * row[1, x] + target[c, y, x] * row[2, x]
                )


@njit(parallel=True, fastmath=FAST, error_model="numpy", cache=True)
def finish(
    difference: F32, v_difference: F32, alpha: F32, wanted_alpha: F32, trust: F32, background: F32, price: F32,
    v_color: F32, v_alpha: F32,
) -> None:  # fmt: skip
    """Fills v_color [H, W, 3] and v_alpha [H, W]: the gradients of `compare`.

    v_difference [3, H, W]: of what came after; price [2]: of the sums of absolute differences of color and of alpha.
    """
    height, width = alpha.shape
    for y in prange(height):
        for x in range(width):
            covered = _signed(alpha[y, x] - wanted_alpha[y, x], price[1])
            for c in range(3):
                value = v_difference[c, y, x] + _signed(difference[c, y, x], price[0])
                v_color[y, x, c] = trust[y, x] * value
                covered -= value * background[c]
            v_alpha[y, x] = trust[y, x] * covered
