"""The non-linear part of the tracker: pose, camera, identity and expression from 2D landmarks of one photo or of several, by
Levenberg-Marquardt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from avatarcli.arrays import Float64

ITERATIONS = 30
TOLERANCE = 1e-5  # stop when a step lowers the cost by less than this share
_POSE, _EXPRESSIONS = 7, 52  # unknowns before and after the identity's
ROBUST_SCALE = 3.0  # standard deviations at which a landmark begins to lose its say (Geman-McClure)


@dataclass(frozen=True)
class Shape:
    """M landmark points as a linear function of what is solved for: base [M, 3] + identity · [K, M, 3] + expression ·
    [52, M, 3], metres. K may be 0: then the identity is held."""

    base: Float64
    identity_basis: Float64
    expression_basis: Float64

    def points(self, identity: Float64, expression: Float64) -> Float64:
        """Points [M, 3] (metres) of identity coefficients [K] and expression coefficients [52]."""
        shaped = self.base + np.tensordot(expression, self.expression_basis, axes=1)
        if len(identity):
            shaped = shaped + np.tensordot(identity, self.identity_basis, axes=1)
        return np.asarray(shaped)


@dataclass(frozen=True)
class Priors:
    """Gaussian beliefs before the photo is seen, as mean and standard deviation.

    Identity has mean 0; expression_mean, expression_sigma [52] (a sigma of 0 holds the coefficient at its mean);
    log_distance: camera to face, metres; log_focal: pixels, None when nothing is known of the lens.
    """

    identity_sigma: float
    expression_mean: Float64
    expression_sigma: Float64
    log_distance: tuple[float, float]
    log_focal: tuple[float, float] | None = None


@dataclass(frozen=True)
class Observation:
    """Where the M points were seen: pixels [M, 2], relative to the picture's middle, each believed as precision [M, 2,
    2] (inverse covariance, pixels⁻²)."""

    pixels: Float64
    precision: Float64


@dataclass(frozen=True)
class State:
    """A camera about `pivot` [3] and the face before it.

    A point x lands on (scale · (R (x − pivot))_xy + offset) / (1 + (R (x − pivot))_z / distance), in pixels from the
    picture's middle: rotation [3, 3] to the camera's axes, scale in pixels per metre at the pivot, offset [2] pixels,
    distance in metres. The focal length is scale · distance. In these variables the two that one photo hardly tells
    apart, focal length and distance, hang on one number.
    """

    pivot: Float64
    rotation: Float64
    offset: Float64
    log_scale: float
    log_distance: float
    identity: Float64
    expression: Float64

    @property
    def scale(self) -> float:
        return float(np.exp(self.log_scale))

    @property
    def distance(self) -> float:
        return float(np.exp(self.log_distance))

    @property
    def focal(self) -> float:
        return self.scale * self.distance

    def project(self, points: Float64) -> Float64:
        """Pixels [..., 2] from the picture's middle of points [..., 3]."""
        local = (points - self.pivot) @ self.rotation.T
        w = 1.0 + local[..., 2:] / self.distance
        return np.asarray((self.scale * local[..., :2] + self.offset) / w)

    def projection_jacobian(self, points: Float64) -> Float64:
        """Derivatives [M, 2, 3] of the pixels by the points [M, 3], pixels per metre."""
        local = (points - self.pivot) @ self.rotation.T
        w = 1.0 + local[:, 2] / self.distance
        plane = (self.scale * local[:, :2] + self.offset) / w[:, None]
        inner = np.zeros((len(points), 2, 3))
        inner[:, 0, 0] = inner[:, 1, 1] = self.scale / w
        inner[:, :, 2] = -plane / (w * self.distance)[:, None]
        return np.asarray(inner @ self.rotation)


def initial_state(shape: Shape, pixels: Float64, priors: Priors, identity: Float64) -> State:
    """A pose to start from: the affine camera that fits the average face best, made orthogonal."""
    points = shape.points(identity, priors.expression_mean)
    pivot = points.mean(0)
    affine = np.linalg.lstsq(points - pivot, pixels - pixels.mean(0), rcond=None)[0].T
    u, singular, vt = np.linalg.svd(affine, full_matrices=False)
    rows = u @ vt
    rotation = np.stack([rows[0], rows[1], np.cross(rows[0], rows[1])])
    return State(
        pivot=pivot,
        rotation=rotation,
        offset=pixels.mean(0),
        log_scale=float(np.log(singular.mean())),
        log_distance=priors.log_distance[0],
        identity=identity,
        expression=priors.expression_mean,
    )


