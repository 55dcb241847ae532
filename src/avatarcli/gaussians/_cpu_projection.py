"""Numba kernels that carry Gaussians into the picture plane and gradients back out of it. See `rasterize_cpu`.

Every constant is a float32, as in `_cpu_tiles`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from avatarcli.gaussians import _raster_rules as rules
from avatarcli.gaussians._cpu_tiles import F32, FAST, I32, TILE, tiles_met

_ZERO, _HALF, _ONE, _TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
_NEAR = np.float32(rules.NEAR_PLANE)
_EPS = np.float32(rules.EPS_2D)
_MARGIN = np.float32(rules.FIELD_OF_VIEW_MARGIN)
_VISIBLE = np.float32(1.0 / rules.ALPHA_MIN)
# Determinants above this (a splat tens of millions of pixels wide) would overflow further on: not drawn. Pixels⁴.
_LARGEST = np.float32(1e30)
# Slack on the reach of a splat, for rounding: a share of it and a hundredth of a pixel.
_SLACK, _SLACK_PIXELS = np.float32(1.0001), np.float32(0.01)


@njit(inline="always")
def _axes(quaternion, pose):  # type: ignore[no-untyped-def]
    """Axes of a Gaussian in the camera's frame: columns of (camera rotation × Gaussian rotation), row by row."""
    w, x, y, z = quaternion[0], quaternion[1], quaternion[2], quaternion[3]
    n = _ONE / math.sqrt(w * w + x * x + y * y + z * z)
    w, x, y, z = w * n, x * n, y * n, z * n
    r00, r01, r02 = _ONE - _TWO * (y * y + z * z), _TWO * (x * y - w * z), _TWO * (x * z + w * y)
    r10, r11, r12 = _TWO * (x * y + w * z), _ONE - _TWO * (x * x + z * z), _TWO * (y * z - w * x)
    r20, r21, r22 = _TWO * (x * z - w * y), _TWO * (y * z + w * x), _ONE - _TWO * (x * x + y * y)
    c00, c01, c02, c10, c11, c12 = pose[0], pose[1], pose[2], pose[4], pose[5], pose[6]
    c20, c21, c22 = pose[8], pose[9], pose[10]
    return (
        c00 * r00 + c01 * r10 + c02 * r20, c00 * r01 + c01 * r11 + c02 * r21, c00 * r02 + c01 * r12 + c02 * r22,
        c10 * r00 + c11 * r10 + c12 * r20, c10 * r01 + c11 * r11 + c12 * r21, c10 * r02 + c11 * r12 + c12 * r22,
        c20 * r00 + c21 * r10 + c22 * r20, c20 * r01 + c21 * r11 + c22 * r21, c20 * r02 + c21 * r12 + c22 * r22,
    )  # fmt: skip


@njit(inline="always")
def _to_camera(mean, pose):  # type: ignore[no-untyped-def]
    x, y, z = mean[0], mean[1], mean[2]
    return (
        pose[0] * x + pose[1] * y + pose[2] * z + pose[3],
        pose[4] * x + pose[5] * y + pose[6] * z + pose[7],
        pose[8] * x + pose[9] * y + pose[10] * z + pose[11],
    )


@njit(inline="always")
def _clamped_slope(slope, focal, centre, size):  # type: ignore[no-untyped-def]
    margin = _MARGIN * _HALF * size / focal
    return min(max(slope, -(centre / focal + margin)), (size - centre) / focal + margin)


