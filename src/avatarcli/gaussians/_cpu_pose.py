"""Numba kernels of `pose` and its gradients: every Gaussian is read once and written once, where torch makes dozens of passes.

Gaussians go by blocks, each with sums of its own, which are added up in their order: the number of threads changes no result.
Every constant is a float32, as in `_cpu_tiles`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from avatarcli.gaussians import _objective_rules as rules
from avatarcli.gaussians._cpu_tiles import F32, FAST
from avatarcli.gaussians.avatar import SH_C0

BLOCK = 512  # Gaussians: enough blocks for many threads, and few sums
# What a block sums up beside the coefficients' gradients: those of the nudge's rotation (row by row), shift, and the tint.
SUMS = 15

_ZERO, _HALF, _ONE, _TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
_SH_C0 = np.float32(SH_C0)
_STRAY, _BIG, _BIG_FREE = np.float32(rules.STRAY), np.float32(rules.BIG / 3), np.float32(rules.BIG_FREE)
_NEEDLE, _NEEDLE_FREE = np.float32(rules.NEEDLE), np.float32(rules.NEEDLE_FREE)
_CORRECTIVE = np.float32(rules.CORRECTIVE)
# Squares of lengths that count as none: of vectors (as in `lengths`), and of quaternions (as in torch's `normalize`).
_NO_LENGTH, _NO_QUATERNION = np.float32(1e-24), np.float32(1e-24)

Bools = NDArray[np.bool_]


@njit(inline="always")
def _offset(basis, coefficients, moving):  # type: ignore[no-untyped-def]
    """The corrective offset of a Gaussian."""
    x, y, z = _ZERO, _ZERO, _ZERO
    if moving:
        for k in range(len(coefficients)):
            x, y, z = (
                x + coefficients[k] * basis[k, 0],
                y + coefficients[k] * basis[k, 1],
                z + coefficients[k] * basis[k, 2],
            )
    return x, y, z


@njit(inline="always")
def _times(matrix, x, y, z):  # type: ignore[no-untyped-def]
    return (
        matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] * z,
        matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] * z,
        matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2] * z,
    )


@njit(inline="always")
def _times_transposed(matrix, x, y, z):  # type: ignore[no-untyped-def]
    return (
        matrix[0, 0] * x + matrix[1, 0] * y + matrix[2, 0] * z,
        matrix[0, 1] * x + matrix[1, 1] * y + matrix[2, 1] * z,
        matrix[0, 2] * x + matrix[1, 2] * y + matrix[2, 2] * z,
    )


@njit(inline="always")
def _unit(quaternion):  # type: ignore[no-untyped-def]
    """A quaternion of length 1, and one over the length that it had."""
    w, x, y, z = quaternion[0], quaternion[1], quaternion[2], quaternion[3]
    n = _ONE / math.sqrt(max(w * w + x * x + y * y + z * z, _NO_QUATERNION))
    return w * n, x * n, y * n, z * n, n


@njit(inline="always")
def _axis(j, w, x, y, z):  # type: ignore[no-untyped-def]
    """A Gaussian's own axis `j`: a column of the matrix of its unit quaternion."""
    if j == 0:
        return _ONE - _TWO * (y * y + z * z), _TWO * (x * y + w * z), _TWO * (x * z - w * y)
    if j == 1:
        return _TWO * (x * y - w * z), _ONE - _TWO * (x * x + z * z), _TWO * (y * z + w * x)
    return _TWO * (x * z + w * y), _TWO * (y * z - w * x), _ONE - _TWO * (x * x + y * y)


@njit(inline="always")
def _length(x, y, z):  # type: ignore[no-untyped-def]
    return math.sqrt(max(x * x + y * y + z * z, _NO_LENGTH))


@njit(inline="always")
def _needle(log_scales):  # type: ignore[no-untyped-def]
    """The longest and the middle axis of a Gaussian, and by how much the first is too long."""
    first, second, third = log_scales[0], log_scales[1], log_scales[2]
    longest = 0 if first >= second and first >= third else (1 if second >= third else 2)
    one, other = (longest + 1) % 3, (longest + 2) % 3
    middle = one if log_scales[one] >= log_scales[other] else other
    return longest, middle, log_scales[longest] - log_scales[middle] - _NEEDLE_FREE


@njit(inline="always")
def _sigmoid(x):  # type: ignore[no-untyped-def]
    return _ONE / (_ONE + math.exp(-x))