def solve(shape: Shape, seen: Observation, priors: Priors, start: State, iterations: int = ITERATIONS) -> State:
    """The most probable camera, identity and expression, with expressions inside [0, 1]."""
    return solve_together([shape], [seen], [priors], [start], iterations)[0]


def solve_together(
    shapes: Sequence[Shape],
    seen: Sequence[Observation],
    priors: Sequence[Priors],
    starts: Sequence[State],
    iterations: int = ITERATIONS,
) -> list[State]:
    """As `solve`, for several photos of one person: the identity is shared, all else is each photo's own.

    The starts have the same identity, and the priors the same `identity_sigma`, which counts once.
    """
    # Every photo's equations bring the identity's prior along: a wider one, so that together they say it once.
    priors = [replace(prior, identity_sigma=prior.identity_sigma * math.sqrt(len(starts))) for prior in priors]
    photos = list(zip(shapes, seen, priors, strict=True))
    k = len(starts[0].identity)
    rows = _rows_of_photos(len(starts), k)
    states, damping = list(starts), 1e-3
    cost = sum(_cost(*photo, state) for photo, state in zip(photos, states, strict=True))
    for _ in range(iterations):
        hessian, gradient = _joint_equations(photos, states, rows)
        improved = False
        for _ in range(6):
            step = _bounded_step(hessian, gradient, damping, priors, states, rows)
            trial = [_moved(state, step[own]) for state, own in zip(states, rows, strict=True)]
            trial_cost = sum(_cost(*photo, state) for photo, state in zip(photos, trial, strict=True))
            if trial_cost < cost:
                improved = cost - trial_cost > TOLERANCE * cost
                states, cost, damping = trial, trial_cost, damping * 0.2
                break
            damping *= 10.0
        if not improved:
            break
    return states


def robust_weights(squared: Float64) -> Float64:
    """How much points count, in (0, 1], that miss by the square root of `squared` standard deviations
    (Geman-McClure)."""
    return np.asarray(1.0 / np.square(1.0 + squared / ROBUST_SCALE**2))


def _residuals(shape: Shape, seen: Observation, state: State) -> tuple[Float64, Float64]:
    """Pixel misfits [M, 2] and their squared lengths [M] in standard deviations."""
    misfit = state.project(shape.points(state.identity, state.expression)) - seen.pixels
    squared = np.einsum("mi,mij,mj->m", misfit, seen.precision, misfit)
    return misfit, squared


def _prior_residuals(priors: Priors, state: State) -> list[tuple[float, float]]:
    """Misfit and standard deviation of the camera's two beliefs, about log_distance and log_scale + log_distance."""
    beliefs = [(state.log_distance - priors.log_distance[0], priors.log_distance[1])]
    if priors.log_focal is not None:
        beliefs.append((state.log_scale + state.log_distance - priors.log_focal[0], priors.log_focal[1]))
    return beliefs


def _cost(shape: Shape, seen: Observation, priors: Priors, state: State) -> float:
    _, squared = _residuals(shape, seen, state)
    limit = ROBUST_SCALE**2
    cost = float((squared / (1.0 + squared / limit)).sum())
    cost += float(np.square(state.identity / priors.identity_sigma).sum())
    free = priors.expression_sigma > 0
    off = (state.expression - priors.expression_mean)[free] / priors.expression_sigma[free]
    cost += float(np.square(off).sum())
    return cost + sum((value / sigma) ** 2 for value, sigma in _prior_residuals(priors, state))


