"""The batched solver of video frames against its single-photo twin, and against what made the landmarks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import lsq_linear
from scipy.spatial.transform import Rotation

from avatarcli.head.expressions import EXPRESSION_INDEX
from avatarcli.head.face_points import SURFACE_LANDMARKS
from avatarcli.head.model import HeadModel
from avatarcli.tracking import frames as fit_frames
from avatarcli.tracking.fit import landmark_shape
from avatarcli.tracking.frames import Beliefs, Poses, bounded_minimum, first_poses, solve_frames, solve_shared
from avatarcli.tracking.priors import expression_prior
from avatarcli.tracking.solver import Observation, Priors, Shape, State, solve

FOCAL = 900.0
UPSIDE = np.diag([1.0, -1.0, -1.0])  # from the head's axes to those of a camera before it


@pytest.fixture(scope="module")
def shape(model: HeadModel) -> Shape:
    return landmark_shape(model)


@pytest.fixture(scope="module")
def person(shape: Shape) -> Shape:
    return replace(shape, identity_basis=shape.identity_basis[:0])


def posed(shape: Shape, identity: NDArray[np.float64], seed: int = 0) -> Poses:
    """Five frames of a head that turns, opens its mouth and smiles."""
    random = np.random.default_rng(seed)
    frames = 5
    expression = np.zeros((frames, 52))
    expression[:, EXPRESSION_INDEX["jawOpen"]] = np.linspace(0, 0.6, frames)
    expression[:, EXPRESSION_INDEX["mouthSmileLeft"]] = np.linspace(0.5, 0.1, frames)
    turn = random.normal(0, 0.2, (frames, 3))
    return Poses(
        pivot=shape.base.mean(0),
        log_focal=float(np.log(FOCAL)),
        identity=identity,
        rotation=UPSIDE @ Rotation.from_rotvec(turn).as_matrix(),
        offset=random.normal(0, 20, (frames, 2)),
        log_scale=np.log(FOCAL / random.uniform(0.7, 1.1, frames)),
        expression=expression,
    )


def loose(expression: NDArray[np.float64], scores: float = 0.0) -> Beliefs:
    _, sigma = expression_prior(np.full_like(expression, scores))
    return Beliefs(expression * 0, sigma, 0.0, (float(np.log(0.9)), 0.1))


def test_bounded_minimum_is_that_of_a_general_solver() -> None:
    random = np.random.default_rng(0)
    root, target = random.normal(size=(3, 12, 6)), random.normal(size=(3, 12))
    found = bounded_minimum(root.transpose(0, 2, 1) @ root, np.einsum("bij,bi->bj", root, target), np.full((3, 6), 0.5))
    for a, b, x in zip(root, target, found, strict=True):
        np.testing.assert_allclose(x, lsq_linear(a, b, (0.0, 1.0), tol=1e-12).x, atol=2e-3)


def test_frames_agree_with_the_solver_of_single_photos(person: Shape, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_frames, "_DEPTH_SHARE", 0.0)  # which photos do not use
    true = posed(person, np.zeros(0))
    seen = true.project(true.points(person))
    beliefs = loose(true.expression)
    precision = np.full(seen.shape[:2], 1e3**2.0)
    start = replace(true, expression=np.zeros_like(true.expression))
    found = solve_frames(person, seen, precision, beliefs, start, 15)
    for frame in range(len(true)):
        priors = Priors(1.0, np.zeros(52), beliefs.expression_sigma, (0.0, 100.0), (float(np.log(FOCAL)), 1e-6))
        sigma = 1e-3 * true.scale[frame]
        alone = solve(
            person,
            Observation(seen[frame, :, :2], np.repeat(np.eye(2)[None] / sigma**2, SURFACE_LANDMARKS, axis=0)),
            priors,
            State(true.pivot, true.rotation[frame], true.offset[frame], true.log_scale[frame],
                  float(np.log(true.distance[frame])), np.zeros(0), np.zeros(52)),
        )  # fmt: skip
        assert Rotation.from_matrix(found.rotation[frame].T @ alone.rotation).magnitude() < 0.02
        np.testing.assert_allclose(found.expression[frame], alone.expression, atol=0.08)


def test_pose_and_expression_come_back(person: Shape) -> None:
    true = posed(person, np.zeros(0))
    seen = true.project(true.points(person))
    beliefs = loose(true.expression)
    start = first_poses(person, seen, np.zeros((5, 52)), true.log_focal)
    found = solve_frames(person, seen, np.full(seen.shape[:2], 2e3**2.0), beliefs, start, 8)
    np.testing.assert_allclose(found.expression, true.expression, atol=0.08)
    assert Rotation.from_matrix(found.rotation.transpose(0, 2, 1) @ true.rotation).magnitude().max() < 0.01
    np.testing.assert_allclose(found.distance, true.distance, rtol=0.01)
    np.testing.assert_allclose(found.project(found.points(person)), seen, atol=0.6)


def test_held_expressions_stay_and_all_stay_in_range(person: Shape) -> None:
    true = posed(person, np.zeros(0))
    seen = true.project(true.points(person)) + np.random.default_rng(1).normal(0, 3, (5, SURFACE_LANDMARKS, 3))
    beliefs = loose(true.expression)
    jaw = EXPRESSION_INDEX["jawOpen"]
    beliefs.expression_sigma[jaw] = 0.0
    beliefs.expression_mean[:, jaw] = 0.25
    start = first_poses(person, seen, true.expression, true.log_focal)
    found = solve_frames(person, seen, np.full(seen.shape[:2], 1e6), beliefs, start, 4)
    assert (found.expression[:, jaw] == 0.25).all()
    assert found.expression.min() >= 0
    assert found.expression.max() <= 1


def test_identity_and_focal_length_are_shared(shape: Shape) -> None:
    identity = np.random.default_rng(2).normal(size=len(shape.identity_basis)) * (np.arange(150) < 12)
    true = posed(shape, identity)
    seen = true.project(true.points(shape))
    start = replace(first_poses(shape, seen, true.expression * 0, true.log_focal + 0.15))
    found = solve_shared(shape, seen, np.full(seen.shape[:2], 1e3**2.0), loose(true.expression), start, 15)
    assert found.focal == pytest.approx(FOCAL, rel=0.12)
    rest = shape.base + np.tensordot(identity, shape.identity_basis, axes=1)
    fitted = shape.base + np.tensordot(found.identity, shape.identity_basis, axes=1)
    off, average = (
        np.linalg.norm(points - points.mean(0) - rest + rest.mean(0), axis=1).mean() for points in (fitted, shape.base)
    )
    assert off < 0.3 * average
