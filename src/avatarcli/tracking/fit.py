"""The tracker: fit the head model to one photo, or to several of one person.

Camera, identity and expression come from a maximum-a-posteriori fit to the landmarks (`tracking.solver`), gaze from the
irises (`tracking.gaze`); what the linear model cannot reach becomes a smooth offset of the mesh (`tracking.residual`).
Deterministic, CPU.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatarcli.arrays import Float64
from avatarcli.geometry.cameras import Camera, intrinsics
from avatarcli.geometry.rotations import rigid
from avatarcli.head.face_points import SURFACE_LANDMARKS
from avatarcli.head.model import HeadModel
from avatarcli.head.photo_fit import PhotoFit
from avatarcli.head.shutting import shut_at_one
from avatarcli.tracking.gaze import fit_gaze, look_expression
from avatarcli.tracking.priors import expression_prior, facing, landmark_normals, landmark_sigma
from avatarcli.tracking.residual import Measurement, free_form_offset
from avatarcli.tracking.silhouette import Silhouette
from avatarcli.tracking.solver import Observation, Priors, Shape, State, initial_state, robust_weights, solve_together

LANDMARKS = 478
# Distance from which portraits are taken, metres, and how firmly that is believed (in log). One photo hardly tells
# distance from the depth of a face, and the detector flattens turned faces, which reads as a camera too near: so the
# belief is firmer than portraits really are alike. It holds the focal length too.
PORTRAIT_DISTANCE, PORTRAIT_DISTANCE_SIGMA = 1.2, 0.06
FOCAL_SIGMA = 0.1  # of a focal length that the caller states, in log
ROUNDS = 3  # of pose, then gaze and outline seen from it; the third changes less than the landmarks' noise


@dataclass(frozen=True)
class SeenFace:
    """What a detector and the matte say of one photo; the arrays are those of `fit_photo`."""

    landmarks: NDArray[np.floating]
    scores: NDArray[np.floating]
    width: int
    height: int
    matte: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class _Photo:
    """Landmarks [478, 2] in pixels from the picture's middle, scores [52], size in pixels."""

    pixels: Float64
    scores: Float64
    width: int
    height: int


@dataclass(frozen=True)
class _Linear:
    """A head as a linear function of identity and expression; K is 0 for a person who is known already.

    base [N, 3], identity_basis [K, N, 3], expression_basis [52, N, 3]; joint_base [J, 3], joint_basis [K, J, 3].
    """

    base: NDArray[np.float32]
    identity_basis: NDArray[np.float32]
    expression_basis: NDArray[np.float32]
    joint_base: Tensor
    joint_basis: Tensor

    @classmethod
    def anybody(cls, model: HeadModel) -> _Linear:
        bases = model.mean, model.identity_basis, shut_at_one(model, model.mean)
        mean, identity, expression = (value.numpy() for value in bases)
        return cls(mean, identity, expression, model.joint_mean, model.joint_basis)

    @classmethod
    def person(cls, model: HeadModel, neutral: Tensor, joints: Tensor) -> _Linear:
        nobody = np.zeros((0, *neutral.shape), dtype=np.float32)
        basis = shut_at_one(model, neutral).numpy()
        return cls(neutral.numpy(), nobody, basis, joints, torch.zeros(0, *joints.shape))

    def landmarks(self, model: HeadModel) -> Shape:
        """The surface landmarks."""
        corners = model.landmark_triangles.numpy()[:SURFACE_LANDMARKS]
        weights = model.landmark_weights.double().numpy()[:SURFACE_LANDMARKS, :, None]
        bases = (self.base, self.identity_basis, self.expression_basis)
        return Shape(*((basis[..., corners, :] * weights).sum(-2) for basis in bases))

    def rows(self, vertices: NDArray[np.int64]) -> Shape:
        """Some of the vertices."""
        bases = (self.base, self.identity_basis, self.expression_basis)
        return Shape(*(basis[..., vertices, :].astype(np.float64) for basis in bases))

    def neutral(self, state: State) -> Float64:
        return np.asarray(self.base + np.tensordot(state.identity, self.identity_basis, axes=1))

    def vertices(self, state: State) -> Float64:
        return np.asarray(self.neutral(state) + np.tensordot(state.expression, self.expression_basis, axes=1))

    def joints(self, state: State) -> Tensor:
        offset: Tensor = torch.tensordot(torch.from_numpy(state.identity).float(), self.joint_basis, dims=1)
        return self.joint_base + offset


@dataclass(frozen=True)
class _Solution:
    """What the linear fit found, and the points [M] that it was found from."""

    state: State
    gaze: Tensor
    shape: Shape
    seen: Observation