@njit(parallel=True, fastmath=FAST, error_model="numpy", cache=True)
def pose(
    means: F32, quaternions: F32, log_scales: F32, opacity_logits: F32, sh: F32, basis: F32,
    coefficients: F32, rotation: F32, translation: F32, tint: F32,
    moving: Bools, start: F32, reach: F32, affine: F32, shift: F32, turn: F32,
    posed: F32, turned: F32, scales: F32, opacities: F32, colors: F32, penalties: F32,
) -> None:  # fmt: skip
    """Fills posed [G, 3], turned [G, 4], scales [G, 3], opacities [G], colors [G, 3]: the splats; penalties [G]: the regularisers.

    means to basis: the parameters, sh as [G, 3]; coefficients [K]; rotation [3, 3], translation [3], tint [3]: the picture's row of
    the table; moving to reach: `Bounds`; affine to turn: the `Motion`.
    """
    for g in prange(len(means)):
        ox, oy, oz = _offset(basis[g], coefficients, moving[g])
        x, y, z = _times(affine[g], means[g, 0] + ox, means[g, 1] + oy, means[g, 2] + oz)
        x, y, z = _times(rotation, x + shift[g, 0], y + shift[g, 1], z + shift[g, 2])
        posed[g, 0], posed[g, 1], posed[g, 2] = x + translation[0], y + translation[1], z + translation[2]

        tw, tx, ty, tz = turn[g, 0], turn[g, 1], turn[g, 2], turn[g, 3]
        w, x, y, z = quaternions[g, 0], quaternions[g, 1], quaternions[g, 2], quaternions[g, 3]
        turned[g, 0], turned[g, 1] = tw * w - tx * x - ty * y - tz * z, tw * x + tx * w + ty * z - tz * y
        turned[g, 2], turned[g, 3] = tw * y - tx * z + ty * w + tz * x, tw * z + tx * y - ty * x + tz * w

        penalty = _ZERO
        w, x, y, z, _ = _unit(quaternions[g])
        for j in range(3):
            ax, ay, az = _axis(j, w, x, y, z)
            ax, ay, az = _times(affine[g], ax, ay, az)
            scale = math.exp(log_scales[g, j])
            scales[g, j] = scale * _length(ax, ay, az)
            penalty += _BIG * max(scale - _BIG_FREE, _ZERO)

        opacities[g] = _sigmoid(opacity_logits[g])
        for channel in range(3):
            colors[g, channel] = max(_HALF + _SH_C0 * sh[g, channel], _ZERO) * (_ONE + tint[channel])

        strayed = _length(means[g, 0] - start[g, 0], means[g, 1] - start[g, 1], means[g, 2] - start[g, 2]) - reach[g]
        _, _, needle = _needle(log_scales[g])
        penalty += _STRAY * max(strayed, _ZERO) + _NEEDLE * max(needle, _ZERO) + _CORRECTIVE * _length(ox, oy, oz)
        penalties[g] = penalty