def _normal_equations(shape: Shape, seen: Observation, priors: Priors, state: State) -> tuple[Float64, Float64]:
    """Gauss-Newton Hessian and gradient over (turn 3, offset 2, log scale, log distance, identity K, expression 52)."""
    points = shape.points(state.identity, state.expression)
    local = (points - state.pivot) @ state.rotation.T
    w = 1.0 + local[:, 2] / state.distance
    plane = state.project(points)
    by_point = state.projection_jacobian(points)
    by_local = by_point @ state.rotation.T
    count, k = len(points), len(state.identity)
    jacobian = np.zeros((count, 2, 7 + k + 52))
    # A small turn t moves the local point by t × local.
    turn = np.zeros((count, 3, 3))
    turn[:, 0, 1], turn[:, 0, 2] = local[:, 2], -local[:, 1]
    turn[:, 1, 0], turn[:, 1, 2] = -local[:, 2], local[:, 0]
    turn[:, 2, 0], turn[:, 2, 1] = local[:, 1], -local[:, 0]
    jacobian[:, :, 0:3] = by_local @ turn
    jacobian[:, 0, 3] = jacobian[:, 1, 4] = 1.0 / w
    jacobian[:, :, 5] = state.scale * local[:, :2] / w[:, None]
    jacobian[:, :, 6] = plane * ((w - 1.0) / w)[:, None]
    jacobian[:, :, 7 : 7 + k] = np.einsum("mij,kmj->mik", by_point, shape.identity_basis, optimize=True)
    jacobian[:, :, 7 + k :] = np.einsum("mij,kmj->mik", by_point, shape.expression_basis, optimize=True)

    misfit, squared = _residuals(shape, seen, state)
    weight = robust_weights(squared)
    weighted = np.einsum("m,mij,mjp->mip", weight, seen.precision, jacobian, optimize=True).reshape(2 * count, -1)
    flat = jacobian.reshape(2 * count, -1)
    hessian, gradient = flat.T @ weighted, weighted.T @ misfit.reshape(-1)

    diagonal = np.zeros(len(gradient))
    diagonal[7 : 7 + k] = priors.identity_sigma**-2
    gradient[7 : 7 + k] += state.identity * priors.identity_sigma**-2
    free = priors.expression_sigma > 0
    precision = np.where(free, 1.0 / np.where(free, priors.expression_sigma, 1.0) ** 2, 0.0)
    diagonal[7 + k :] = precision
    gradient[7 + k :] += precision * (state.expression - priors.expression_mean)
    hessian[np.diag_indices_from(hessian)] += diagonal
    for (value, sigma), entries in zip(_prior_residuals(priors, state), ([6], [5, 6]), strict=False):
        for entry in entries:
            gradient[entry] += value / sigma**2
        hessian[np.ix_(entries, entries)] += sigma**-2
    return hessian, gradient


def _rows_of_photos(count: int, k: int) -> list[NDArray[np.int64]]:
    """Where each photo's unknowns (turn 3, offset 2, log scale, log distance, identity K, expression 52) stand in the joint vector.

    The first photo has its own order, so that a single one is solved as it always was; the others share its identity.
    """
    own, first = _POSE + _EXPRESSIONS, _POSE + k + _EXPRESSIONS
    identity = np.arange(_POSE, _POSE + k)
    rows = [np.arange(first)]
    for index in range(1, count):
        mine = first + (index - 1) * own + np.arange(own)
        rows.append(np.concatenate([mine[:_POSE], identity, mine[_POSE:]]))
    return rows


def _joint_equations(
    photos: Sequence[tuple[Shape, Observation, Priors]], states: Sequence[State], rows: Sequence[NDArray[np.int64]]
) -> tuple[Float64, Float64]:
    """The sum of all photos' normal equations over the joint vector."""
    size = 1 + int(rows[-1].max())
    hessian, gradient = np.zeros((size, size)), np.zeros(size)
    for photo, state, own in zip(photos, states, rows, strict=True):
        part, pull = _normal_equations(*photo, state)
        hessian[np.ix_(own, own)] += part
        gradient[own] += pull
    return hessian, gradient


def _bounded_step(
    hessian: Float64,
    gradient: Float64,
    damping: float,
    priors: Sequence[Priors],
    states: Sequence[State],
    rows: Sequence[NDArray[np.int64]],
) -> Float64:
    """The damped Newton step that keeps expressions in [0, 1]: those that would leave stop at the bound, the others are
    solved again, until none leaves."""
    damped = hessian + damping * np.diag(np.diag(hessian))
    bounded = np.concatenate([own[-_EXPRESSIONS:] for own in rows])
    now = np.concatenate([state.expression for state in states])
    step = np.zeros_like(gradient)
    free = np.ones(len(gradient), dtype=bool)
    free[bounded] = np.concatenate([prior.expression_sigma > 0 for prior in priors])
    for _ in range(8):
        right = -gradient[free] - damped[np.ix_(free, ~free)] @ step[~free]
        step[free] = np.linalg.solve(damped[np.ix_(free, free)], right)
        target = now + step[bounded]
        leaving = free[bounded] & ((target < 0.0) | (target > 1.0))
        if not leaving.any():
            break
        step[bounded] = np.where(leaving, np.clip(target, 0.0, 1.0) - now, step[bounded])
        free[bounded] &= ~leaving
    step[bounded] = np.clip(now + step[bounded], 0.0, 1.0) - now
    return step


def _moved(state: State, step: Float64) -> State:
    k = len(state.identity)
    return replace(
        state,
        rotation=Rotation.from_rotvec(step[:3]).as_matrix() @ state.rotation,
        offset=state.offset + step[3:5],
        log_scale=state.log_scale + float(np.clip(step[5], -0.5, 0.5)),
        log_distance=state.log_distance + float(np.clip(step[6], -0.5, 0.5)),
        identity=state.identity + step[7 : 7 + k],
        expression=state.expression + step[7 + k :],
    )