def landmark_shape(model: HeadModel) -> Shape:
    """The surface landmarks of anybody as the linear function that the solvers take."""
    return _Linear.anybody(model).landmarks(model)


def fit_photo(
    model: HeadModel,
    landmarks: NDArray[np.floating],
    scores: NDArray[np.floating],
    width: int,
    height: int,
    *,
    matte: NDArray[np.float32] | None = None,
    focal: float | None = None,
    free_form: bool = True,
) -> PhotoFit:
    """Fit camera, identity, expression, gaze and free-form offset to one photo of `width` × `height` pixels.

    landmarks [478, 2]: MediaPipe's points in pixels; scores [52]: its ARKit guesses in the order of `EXPRESSION_NAMES`;
    matte [height, width]: foreground in [0, 1], if there is one; focal: focal length in pixels, if the caller knows it.
    `free_form=False` leaves the residual at zero.

    Raises:
        ValueError: an array has another shape, or holds NaN.
    """
    seen = SeenFace(landmarks, scores, width, height, matte)
    return fit_photos(model, [seen], focal=focal, free_form=free_form)[0]


def fit_photos(
    model: HeadModel, faces: Sequence[SeenFace], *, focal: float | None = None, free_form: bool = True
) -> list[PhotoFit]:
    """As `fit_photo`, for several photos of one person: one identity and one free-form offset explain them all; camera, focal
    length, expression and gaze are each photo's own.

    Raises:
        ValueError: an array has another shape, or holds NaN.
    """
    photos = [_checked(face.landmarks, face.scores, face.width, face.height, face.matte) for face in faces]
    silhouettes = [None if face.matte is None else Silhouette(model, face.matte) for face in faces]
    solutions = _solve_all(model, photos, _Linear.anybody(model), focal, silhouettes)
    identity = torch.from_numpy(solutions[0].state.identity).float()
    residual = torch.zeros_like(model.mean)
    gazes = [solution.gaze for solution in solutions]
    if free_form:
        neutral, joints = model.neutral(identity), model.joints(identity)
        residual = free_form_offset(model, neutral, joints, _together([_measure(solution) for solution in solutions]))
        moved = moved_joints(model, joints, residual)
        gazes = [
            fit_gaze(model, neutral + residual, moved, solution.state, photo.pixels)
            for solution, photo in zip(solutions, photos, strict=True)
        ]
    return [
        _track(photo, solution.state, identity, residual, gaze)
        for photo, solution, gaze in zip(photos, solutions, gazes, strict=True)
    ]


def fit_pose_expression(
    model: HeadModel,
    identity: Tensor,
    residual: Tensor,
    landmarks: NDArray[np.floating],
    scores: NDArray[np.floating],
    width: int,
    height: int,
    *,
    focal: float | None = None,
) -> PhotoFit:
    """Fit camera, expression and gaze to another photo of a person whose identity [K] and residual [N, 3] are known.

    Raises:
        ValueError: an array has another shape, or holds NaN.
    """
    photo = _checked(landmarks, scores, width, height, None)
    joints = moved_joints(model, model.joints(identity), residual)
    person = _Linear.person(model, model.neutral(identity) + residual, joints)
    (solution,) = _solve_all(model, [photo], person, focal, [None])
    return _track(photo, solution.state, identity, residual, solution.gaze)


def _solve_all(
    model: HeadModel,
    photos: Sequence[_Photo],
    linear: _Linear,
    focal: float | None,
    silhouettes: Sequence[Silhouette | None],
) -> list[_Solution]:
    """Camera, identity (unless it is known), expression and gaze, in rounds: each looks with the pose of the last one
    at which landmarks face the camera, where the outline is and where the eyes look."""
    priors = [_priors(photo, focal) for photo in photos]
    landmarks = linear.landmarks(model)
    nobody = np.zeros(len(linear.identity_basis))
    states = [
        initial_state(landmarks, photo.pixels[:SURFACE_LANDMARKS], prior, nobody)
        for photo, prior in zip(photos, priors, strict=True)
    ]
    normals = landmark_normals(model)[:SURFACE_LANDMARKS]
    spread = model.landmark_spread.double().numpy()[:SURFACE_LANDMARKS]
    gazes = [torch.zeros(2, 2) for _ in photos]
    for round_ in range(ROUNDS):
        shapes, seen = [], []
        for photo, state, silhouette in zip(photos, states, silhouettes, strict=True):
            sigmas = landmark_sigma(spread, facing(normals, state)) * state.scale
            pixels = photo.pixels[:SURFACE_LANDMARKS]
            shape, observed = landmarks, Observation(pixels, np.eye(2) / np.square(sigmas)[:, None, None])
            if silhouette is not None and round_ > 0:
                outline = silhouette.points(state, linear.vertices(state))
                shape = _joined(landmarks, linear.rows(outline.vertices))
                observed = Observation(
                    np.concatenate([pixels, outline.pixels]), np.concatenate([observed.precision, outline.precision])
                )
            shapes.append(shape)
            seen.append(observed)
        states = solve_together(shapes, seen, priors, states)
        for index, (photo, state) in enumerate(zip(photos, states, strict=True)):
            neutral = torch.from_numpy(linear.neutral(state)).float()
            gazes[index] = fit_gaze(model, neutral, linear.joints(state), state, photo.pixels)
            looks = look_expression(gazes[index])
            mean = priors[index].expression_mean.copy()
            mean[list(looks)] = list(looks.values())
            priors[index] = replace(priors[index], expression_mean=mean)
            held = priors[index].expression_sigma == 0
            states[index] = replace(state, expression=np.where(held, mean, state.expression))
    return [_Solution(*found) for found in zip(states, gazes, shapes, seen, strict=True)]