@njit(parallel=True, fastmath=FAST, error_model="numpy", cache=True)
def pose_backward(
    means: F32, quaternions: F32, log_scales: F32, opacity_logits: F32, sh: F32, basis: F32,
    coefficients: F32, rotation: F32, translation: F32, tint: F32,
    moving: Bools, start: F32, reach: F32, affine: F32, shift: F32, turn: F32,
    v_posed: F32, v_turned: F32, v_stretched: F32, v_opacities: F32, v_colors: F32, v_penalty: F32,
    v_means: F32, v_quaternions: F32, v_log_scales: F32, v_opacity_logits: F32, v_sh: F32, v_basis: F32, sums: F32,
) -> None:  # fmt: skip
    """Fills the gradients of the parameters, and sums [blocks, SUMS + K] (zero before). v_penalty [1]: of each of the penalties.

    The rest as for `pose`.
    """
    count, directions = len(means), len(coefficients)
    price = v_penalty[0]
    for block in prange(len(sums)):
        total = sums[block]
        for g in range(block * BLOCK, min((block + 1) * BLOCK, count)):
            ox, oy, oz = _offset(basis[g], coefficients, moving[g])
            x, y, z = _times(affine[g], means[g, 0] + ox, means[g, 1] + oy, means[g, 2] + oz)
            x, y, z = x + shift[g, 0], y + shift[g, 1], z + shift[g, 2]
            for row in range(3):
                v = v_posed[g, row]
                total[3 * row] += v * x
                total[3 * row + 1] += v * y
                total[3 * row + 2] += v * z
                total[9 + row] += v
            vx, vy, vz = _times_transposed(rotation, v_posed[g, 0], v_posed[g, 1], v_posed[g, 2])
            vx, vy, vz = _times_transposed(affine[g], vx, vy, vz)

            dx, dy, dz = means[g, 0] - start[g, 0], means[g, 1] - start[g, 1], means[g, 2] - start[g, 2]
            length = _length(dx, dy, dz)
            pull = price * _STRAY / length if length > reach[g] else _ZERO
            v_means[g, 0], v_means[g, 1], v_means[g, 2] = vx + pull * dx, vy + pull * dy, vz + pull * dz

            if moving[g]:
                squared = ox * ox + oy * oy + oz * oz
                pull = price * _CORRECTIVE / math.sqrt(squared) if squared > _NO_LENGTH else _ZERO
                vx, vy, vz = vx + pull * ox, vy + pull * oy, vz + pull * oz
                for k in range(directions):
                    total[SUMS + k] += basis[g, k, 0] * vx + basis[g, k, 1] * vy + basis[g, k, 2] * vz
                    v_basis[g, k, 0] = coefficients[k] * vx
                    v_basis[g, k, 1] = coefficients[k] * vy
                    v_basis[g, k, 2] = coefficients[k] * vz
            else:
                for k in range(directions):
                    v_basis[g, k, 0], v_basis[g, k, 1], v_basis[g, k, 2] = _ZERO, _ZERO, _ZERO

            w, x, y, z, n = _unit(quaternions[g])
            d_w, d_x, d_y, d_z = _ZERO, _ZERO, _ZERO, _ZERO
            for j in range(3):
                ax, ay, az = _axis(j, w, x, y, z)
                ax, ay, az = _times(affine[g], ax, ay, az)
                scale, stretch = math.exp(log_scales[g, j]), _length(ax, ay, az)
                v_scale = v_stretched[g, j] * stretch + (price * _BIG if scale > _BIG_FREE else _ZERO)
                v_log_scales[g, j] = v_scale * scale
                v = v_stretched[g, j] * scale / stretch
                ax, ay, az = _times_transposed(affine[g], v * ax, v * ay, v * az)
                # The derivatives of `_axis`, halved.
                if j == 0:
                    d_w, d_x = d_w + z * ay - y * az, d_x + y * ay + z * az
                    d_y, d_z = d_y - _TWO * y * ax + x * ay - w * az, d_z - _TWO * z * ax + w * ay + x * az
                elif j == 1:
                    d_w, d_x = d_w - z * ax + x * az, d_x + y * ax - _TWO * x * ay + w * az
                    d_y, d_z = d_y + x * ax + z * az, d_z - w * ax - _TWO * z * ay + y * az
                else:
                    d_w, d_x = d_w + y * ax - x * ay, d_x + z * ax - w * ay - _TWO * x * az
                    d_y, d_z = d_y + w * ax + z * ay - _TWO * y * az, d_z + x * ax + y * ay
            longest, middle, needle = _needle(log_scales[g])
            if needle > _ZERO:
                v_log_scales[g, longest] += price * _NEEDLE
                v_log_scales[g, middle] -= price * _NEEDLE
            # Only the part across the quaternion turns the axes; its length has no effect on them.
            d_w, d_x, d_y, d_z = _TWO * n * d_w, _TWO * n * d_x, _TWO * n * d_y, _TWO * n * d_z
            along = d_w * w + d_x * x + d_y * y + d_z * z
            tw, tx, ty, tz = turn[g, 0], turn[g, 1], turn[g, 2], turn[g, 3]
            vw, vx, vy, vz = v_turned[g, 0], v_turned[g, 1], v_turned[g, 2], v_turned[g, 3]
            v_quaternions[g, 0] = d_w - along * w + tw * vw + tx * vx + ty * vy + tz * vz
            v_quaternions[g, 1] = d_x - along * x - tx * vw + tw * vx + tz * vy - ty * vz
            v_quaternions[g, 2] = d_y - along * y - ty * vw - tz * vx + tw * vy + tx * vz
            v_quaternions[g, 3] = d_z - along * z - tz * vw + ty * vx - tx * vy + tw * vz

            opacity = _sigmoid(opacity_logits[g])
            v_opacity_logits[g] = v_opacities[g] * opacity * (_ONE - opacity)
            for channel in range(3):
                color = _HALF + _SH_C0 * sh[g, channel]
                v = v_colors[g, channel]
                v_sh[g, channel] = v * (_ONE + tint[channel]) * _SH_C0 if color >= _ZERO else _ZERO
                total[12 + channel] += v * max(color, _ZERO)
