"""Pose and expression of one known head in many frames at once: the video's counterpart of `tracking.solver`.

A frame's landmarks depend on its own pose and expression, and on what all frames share: identity and focal length. The
first are solved frame by frame, batched, by Gauss-Newton with the expression inside [0, 1]; the second by eliminating
every frame's own unknowns (Schur complement).

Landmarks are *seen* as [B, M, 3]: pixels from the picture's middle, and the detector's relative depth, in pixels too,
which is known up to a constant in each frame. Without the depth, a nod is taken for half of its angle: the detector moves
the points of a tilted face less than a real tilt would.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from avatarcli.arrays import Float64
from avatarcli.tracking.solver import Shape, robust_weights

_POSE = 6  # turn 3, offset 2, log scale
_DEPTH_SHARE = 1 / 9  # of a pixel's precision: the detector guesses depth about three times as badly
_SWEEPS = 30  # of coordinate descent; the expressions move by less than 0.002 afterwards


@dataclass(frozen=True)
class Poses:
    """B frames before one camera of focal length exp(log_focal) pixels, about `pivot` [3].

    As in `tracking.solver.State`: rotation [B, 3, 3], offset [B, 2] pixels, log_scale [B] (pixels per metre at the pivot);
    expression [B, 52]; identity [K], shared. The distance is focal / scale.
    """

    pivot: Float64
    log_focal: float
    identity: Float64
    rotation: Float64
    offset: Float64
    log_scale: Float64
    expression: Float64

    def __len__(self) -> int:
        return len(self.rotation)

    def __getitem__(self, rows: slice | NDArray[np.int64] | NDArray[np.bool_]) -> Poses:
        return replace(
            self,
            rotation=self.rotation[rows],
            offset=self.offset[rows],
            log_scale=self.log_scale[rows],
            expression=self.expression[rows],
        )

    @property
    def focal(self) -> float:
        return float(np.exp(self.log_focal))

    @property
    def scale(self) -> Float64:
        return np.asarray(np.exp(self.log_scale))

    @property
    def distance(self) -> Float64:
        """Metres [B] from the camera to the pivot, along the optical axis."""
        return np.asarray(self.focal / self.scale)

    @property
    def centre(self) -> Float64:
        """The pivot [B, 3] in the camera's frame, metres."""
        return np.concatenate([self.offset / self.scale[:, None], self.distance[:, None]], axis=1)

    def points(self, shape: Shape) -> Float64:
        """Landmarks [B, M, 3] of the unposed head."""
        rest = shape.base
        if len(self.identity):
            rest = rest + np.tensordot(self.identity, shape.identity_basis, axes=1)
        return np.asarray(rest + np.tensordot(self.expression, shape.expression_basis, axes=1))

    def project(self, points: Float64) -> Float64:
        """Pixels and depth [B, M, 3] as landmarks are seen, of points [B, M, 3] or [M, 3]; the depth's mean is 0."""
        return self._project_local((points - self.pivot) @ self.rotation.transpose(0, 2, 1))

    def by_point(self, points: Float64) -> Float64:
        """Derivatives [B, M, 3, 3] of the pixels and depth by points [B, M, 3] or [M, 3], pixels per metre.

        That the depth's mean stays 0 is left out.
        """
        return self._by_local((points - self.pivot) @ self.rotation.transpose(0, 2, 1)) @ self.rotation[:, None]

    def _project_local(self, local: Float64) -> Float64:
        scale, z = self.scale[:, None], local[..., 2]
        depth = 1.0 + z / self.distance[:, None]
        plane = (scale[..., None] * local[..., :2] + self.offset[:, None]) / depth[..., None]
        return np.concatenate([plane, (scale * (z - z.mean(1, keepdims=True)))[..., None]], axis=2)

    def _by_local(self, local: Float64) -> Float64:
        """Derivatives [B, M, 3, 3] by points in the camera's axes [B, M, 3]."""
        scale, distance = self.scale[:, None], self.distance[:, None]
        depth = 1.0 + local[..., 2] / distance
        inner = np.zeros((*depth.shape, 3, 3))
        inner[..., 0, 0] = inner[..., 1, 1] = scale / depth
        inner[..., :2, 2] = -self._project_local(local)[..., :2] / (depth * distance)[..., None]
        inner[..., 2, 2] = scale
        return inner


@dataclass(frozen=True)
class Beliefs:
    """Gaussian priors of B frames: expression_mean [B, 52], expression_sigma [52] (0 holds a coefficient at its mean);
    sparsity: how much a coefficient of 1 costs (an exponential prior: faces use few of the 52 at a time); log_distance:
    mean and standard deviation of the camera's distance (metres); the identity's is 1."""

    expression_mean: Float64
    expression_sigma: Float64
    sparsity: float
    log_distance: tuple[float, float]

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> Beliefs:
        return replace(self, expression_mean=self.expression_mean[rows])