@njit(parallel=True, fastmath=FAST, error_model="numpy", cache=True)
def project(
    means: F32, quaternions: F32, scales: F32, opacities: F32, pose: F32, lens: F32,
    splats: F32, depths: F32, meetings: I32,
) -> None:  # fmt: skip
    """Fills splats [N, SPLAT_COLUMNS], depths [N] and meetings [N], how many tiles each splat meets.

    Gaussians that meet none, because they are behind the camera, outside, too faint or not finite, get depth zero.
    pose: the first rows of world_to_camera, flat [12]. lens: fx, fy, cx, cy, width, height [6].
    """
    fx, fy, cx, cy, width, height = lens[0], lens[1], lens[2], lens[3], lens[4], lens[5]
    tiles_x, tiles_y = (int(width) + TILE - 1) // TILE, (int(height) + TILE - 1) // TILE
    for g in prange(len(means)):
        depths[g] = _ZERO
        meetings[g] = 0
        x, y, z = _to_camera(means[g], pose)
        opacity = opacities[g]
        limit = math.log(opacity * _VISIBLE)
        # Written so that a NaN fails the test, and an infinite opacity too.
        if not (z >= _NEAR and limit >= _ZERO and limit < _LARGEST):
            continue
        w00, w01, w02, w10, w11, w12, w20, w21, w22 = _axes(quaternions[g], pose)
        s0, s1, s2 = scales[g, 0], scales[g, 1], scales[g, 2]
        rz = _ONE / z
        j00, j11 = fx * rz, fy * rz
        j02 = -j00 * _clamped_slope(x * rz, fx, cx, width)
        j12 = -j11 * _clamped_slope(y * rz, fy, cy, height)
        u00, u01, u02 = s0 * (j00 * w00 + j02 * w20), s1 * (j00 * w01 + j02 * w21), s2 * (j00 * w02 + j02 * w22)
        u10, u11, u12 = s0 * (j11 * w10 + j12 * w20), s1 * (j11 * w11 + j12 * w21), s2 * (j11 * w12 + j12 * w22)
        xx = u00 * u00 + u01 * u01 + u02 * u02
        xy = u00 * u10 + u01 * u11 + u02 * u12
        yy = u10 * u10 + u11 * u11 + u12 * u12
        # det(U Uᵀ + eps I) as a sum of positive terms (Cauchy-Binet): needles cannot cancel it to zero.
        m0, m1, m2 = u00 * u11 - u01 * u10, u00 * u12 - u02 * u10, u01 * u12 - u02 * u11
        determinant = m0 * m0 + m1 * m1 + m2 * m2 + _EPS * (xx + yy + _EPS)
        xx, yy = xx + _EPS, yy + _EPS
        mx, my = x * j00 + cx, y * j11 + cy
        reach_x, reach_y = math.sqrt(_TWO * limit * xx) * _SLACK, math.sqrt(_TWO * limit * yy) * _SLACK
        if not determinant < _LARGEST:
            continue
        if not (mx + reach_x > _ZERO and mx - reach_x < width and my + reach_y > _ZERO and my - reach_y < height):
            continue
        inverse = _ONE / determinant
        splats[g, 0], splats[g, 1] = mx, my
        splats[g, 2], splats[g, 3], splats[g, 4] = _HALF * yy * inverse, -xy * inverse, _HALF * xx * inverse
        splats[g, 5], splats[g, 6], splats[g, 7] = opacity, limit, reach_y + _SLACK_PIXELS
        meetings[g] = tiles_met(splats[g], tiles_x, tiles_y)
        if meetings[g] > 0:
            depths[g] = z


