"""The free-form part of the tracker: a smooth offset of the mesh for what identity and expression could not reach.

The offset is a Gaussian process on the head at rest (kriging): the landmarks' remaining misfits in the picture are
noisy measurements of it, and its mean given them is evaluated at every vertex. Its prior has mean 0 in every
direction, so nothing moves along the view rays, where nothing was measured; most of its variance is mirror-symmetric,
as faces are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.distance import cdist
from torch import Tensor

from avatarcli.arrays import Float64
from avatarcli.head.model import HeadModel

# (standard deviation, length) of the two scales, metres: wide for the jaw line and cheeks, narrow for lids, lips and
# brows.
SCALES = ((2.5e-3, 35e-3), (1.0e-3, 10e-3))
ASYMMETRIC_SHARE = 0.25  # of the variance
# Skin nearer to the eyeball's centre than the first radius slides on the ball, beyond the second it moves freely
# (metres).
LID_RADII = (18e-3, 23e-3)

_MIRROR = np.array([-1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Measurement:
    """Misfits of M surface points.

    positions [M, 3]: metres, at rest; misfit [M, 2]: pixels by which the photo's point lies off the mesh's; jacobian
    [M, 2, 3]: derivatives of the pixels by the point, per metre; noise [M, 2, 2]: covariance of the misfit, pixels².
    """

    positions: Float64
    misfit: Float64
    jacobian: Float64
    noise: Float64


def free_form_offset(model: HeadModel, neutral: Tensor, joints: Tensor, measured: Measurement) -> Tensor:
    """Offsets [N, 3] (metres) of the vertices of a head at rest, `neutral` [N, 3] with `joints` [J, 3].

    Eyeballs, teeth and tongue move rigidly with the face around them, and lids slide on the eyeballs, so that nothing
    pokes through.
    """
    vertices = neutral.double().numpy()
    process = _Posterior(measured)
    offset = np.zeros_like(vertices)
    skin = model.part("skin")
    offset[skin] = process(vertices[skin])
    for side in ("l", "r"):
        rows = model.part(f"eye_{side}")
        centre = joints[model.joint_names.index(f"eye_{side}")].double().numpy()
        front = vertices[rows][vertices[rows][:, 2] > centre[2]]
        offset[rows] = process(front).mean(0)
        offset[skin] = _slide_on_ball(vertices[skin], offset[skin], centre, offset[rows][0])
    teeth = np.concatenate([vertices[model.part("teeth_upper")], vertices[model.part("teeth_lower")]])
    incisors = teeth[teeth[:, 2] > np.quantile(teeth[:, 2], 0.8)]
    inner = process(incisors).mean(0)
    for part in ("tongue", "teeth_upper", "teeth_lower"):
        offset[model.part(part)] = inner
    return torch.from_numpy(offset).float()


def _kernels(a: Float64, b: Float64) -> Float64:
    squared = cdist(a, b, "sqeuclidean")
    return np.asarray(sum(sigma**2 * np.exp(squared / (-2.0 * length**2)) for sigma, length in SCALES))


class _Posterior:
    """The process given its measurements; call it with positions [P, 3] for offsets [P, 3]."""

    def __init__(self, measured: Measurement) -> None:
        count = len(measured.positions)
        direct, mirrored = self._covariance(measured.positions, measured.positions)
        jacobian = measured.jacobian
        gram = np.einsum("iap,ij,jbp->iajb", jacobian, direct, jacobian, optimize=True)
        gram += np.einsum("iap,ij,jbp->iajb", jacobian, mirrored, jacobian * _MIRROR, optimize=True)
        for index in range(count):
            gram[index, :, index, :] += measured.noise[index]
        size = 2 * count
        solution = np.linalg.solve(gram.reshape(size, size), measured.misfit.reshape(size)).reshape(count, 2)
        self._anchors = measured.positions
        self._pull = np.einsum("iap,ia->ip", jacobian, solution)

    def __call__(self, positions: Float64) -> Float64:
        direct, mirrored = self._covariance(positions, self._anchors)
        return np.asarray(direct @ self._pull + mirrored @ (self._pull * _MIRROR))

    @staticmethod
    def _covariance(a: Float64, b: Float64) -> tuple[Float64, Float64]:
        """Factors of the identity and of the mirror matrix in the covariance of offsets at a [A, 3] and b [B, 3].

        A field made symmetric, (g(x) + M g(M x)) / √2, has covariance k(x, y) + k(x, M y) M.
        """
        direct, mirrored = _kernels(a, b), _kernels(a, b * _MIRROR)
        return direct, (1.0 - ASYMMETRIC_SHARE) * mirrored


def _slide_on_ball(vertices: Float64, offset: Float64, centre: Float64, ball_offset: Float64) -> Float64:
    """Keep the distance that vertices near an eyeball have from its centre, while the ball moves by `ball_offset`."""
    arm = vertices - centre
    radius = np.linalg.norm(arm, axis=1)
    moved = arm + offset - ball_offset
    kept = moved * (radius / np.maximum(np.linalg.norm(moved, axis=1), 1e-9))[:, None]
    inner, outer = LID_RADII
    share = np.clip((outer - radius) / (outer - inner), 0.0, 1.0)[:, None]
    return np.asarray(offset + share * (kept - moved))