@dataclass(frozen=True)
class _Equations:
    """Gauss-Newton equations of B frames: `own` over (pose 6, free expressions E), `shared` over (log focal, identity)."""

    own: Float64  # [B, 6 + E, 6 + E]
    own_gradient: Float64  # [B, 6 + E]
    shared: Float64  # [B, 1 + K, 1 + K]
    shared_gradient: Float64  # [B, 1 + K]
    cross: Float64  # [B, 6 + E, 1 + K]


def first_poses(shape: Shape, seen: Float64, expression: Float64, log_focal: float) -> Poses:
    """Where to start: the turn, scale and shift that carry the head at rest onto the landmarks `seen` [B, M, 3] best.

    Source: Umeyama, *Least-Squares Estimation of Transformation Parameters Between Two Point Patterns*, PAMI 1991.
    """
    pivot = shape.base.mean(0)
    rest, middle = shape.base - pivot, seen.mean(1)
    u, singular, vt = np.linalg.svd(np.einsum("bmi,mj->bij", seen - middle[:, None], rest))
    proper = np.ones_like(singular)
    proper[:, 2] = np.sign(np.linalg.det(u @ vt))
    scale = (singular * proper).sum(1) / np.square(rest).sum()
    nobody = np.zeros(len(shape.identity_basis))
    return Poses(pivot, log_focal, nobody, (u * proper[:, None]) @ vt, middle[:, :2], np.log(scale), expression)


def solve_frames(
    shape: Shape, seen: Float64, precision: Float64, beliefs: Beliefs, start: Poses, iterations: int
) -> Poses:
    """Pose and expression of frames whose landmarks were `seen` [B, M, 3], each believed as `precision` [B, M] (inverse
    variance of its place, metres⁻² on the face). Identity and focal length are held."""
    poses = start
    free = np.flatnonzero(beliefs.expression_sigma > 0)
    poses = replace(poses, expression=_held(poses.expression, beliefs))
    for _ in range(iterations):
        equations = _equations(shape, seen, precision, beliefs, poses, free, with_shared=False)
        hessian, gradient = equations.own, equations.own_gradient
        # The pose is eliminated, so that the bounds concern a problem in the expressions alone.
        coupling = hessian[:, :_POSE, _POSE:]
        solved = np.linalg.solve(
            hessian[:, :_POSE, :_POSE], np.concatenate([coupling, gradient[:, :_POSE, None]], axis=2)
        )
        inner = hessian[:, _POSE:, _POSE:] - coupling.transpose(0, 2, 1) @ solved[..., :-1]
        now = poses.expression[:, free]
        right = gradient[:, _POSE:] - np.einsum("bpe,bp->be", coupling, solved[..., -1]) - beliefs.sparsity
        target = bounded_minimum(inner, right + np.einsum("bij,bj->bi", inner, now), now)
        pose_step = solved[..., -1] - np.einsum("bpe,be->bp", solved[..., :-1], target - now)
        poses = _moved(poses, np.concatenate([pose_step, target - now], axis=1), free)
    return poses


def solve_shared(
    shape: Shape, seen: Float64, precision: Float64, beliefs: Beliefs, start: Poses, iterations: int
) -> Poses:
    """As `solve_frames`, and the identity and focal length that all frames share."""
    poses = start
    free = np.flatnonzero(beliefs.expression_sigma > 0)
    poses = replace(poses, expression=_held(poses.expression, beliefs))
    for _ in range(iterations):
        e = _equations(shape, seen, precision, beliefs, poses, free, with_shared=True)
        solved = np.linalg.solve(e.own, np.concatenate([e.cross, e.own_gradient[..., None]], axis=2))
        hessian = (e.shared - e.cross.transpose(0, 2, 1) @ solved[..., :-1]).sum(0)
        gradient = (e.shared_gradient - np.einsum("bpc,bp->bc", e.cross, solved[..., -1])).sum(0)
        identity_rows = np.arange(1, len(gradient))
        hessian[identity_rows, identity_rows] += 1.0
        gradient[1:] -= poses.identity
        shared_step = np.linalg.solve(hessian, gradient)
        shared_step[0] = np.clip(shared_step[0], -0.3, 0.3)
        own_step = solved[..., -1] - solved[..., :-1] @ shared_step
        poses = replace(
            _moved(poses, own_step, free),
            log_focal=poses.log_focal + float(shared_step[0]),
            identity=poses.identity + shared_step[1:],
        )
    return poses


def bounded_minimum(hessian: Float64, linear: Float64, start: Float64) -> Float64:
    """The x [B, E] in [0, 1] that make ½ xᵀ H x − linear · x smallest; hessian [B, E, E], by coordinate descent."""
    x = start.clip(0.0, 1.0)
    left = linear - np.einsum("bij,bj->bi", hessian, x)
    columns = np.ascontiguousarray(hessian.transpose(1, 0, 2))
    diagonal = np.einsum("bii->ib", hessian)
    for _ in range(_SWEEPS):
        for index, (column, scale) in enumerate(zip(columns, diagonal, strict=True)):
            step = np.clip(x[:, index] + left[:, index] / scale, 0.0, 1.0) - x[:, index]
            x[:, index] += step
            left -= column * step[:, None]
    return x