@njit(parallel=True, fastmath=FAST, error_model="numpy", cache=True)
def project_backward(
    means: F32, quaternions: F32, scales: F32, pose: F32, lens: F32, order: I32, splats: F32, starts: I32, slots: F32,
    v_means: F32, v_quaternions: F32, v_scales: F32, v_opacities: F32, v_colors: F32,
) -> None:  # fmt: skip
    """Adds up each splat's gradient slots and carries the sum through the projection into the v_ arrays (zero before).

    order [K]: the Gaussian of each splat. splats [K, SPLAT_COLUMNS]. starts [K + 1]: where each splat's slots begin.
    slots [M, 6 + C]: sums over the pixels of a tile of v, v dx, v dy, v dx², v dx dy, v dy², where v is the gradient
    of sigma and (dx, dy) = pixel - centre, then the gradients of the color.
    """
    fx, fy, cx, cy, width, height = lens[0], lens[1], lens[2], lens[3], lens[4], lens[5]
    channels = v_colors.shape[1]
    for k in prange(len(order)):
        g = order[k]
        v, v_x, v_y, v_xx, v_xy, v_yy = _ZERO, _ZERO, _ZERO, _ZERO, _ZERO, _ZERO
        for slot in range(starts[k], starts[k + 1]):
            v, v_x, v_y = v + slots[slot, 0], v_x + slots[slot, 1], v_y + slots[slot, 2]
            v_xx, v_xy, v_yy = v_xx + slots[slot, 3], v_xy + slots[slot, 4], v_yy + slots[slot, 5]
            for c in range(channels):
                v_colors[g, c] += slots[slot, 6 + c]
        a, b, c_ = _TWO * splats[k, 2], splats[k, 3], _TWO * splats[k, 4]
        # alpha = opacity × exp(-sigma), so its gradient is found in that of sigma.
        v_opacities[g] = -v / splats[k, 5]
        v_mx, v_my = -(a * v_x + b * v_y), -(b * v_x + c_ * v_y)
        # Gradient of the covariance from that of its inverse Q: -Q G Q, with G = ½ Σ v d dᵀ.
        g00, g01, g11 = _HALF * v_xx, _HALF * v_xy, _HALF * v_yy
        h00, h01, h10, h11 = a * g00 + b * g01, a * g01 + b * g11, b * g00 + c_ * g01, b * g01 + c_ * g11
        # Twice that, as the covariance is U Uᵀ.
        p00, p01, p11 = -_TWO * (h00 * a + h01 * b), -_TWO * (h00 * b + h01 * c_), -_TWO * (h10 * b + h11 * c_)

        x, y, z = _to_camera(means[g], pose)
        w00, w01, w02, w10, w11, w12, w20, w21, w22 = _axes(quaternions[g], pose)
        s0, s1, s2 = scales[g, 0], scales[g, 1], scales[g, 2]
        rz = _ONE / z
        j00, j11 = fx * rz, fy * rz
        raw_x, raw_y = x * rz, y * rz
        slope_x, slope_y = _clamped_slope(raw_x, fx, cx, width), _clamped_slope(raw_y, fy, cy, height)
        j02, j12 = -j00 * slope_x, -j11 * slope_y
        # e = U without the scales; v_u = gradient of U.
        e00, e01, e02 = j00 * w00 + j02 * w20, j00 * w01 + j02 * w21, j00 * w02 + j02 * w22
        e10, e11, e12 = j11 * w10 + j12 * w20, j11 * w11 + j12 * w21, j11 * w12 + j12 * w22
        f00, f01, f02 = (
            s0 * (p00 * s0 * e00 + p01 * s0 * e10), s1 * (p00 * s1 * e01 + p01 * s1 * e11),
            s2 * (p00 * s2 * e02 + p01 * s2 * e12),
        )  # fmt: skip
        f10, f11, f12 = (
            s0 * (p01 * s0 * e00 + p11 * s0 * e10), s1 * (p01 * s1 * e01 + p11 * s1 * e11),
            s2 * (p01 * s2 * e02 + p11 * s2 * e12),
        )  # fmt: skip
        v_scales[g, 0] = s0 * (e00 * (p00 * e00 + p01 * e10) + e10 * (p01 * e00 + p11 * e10))
        v_scales[g, 1] = s1 * (e01 * (p00 * e01 + p01 * e11) + e11 * (p01 * e01 + p11 * e11))
        v_scales[g, 2] = s2 * (e02 * (p00 * e02 + p01 * e12) + e12 * (p01 * e02 + p11 * e12))

        v_j00, v_j02 = f00 * w00 + f01 * w01 + f02 * w02, f00 * w20 + f01 * w21 + f02 * w22
        v_j11, v_j12 = f10 * w10 + f11 * w11 + f12 * w12, f10 * w20 + f11 * w21 + f12 * w22
        # Pixel = focal × slope + centre; J00 = fx / z; J02 = -fx × slope / z, where a clamped slope does not move.
        v_cx, v_cy = j00 * v_mx, j11 * v_my
        v_cz = -(j00 * v_mx * raw_x + j11 * v_my * raw_y) - (j00 * v_j00 + j11 * v_j11) * rz
        v_cz -= (j02 * v_j02 + j12 * v_j12) * rz
        if slope_x == raw_x:
            v_cx -= j00 * rz * v_j02
            v_cz += j00 * rz * v_j02 * raw_x
        if slope_y == raw_y:
            v_cy -= j11 * rz * v_j12
            v_cz += j11 * rz * v_j12 * raw_y
        v_means[g, 0] = pose[0] * v_cx + pose[4] * v_cy + pose[8] * v_cz
        v_means[g, 1] = pose[1] * v_cx + pose[5] * v_cy + pose[9] * v_cz
        v_means[g, 2] = pose[2] * v_cx + pose[6] * v_cy + pose[10] * v_cz

        # Gradient of the Gaussian's rotation R, row by row: first of its rows in the camera's frame, then turned back.
        a00, a01, a02 = j00 * f00, j00 * f01, j00 * f02
        a10, a11, a12 = j11 * f10, j11 * f11, j11 * f12
        a20, a21, a22 = j02 * f00 + j12 * f10, j02 * f01 + j12 * f11, j02 * f02 + j12 * f12
        r00, r01, r02 = (
            _turn_back(pose, 0, a00, a10, a20),
            _turn_back(pose, 0, a01, a11, a21),
            _turn_back(pose, 0, a02, a12, a22),
        )
        r10, r11, r12 = (
            _turn_back(pose, 1, a00, a10, a20),
            _turn_back(pose, 1, a01, a11, a21),
            _turn_back(pose, 1, a02, a12, a22),
        )
        r20, r21, r22 = (
            _turn_back(pose, 2, a00, a10, a20),
            _turn_back(pose, 2, a01, a11, a21),
            _turn_back(pose, 2, a02, a12, a22),
        )
        qw, qx, qy, qz = quaternions[g, 0], quaternions[g, 1], quaternions[g, 2], quaternions[g, 3]
        n = _ONE / math.sqrt(qw * qw + qx * qx + qy * qy + qz * qz)
        qw, qx, qy, qz = qw * n, qx * n, qy * n, qz * n
        d_w = _TWO * (qx * (r21 - r12) + qy * (r02 - r20) + qz * (r10 - r01))
        d_x = _TWO * (qw * (r21 - r12) + qy * (r01 + r10) + qz * (r02 + r20) - _TWO * qx * (r11 + r22))
        d_y = _TWO * (qw * (r02 - r20) + qx * (r01 + r10) + qz * (r12 + r21) - _TWO * qy * (r00 + r22))
        d_z = _TWO * (qw * (r10 - r01) + qx * (r02 + r20) + qy * (r12 + r21) - _TWO * qz * (r00 + r11))
        # Only the part across the quaternion turns anything; its length has no effect.
        along = d_w * qw + d_x * qx + d_y * qy + d_z * qz
        v_quaternions[g, 0], v_quaternions[g, 1] = (d_w - along * qw) * n, (d_x - along * qx) * n
        v_quaternions[g, 2], v_quaternions[g, 3] = (d_y - along * qy) * n, (d_z - along * qz) * n


@njit(inline="always")
def _turn_back(pose, column, x, y, z):  # type: ignore[no-untyped-def]
    return pose[column] * x + pose[4 + column] * y + pose[8 + column] * z
