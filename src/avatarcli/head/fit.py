"""The tracker: fit the head model to one photo.

Camera, identity and expression come from a maximum-a-posteriori fit to the landmarks (`fit_solver`), gaze from the irises
(`fit_gaze`); what the linear model cannot reach becomes a smooth offset of the mesh (`fit_residual`). Deterministic, CPU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatarcli.geometry.cameras import Camera, intrinsics
from avatarcli.geometry.rotations import rigid
from avatarcli.head.fit_gaze import fit_gaze, look_expression
from avatarcli.head.fit_priors import expression_prior, landmark_sigma
from avatarcli.head.fit_residual import Measurement, free_form_offset
from avatarcli.head.fit_solver import Observation, Priors, Shape, State, initial_state, solve
from avatarcli.head.model import HeadModel
from avatarcli.head.track import Track

Float = NDArray[np.float64]

LANDMARKS = 478
SURFACE_LANDMARKS = 468  # the last ten are the irises, which turn with the gaze
# Distance from which portraits are taken, metres, and its spread in log: 0.7 to 1.8 m within one standard deviation.
# One photo hardly tells distance from the depth of a face, so this holds the focal length too.
PORTRAIT_DISTANCE, PORTRAIT_DISTANCE_SIGMA = 1.1, 0.2
FOCAL_SIGMA = 0.1  # of a focal length that the caller states, in log
GAZE_ROUNDS = 2  # lids follow the gaze and the gaze sees the lids' eyes: it settles at once


@dataclass(frozen=True)
class _Photo:
    """Landmarks [478, 2] in pixels from the picture's middle, scores [52], size in pixels."""

    pixels: Float
    scores: Float
    width: int
    height: int


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
) -> Track:
    """Fit camera, identity, expression, gaze and free-form offset to one photo of `width` × `height` pixels.

    landmarks [478, 2]: MediaPipe's points in pixels; scores [52]: its ARKit guesses in the order of `EXPRESSION_NAMES`;
    matte [height, width]: foreground in [0, 1], if there is one; focal: focal length in pixels, if the caller knows it.
    `free_form=False` leaves the residual at zero.

    Raises:
        ValueError: an array has another shape, or holds NaN.
    """
    photo = _checked(landmarks, scores, width, height, matte)
    base, identity_basis, expression_basis = _landmark_bases(model)
    shape = Shape(base, identity_basis, expression_basis)
    state, gaze = _fit_shape(model, photo, shape, focal, None, None)
    identity = torch.from_numpy(state.identity).float()
    residual = torch.zeros_like(model.mean)
    if free_form:
        neutral, joints = model.neutral(identity), model.joints(identity)
        residual = free_form_offset(model, neutral, joints, _measure(model, photo, shape, state))
        gaze = fit_gaze(model, neutral + residual, _moved_joints(model, joints, residual), state, photo.pixels)
    return _track(photo, state, identity, residual, gaze)


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
) -> Track:
    """Fit camera, expression and gaze to another photo of a person whose identity [K] and residual [N, 3] are known.

    Raises:
        ValueError: an array has another shape, or holds NaN.
    """
    photo = _checked(landmarks, scores, width, height, None)
    _, _, expression_basis = _landmark_bases(model)
    neutral = model.neutral(identity) + residual
    base = model.landmarks(neutral).double().numpy()[:SURFACE_LANDMARKS]
    shape = Shape(base, np.zeros((0, *base.shape)), expression_basis)
    state, gaze = _fit_shape(model, photo, shape, focal, identity, residual)
    return _track(photo, state, identity, residual, gaze)


def _fit_shape(
    model: HeadModel, photo: _Photo, shape: Shape, focal: float | None, identity: Tensor | None, residual: Tensor | None
) -> tuple[State, Tensor]:
    """Camera, identity (unless one is given), expression and gaze."""
    mean, sigma = expression_prior(photo.scores)
    priors = Priors(
        identity_sigma=1.0,
        expression_mean=mean,
        expression_sigma=sigma,
        log_distance=(math.log(PORTRAIT_DISTANCE), PORTRAIT_DISTANCE_SIGMA if focal is None else 1.0),
        log_focal=None if focal is None else (math.log(focal), FOCAL_SIGMA),
    )
    pixels = photo.pixels[:SURFACE_LANDMARKS]
    spread = model.landmark_spread.double().numpy()[:SURFACE_LANDMARKS]
    state = initial_state(shape, pixels, priors, np.zeros(len(shape.identity_basis)))
    gaze = torch.zeros(2, 2)
    for _ in range(GAZE_ROUNDS):
        sigmas = landmark_sigma(spread) * state.scale
        seen = Observation(pixels, np.eye(2) / np.square(sigmas)[:, None, None])
        state = solve(shape, seen, priors, state)
        known = torch.from_numpy(state.identity).float() if identity is None else identity
        neutral, joints = model.neutral(known), model.joints(known)
        if residual is not None:
            neutral, joints = neutral + residual, _moved_joints(model, joints, residual)
        gaze = fit_gaze(model, neutral, joints, state, photo.pixels)
        looks = look_expression(gaze)
        mean = mean.copy()
        mean[list(looks)] = list(looks.values())
        priors = replace(priors, expression_mean=mean)
        state = replace(state, expression=np.where(priors.expression_sigma > 0, state.expression, mean))
    return state, gaze


def _measure(model: HeadModel, photo: _Photo, shape: Shape, state: State) -> Measurement:
    """What the landmarks still say after the linear fit."""
    points = shape.points(state.identity, state.expression)
    misfit = photo.pixels[:SURFACE_LANDMARKS] - state.project(points)
    spread = model.landmark_spread.double().numpy()[:SURFACE_LANDMARKS]
    noise = np.square(landmark_sigma(spread) * state.scale)[:, None, None] * np.eye(2)
    rest = shape.points(state.identity, np.zeros(52))
    return Measurement(rest, misfit, state.projection_jacobian(points), noise)


def _moved_joints(model: HeadModel, joints: Tensor, residual: Tensor) -> Tensor:
    """Joints [J, 3] with the eyes' centres carried along by the rigid offset of the eyeballs."""
    joints = joints.clone()
    for side in ("l", "r"):
        joints[model.joint_names.index(f"eye_{side}")] += residual[model.part(f"eye_{side}")].mean(0)
    return joints


def _landmark_bases(model: HeadModel) -> tuple[Float, Float, Float]:
    """The surface landmarks' mean [468, 3], identity basis [K, 468, 3] and expression basis [52, 468, 3]."""
    values = (model.mean, model.identity_basis, model.expression_basis)
    base, identity, expression = (
        model.landmarks(value).double().numpy()[..., :SURFACE_LANDMARKS, :] for value in values
    )
    return base, identity, expression


def _track(photo: _Photo, state: State, identity: Tensor, residual: Tensor, gaze: Tensor) -> Track:
    rotation = torch.from_numpy(state.rotation)
    centre = np.append(state.offset / state.scale, state.distance)
    translation = torch.from_numpy(centre) - rotation @ torch.from_numpy(state.pivot)
    camera = Camera(
        rigid(rotation, translation).float(), intrinsics(state.focal, photo.width, photo.height), photo.width, photo.height
    )
    middle = np.array([photo.width, photo.height]) / 2
    return Track(
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
