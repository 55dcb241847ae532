"""The resting face of a video: who is filmed, and what of it is them rather than an expression.

Identity and focal length come from a spread of frames, which share them (`tracking.frames.solve_shared`). The frames in
which the detector's scores are at the person's own low show the resting face; features that the model's identities do
not reach become part of the mesh, and habits of the detector with single points part of the landmarks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from avatarcli.arrays import Float64
from avatarcli.head.expressions import BLINKS, EXPRESSION_INDEX, EXPRESSION_NAMES
from avatarcli.head.face_points import SURFACE_LANDMARKS
from avatarcli.head.model import HeadModel, PersonalHead
from avatarcli.head.shutting import shut_at_one
from avatarcli.tracking.fit import landmark_shape, moved_joints
from avatarcli.tracking.frames import Beliefs, Poses, first_poses, solve_frames, solve_shared
from avatarcli.tracking.gaze import IRIS_LANDMARKS, eye_geometry
from avatarcli.tracking.priors import expression_prior, landmark_normals, landmark_sigma
from avatarcli.tracking.residual import Measurement, free_form_offset
from avatarcli.tracking.solver import Shape
from avatarcli.tracking.video_gaze import fit_gazes

LOOKS = [index for name, index in EXPRESSION_INDEX.items() if name.startswith("eyeLook")]

# Metres (in log): webcams stand at 0.5 to 0.7, phones and cameras farther away.
_DISTANCE = (float(np.log(1.0)), 0.1)
_PERSON_FRAMES = 10  # that identity and focal length come from; more change them by less than their noise
_PERSON_YAW = np.deg2rad(45.0)  # beyond it the far half of the landmarks is guessed
# The resting face: the share of frames, and at least and at most how many, in which the scores are lowest …
_REST_SHARE, _REST_FEWEST, _REST_MOST = 0.1, 5, 60
# … compared with this quantile of each score over the video: lower ones are the detector's noise.
_REST_QUANTILE = 0.1
_USUAL_POSE = np.deg2rad(5.0)  # so far from its median direction a head is held as usual; half of the frames always are
# How far the detector may place a point of one person off the model's, and its scatter there, metres.
_POINT_OFFSET, _POINT_NOISE = 4e-3, 0.5e-3
# Score at which the lids of most people are closed, and within which a person's own peak is believed to be that.
_CLOSED_SCORE, _CLOSED_RANGE = 0.6, (0.45, 0.8)
_PIECE = 1024  # frames looked at together
OPEN_EYES = 0.4  # blink score below which the eyes are open enough to fit the person to


@dataclass(frozen=True)
class RestingFace:
    """A person as they are when nothing moves.

    head: mesh and joints; shape: its landmarks (K = 0), the detector's habits included; log_focal: of pixels; scores
    [52]: the detector's at rest; closed [2]: its blink scores where the eyes are closed; gaze [2, 2], rotation [3, 3]
    (head to camera) and centre [3] (of the landmarks, camera's frame, metres): where they look and are held at rest.
    """

    head: PersonalHead
    shape: Shape
    log_focal: float
    scores: Float64
    closed: Float64
    gaze: Float64
    rotation: Float64
    centre: Float64


def fit_person(
    model: HeadModel, seen: NDArray[np.float32], scores: Float64, rest: NDArray[np.int64] | None = None
) -> RestingFace:
    """The resting face of a video whose S frames with a face show landmarks `seen` [S, 478, 3] (pixels from the
    picture's middle, and relative depth) and give `scores` [S, 52].

    rest: frames that show it, if the caller knows; they are looked for otherwise.
    """
    shape, normals, spread = landmark_shape(model), *_noise_model(model)
    facing = _facing_of_all(shape, seen)
    rest = resting_frames(facing, scores) if rest is None else rest
    chosen = _spread(facing, scores, rest)
    various, calm = (seen[rows, :SURFACE_LANDMARKS].astype(np.float64) for rows in (chosen, rest))
    believed = beliefs(scores[chosen])
    poses = first_poses(shape, various, believed.expression_mean, 0.0)
    poses = replace(poses, log_focal=_DISTANCE[0] + float(np.median(poses.log_scale)))
    for _ in range(3):  # each round sees from the pose of the last one which landmarks face the camera
        precision = landmark_sigma(spread, facings(normals, poses)) ** -2.0
        poses = solve_shared(shape, various, precision, believed, poses, 4)

    # Against the average identity: the set of the features at rest …
    own = np.tensordot(poses.identity, shape.identity_basis, axes=1)
    shape = Shape(shape.base + own, shape.identity_basis[:0], shape.expression_basis)
    resting = first_poses(shape, calm, np.zeros((len(rest), 52)), poses.log_focal)
    precision = landmark_sigma(spread, facings(normals, resting)) ** -2.0
    resting = solve_frames(shape, calm, precision, beliefs(scores[rest]), resting, 5)
    expression = np.median(resting.expression, axis=0)
    shape = replace(shape, base=shape.base + np.tensordot(expression, shape.expression_basis, axes=1))
    still = replace(beliefs(np.zeros((len(rest), 52))), expression_sigma=np.zeros(52))
    resting = solve_frames(shape, calm, precision, still, resting, 3)
    # … a smooth offset of the mesh …
    identity = torch.from_numpy(poses.identity).float()
    moved = shut_at_one(model, model.mean)
    lasting = torch.tensordot(torch.from_numpy(expression).float(), moved, dims=1)
    neutral, joints = model.neutral(identity) + lasting, model.joints(identity)
    residual = free_form_offset(model, neutral, joints, _measured(shape, resting, calm, spread, normals))
    shape = replace(shape, base=shape.base + model.landmarks(residual)[:SURFACE_LANDMARKS].double().numpy())
    # … and what the detector does with single points of this face.
    for _ in range(2):
        resting = solve_frames(shape, calm, precision, still, resting, 2)
        shape = replace(shape, base=shape.base + _point_offsets(shape, resting, calm))

    head = PersonalHead.at_rest(model, neutral + residual, moved_joints(model, joints, residual))
    gaze = fit_gazes(
        resting, *eye_geometry(model, head.neutral, head.joints), seen[rest][:, IRIS_LANDMARKS, :2].astype(np.float64)
    )
    return RestingFace(
        head=head,
        shape=shape,
        log_focal=poses.log_focal,
        scores=np.median(scores[rest], axis=0),
        closed=_closed_scores(scores),
        gaze=np.median(gaze, axis=0),
        rotation=Rotation.from_matrix(resting.rotation).mean().as_matrix(),
        centre=np.median(resting.centre, axis=0),
    )


def resting_frames(facing: Float64, scores: Float64) -> NDArray[np.int64]:
    """The frames in which the head is held as usual and the scores [S, 52] are nearest to the person's own low.

    facing [S, 3]: the camera's axis in the head's frame. The eyes may look anywhere.
    """
    off = np.linalg.norm(facing - np.median(facing, axis=0), axis=1)
    usual = off <= max(np.median(off), _USUAL_POSE)
    expressive = scores[:, [index for index in range(len(EXPRESSION_NAMES)) if index not in LOOKS]]
    above = np.maximum(expressive - np.quantile(expressive, _REST_QUANTILE, axis=0), 0.0).sum(1)
    count = int(np.clip(_REST_SHARE * len(scores), _REST_FEWEST, _REST_MOST))
    return np.sort(np.argsort(np.where(usual, above, np.inf), kind="stable")[: min(count, int(usual.sum()))])


def _facing_of_all(shape: Shape, seen: NDArray[np.float32]) -> Float64:
    """Where the head points [S, 3] in every frame: the camera's axis in the head's frame. In pieces: a long video's
    landmarks are large."""
    parts = []
    for first in range(0, len(seen), _PIECE):
        piece = seen[first : first + _PIECE, :SURFACE_LANDMARKS].astype(np.float64)
        parts.append(first_poses(shape, piece, np.zeros((len(piece), 52)), 0.0).rotation[:, 2])
    return np.concatenate(parts)


def beliefs(scores: Float64) -> Beliefs:
    """What scores [B, 52] let expect."""
    mean, sigma = expression_prior(scores)
    return Beliefs(mean, sigma, 0.0, _DISTANCE)


def _closed_scores(scores: Float64) -> Float64:
    """Blink scores [2] at which this person's eyes are closed: their own peak, where they blink in the video."""
    peaks = np.sort(scores[:, BLINKS], axis=0)[-min(3, len(scores))]
    low, high = _CLOSED_RANGE
    return np.where(peaks < low, _CLOSED_SCORE, np.minimum(peaks, high))


def _spread(facing: Float64, scores: Float64, rest: NDArray[np.int64]) -> NDArray[np.int64]:
    """Frames that show the head from sides as different as the video has, one of the resting ones first; `facing` as above."""
    yaw = np.arctan2(facing[:, 0], -facing[:, 2])
    good = (np.abs(yaw) < _PERSON_YAW) & (scores[:, BLINKS].max(1) < OPEN_EYES)
    good[rest] = True
    candidates = np.flatnonzero(good)
    chosen = [int(rest[len(rest) // 2])]
    distance = np.full(len(candidates), np.inf)
    while len(chosen) < min(_PERSON_FRAMES, len(candidates)):
        distance = np.minimum(distance, np.linalg.norm(facing[candidates] - facing[chosen[-1]], axis=1))
        chosen.append(int(candidates[distance.argmax()]))
    return np.array(chosen)


def facings(normals: Float64, poses: Poses) -> Float64:
    """Cosines [B, M] between the landmarks' normals [M, 3] and the way to the camera, as `tracking.priors.facing`."""
    sideways = poses.offset / (poses.scale * poses.distance)[:, None]
    away = poses.rotation[:, 2] + np.einsum("bi,bij->bj", sideways, poses.rotation[:, :2])
    return np.asarray(-(away @ normals.T) / np.linalg.norm(away, axis=1, keepdims=True))


def _noise_model(model: HeadModel) -> tuple[Float64, Float64]:
    """Normals [M, 3] and spread [M] of the surface landmarks."""
    spread = model.landmark_spread.double().numpy()
    return landmark_normals(model)[:SURFACE_LANDMARKS], spread[:SURFACE_LANDMARKS]


def _measured(shape: Shape, resting: Poses, surface: Float64, spread: Float64, normals: Float64) -> Measurement:
    """What the landmarks still say on average over the resting frames, as seen in the most usual one of them."""
    off = np.abs(resting.rotation - np.median(resting.rotation, axis=0)).sum((1, 2))
    usual = resting[np.array([off.argmin()])]
    misfit = (surface - resting.project(shape.base)).mean(0)[:, :2]
    sigma = landmark_sigma(spread, facings(normals, usual))[0] * usual.scale[0]
    noise = np.square(sigma)[:, None, None] * np.eye(2)
    return Measurement(shape.base, misfit, usual.by_point(shape.base)[0, :, :2], noise)


def _point_offsets(shape: Shape, resting: Poses, surface: Float64) -> Float64:
    """Offsets [M, 3] (metres, head's frame) of single landmarks by what they miss in all resting frames."""
    jacobian = resting.by_point(shape.base) / resting.scale[:, None, None, None]
    misfit = surface - resting.project(shape.base)
    misfit[..., 2] -= misfit[..., 2].mean(1, keepdims=True)
    gram = np.einsum("bmip,bmiq->mpq", jacobian, jacobian) / len(surface)
    pull = np.einsum("bmip,bmi->mp", jacobian, misfit / resting.scale[:, None, None]) / len(surface)
    ridge = (_POINT_NOISE / _POINT_OFFSET) ** 2 * np.eye(3)
    return np.asarray(np.linalg.solve(gram + ridge, pull[..., None])[..., 0])