def _priors(photo: _Photo, focal: float | None) -> Priors:
    mean, sigma = expression_prior(photo.scores)
    return Priors(
        identity_sigma=1.0,
        expression_mean=mean,
        expression_sigma=sigma,
        log_distance=(math.log(PORTRAIT_DISTANCE), PORTRAIT_DISTANCE_SIGMA if focal is None else 1.0),
        log_focal=None if focal is None else (math.log(focal), FOCAL_SIGMA),
    )


def _measure(solution: _Solution) -> Measurement:
    """What landmarks and outline still say after the linear fit."""
    shape, seen, state = solution.shape, solution.seen, solution.state
    points = shape.points(state.identity, state.expression)
    misfit = seen.pixels - state.project(points)
    # The outline says nothing along its edge: a deviation of a thousand pixels stands for that.
    noise = np.linalg.inv(seen.precision + 1e-6 * np.eye(2))
    trust = robust_weights(np.einsum("mi,mij,mj->m", misfit, seen.precision, misfit))
    rest = shape.points(state.identity, np.zeros(len(state.expression)))
    return Measurement(rest, misfit, state.projection_jacobian(points), noise / trust[:, None, None])


def _together(parts: Sequence[Measurement]) -> Measurement:
    """What several photos say of one head."""
    names = (field.name for field in fields(Measurement))
    return Measurement(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _joined(a: Shape, b: Shape) -> Shape:
    return Shape(
        np.concatenate([a.base, b.base]),
        np.concatenate([a.identity_basis, b.identity_basis], axis=1),
        np.concatenate([a.expression_basis, b.expression_basis], axis=1),
    )


def moved_joints(model: HeadModel, joints: Tensor, residual: Tensor) -> Tensor:
    """Joints [J, 3] with the eyes' centres carried along by the rigid offset of the eyeballs."""
    joints = joints.clone()
    for side in ("l", "r"):
        joints[model.joint_names.index(f"eye_{side}")] += residual[model.part(f"eye_{side}")].mean(0)
    return joints


def _track(photo: _Photo, state: State, identity: Tensor, residual: Tensor, gaze: Tensor) -> PhotoFit:
    rotation = torch.from_numpy(state.rotation)
    centre = np.append(state.offset / state.scale, state.distance)
    translation = torch.from_numpy(centre) - rotation @ torch.from_numpy(state.pivot)
    camera = Camera(
        rigid(rotation, translation).float(),
        intrinsics(state.focal, photo.width, photo.height),
        photo.width,
        photo.height,
    )
    middle = np.array([photo.width, photo.height]) / 2
    return PhotoFit(
        camera=camera,
        identity=identity,
        residual=residual,
        expression=torch.from_numpy(state.expression).float(),
        gaze=gaze,
        landmarks=torch.from_numpy(photo.pixels + middle).float(),
        scores=torch.from_numpy(photo.scores).float(),
    )


def _checked(
    landmarks: NDArray[np.floating],
    scores: NDArray[np.floating],
    width: int,
    height: int,
    matte: NDArray[np.float32] | None,
) -> _Photo:
    for name, array, wanted in (("landmarks", landmarks, (LANDMARKS, 2)), ("scores", scores, (52,))):
        if array.shape != wanted:
            raise ValueError(f"{name} must have shape {list(wanted)}, got {list(array.shape)}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} must be finite")
    if matte is not None and matte.shape != (height, width):
        raise ValueError(f"matte must have shape {[height, width]}, got {list(matte.shape)}")
    pixels = landmarks.astype(np.float64) - np.array([width, height]) / 2
    return _Photo(pixels, scores.astype(np.float64), width, height)