def _held(expression: Float64, beliefs: Beliefs) -> Float64:
    return np.where(beliefs.expression_sigma > 0, expression, beliefs.expression_mean)


def _equations(
    shape: Shape,
    seen: Float64,
    precision: Float64,
    beliefs: Beliefs,
    poses: Poses,
    free: NDArray[np.int64],
    *,
    with_shared: bool,
) -> _Equations:
    points = poses.points(shape)
    local = (points - poses.pivot) @ poses.rotation.transpose(0, 2, 1)
    scale, distance = poses.scale[:, None], poses.distance[:, None]
    depth = 1.0 + local[..., 2] / distance
    predicted = poses._project_local(local)
    by_local = poses._by_local(local)
    by_point = by_local @ poses.rotation[:, None]

    shared = 1 + len(poses.identity) if with_shared else 0
    jacobian = np.zeros((*depth.shape, 3, _POSE + len(free) + shared))
    # A small turn t moves the local point by t × local.
    x, y, z = local[..., 0, None], local[..., 1, None], local[..., 2, None]
    jacobian[..., 0] = by_local[..., 1] * -z + by_local[..., 2] * y
    jacobian[..., 1] = by_local[..., 0] * z - by_local[..., 2] * x
    jacobian[..., 2] = by_local[..., 1] * x - by_local[..., 0] * y
    jacobian[..., 0, 3] = jacobian[..., 1, 4] = 1.0 / depth
    # With the focal length held, a larger scale is a smaller distance.
    by_focal = predicted[..., :2] * ((depth - 1.0) / depth)[..., None]
    jacobian[..., :2, 5] = scale[..., None] * local[..., :2] / depth[..., None] - by_focal
    jacobian[..., 2, 5] = scale * local[..., 2]
    end = _POSE + len(free)
    _basis_jacobian(by_point, shape.expression_basis[free], jacobian[..., _POSE:end])
    if with_shared:
        jacobian[..., :2, end] = by_focal
        _basis_jacobian(by_point, shape.identity_basis, jacobian[..., end + 1 :])
    jacobian[..., 2, :] -= jacobian[..., 2, :].mean(1, keepdims=True)

    misfit = seen - predicted
    misfit[..., 2] -= misfit[..., 2].mean(1, keepdims=True)
    believed = precision / np.square(scale)
    weight = believed * robust_weights(believed * np.square(misfit[..., :2]).sum(-1))
    root = np.sqrt(weight[..., None] * [1.0, 1.0, _DEPTH_SHARE])
    flat = (jacobian * root[..., None]).reshape(len(poses), -1, jacobian.shape[-1])
    hessian = flat.transpose(0, 2, 1) @ flat
    gradient = np.einsum("bip,bi->bp", flat, (misfit * root).reshape(len(poses), -1))

    rows = np.arange(_POSE, end)
    certainty = beliefs.expression_sigma[free] ** -2.0
    hessian[:, rows, rows] += certainty
    gradient[:, rows] += certainty * (beliefs.expression_mean - poses.expression)[:, free]
    if with_shared:
        # distance = focal / scale. All frames stand before one camera: the belief is counted once, not for each.
        mean, sigma = beliefs.log_distance
        certain = sigma**-2 / len(poses)
        off = certain * (poses.log_focal - poses.log_scale - mean)
        hessian[:, 5, 5] += certain
        hessian[:, end, end] += certain
        hessian[:, 5, end] -= certain
        hessian[:, end, 5] -= certain
        gradient[:, 5] += off
        gradient[:, end] -= off
    return _Equations(
        hessian[:, :end, :end], gradient[:, :end], hessian[:, end:, end:], gradient[:, end:], hessian[:, :end, end:]
    )


def _basis_jacobian(by_point: Float64, basis: Float64, out: Float64) -> None:
    """Derivatives [B, M, 3, K] of what is seen by the weights of a basis [K, M, 3], into `out`."""
    by_landmark = np.ascontiguousarray(basis.transpose(1, 2, 0))  # [M, 3, K]
    np.matmul(by_point, by_landmark, out=out)


def _moved(poses: Poses, step: Float64, free: NDArray[np.int64]) -> Poses:
    expression = poses.expression.copy()
    expression[:, free] = np.clip(expression[:, free] + step[:, _POSE:], 0.0, 1.0)
    turn = step[:, :3].clip(-0.5, 0.5)
    return replace(
        poses,
        rotation=Rotation.from_rotvec(turn).as_matrix() @ poses.rotation,
        offset=poses.offset + step[:, 3:5],
        log_scale=poses.log_scale + step[:, 5].clip(-0.5, 0.5),
        expression=expression,
    )
