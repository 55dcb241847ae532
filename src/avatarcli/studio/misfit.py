"""The head that the tracker would have fitted to a person whose true head is known: bald, smooth, and slightly wrong.

Training sees this head's maps, never the true ones, so that the model learns to repair what the tracker gets wrong.

A photo tells neither how large a head is nor where its middle lies, so the fitted world is the true one up to a turn, a shift and
a scale. Errors are told after the two heads have been laid on each other: what is left is shape, camera, expression and gaze. The
cameras of the training's views then stand where they truly are, as they do around a fitted head in use.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from avatarcli.geometry.cameras import Camera, intrinsics
from avatarcli.geometry.rotations import axis_angle_to_matrix, matrix_to_quaternion, rigid
from avatarcli.head.model import NECK_SHARE, PARTS, HeadModel, PersonalHead
from avatarcli.head.parameters import HeadParameters
from avatarcli.head.photo_fit import PhotoFit
from avatarcli.studio.tracker_error import SHAPE_SIZE, ErrorStatistics, TrackerError, covariates

# What the two heads are laid on each other by; neck and shoulders follow clothes and pose.
_RIGID_REGIONS = ("face", "nose", "lip", "eyelid", "ear", "scalp")
# Metres: what the projection of an error of the shape may leave. Without it, a few stray vertices would be paid for with
# components of several standard deviations.
_SHAPE_NOISE = 2e-3
# Metres: what the linear model misses of a head (0.8 mm on average) beside which a component's standard deviation is believed.
_IDENTITY_NOISE = 1e-3
# Share of the tracker's error that a driving clip has. Plans are exact; motion tracked in a video is a little wrong, and
# where it is, the picture must follow the maps. More would teach the model to doubt them.
CLIP_SHARE = 0.25
_CLIP_SMOOTHNESS = 6.0  # frames, a fifth of a second: landmarks err in the same way while a face keeps its pose


class PackRows(Protocol):
    """Which rows of the pack's vertices belong to a part (StudioAssets' head)."""

    def rows(self, part: str) -> slice: ...


@dataclass(frozen=True)
class TrueHead:
    """A person in a photo as they truly are, on the shipped model's vertices.

    neutral [N, 3]: metres, at rest; camera: a single one, for a head whose skull is in the model's frame; parameters: one
    frame with a resting neck.
    """

    neutral: Tensor
    camera: Camera
    parameters: HeadParameters

    @classmethod
    def of(
        cls, model: HeadModel, neutral: Tensor, joints: Tensor, camera: Camera, parameters: HeadParameters
    ) -> TrueHead:
        """From a photo of a person with any neck and pose.

        The tracker knows no neck: it takes the skull for the head's frame, so the skull's pose goes into the camera. joints
        [J, 3]: the person's, named as the model's.
        """
        world_from_head = parameters.head_pose[0] @ skull_pose(model, joints, parameters.neck)[0]
        moved = Camera(camera.world_to_camera @ world_from_head, camera.K, camera.width, camera.height)
        rest = HeadParameters.at_rest()
        frame = HeadParameters(parameters.expression, parameters.gaze, rest.neck, rest.head_pose)
        return cls(neutral, moved, frame)

    def shape(self, model: HeadModel) -> Tensor:
        """The head's components [SHAPE_SIZE], as errors of the shape are told."""
        return shape_components(model, self.neutral - model.mean)

    def circumstances(self, model: HeadModel) -> Tensor:
        """What the tracker's errors depend on [COVARIATES]."""
        eye = self.camera.centre - pivot(model)
        distance = eye.norm()
        yaw, pitch = torch.atan2(eye[0], eye[2]), torch.asin((eye[1] / distance).clamp(-1, 1))
        return covariates(distance, yaw, pitch)


@dataclass(frozen=True)
class Misfit:
    """What the tracker would hand on: the head, with its identity [K] and residual [N, 3], and the photo's camera and single
    frame of parameters."""

    head: PersonalHead
    identity: Tensor
    residual: Tensor
    camera: Camera
    parameters: HeadParameters


def on_shipped_model(head: PackRows, vertices: Tensor) -> Tensor:
    """The pack's vertices [..., 11671, 3] as the shipped model's [..., N, 3], which leaves out corneas and anchors."""
    return torch.cat([vertices[..., head.rows(part), :] for part in PARTS], dim=-2)


def pivot(model: HeadModel) -> Tensor:
    """The point [3] about which a camera's errors are told: the middle of the average face."""
    return model.landmarks(model.mean).mean(0)


def skull_pose(model: HeadModel, joints: Tensor, neck: Tensor) -> Tensor:
    """Where necks [T, 3] carry the skull of a person with `joints` [J, 3]: rigid transforms [T, 4, 4]."""
    pose = torch.eye(4).expand(len(neck), 4, 4)
    for name in ("neck01", "neck02", "neck03", "head"):
        rotation = axis_angle_to_matrix(neck * NECK_SHARE.get(name, 0.0))
        joint = joints[model.joint_names.index(name)]
        pose = pose @ rigid(rotation, joint - rotation @ joint)
    return pose


def fit_truth(model: HeadModel, truth: TrueHead, error: TrackerError, statistics: ErrorStatistics) -> Misfit:
    """The fit that has the given error (without a batch)."""
    shape = truth.shape(model)
    change = statistics.found_shape(shape, error.shape) - shape
    neutral = truth.neutral + torch.tensordot(change, model.identity_basis[:SHAPE_SIZE], dims=1)
    identity = _identity(model, neutral)
    residual = neutral - model.neutral(identity)
    rest = HeadParameters.at_rest()
    expression = statistics.found_expression(truth.parameters.expression, error.expression)
    return Misfit(
        # The studio's people blink as the model does, whoever they are.
        head=PersonalHead(model, neutral, model.joints(identity), model.expression_basis),
        identity=identity,
        residual=residual,
        camera=move_camera(truth.camera, pivot(model), error),
        parameters=HeadParameters(expression, truth.parameters.gaze + error.gaze, rest.neck, rest.head_pose),
    )


def disturb_clip(
    model: HeadModel, statistics: ErrorStatistics, parameters: HeadParameters, generator: torch.Generator
) -> HeadParameters:
    """F frames of true parameters as a driving clip would have them, with small errors that change smoothly."""
    error = statistics.draw_clip(generator, len(parameters), _CLIP_SMOOTHNESS).scaled(CLIP_SHARE)
    rotation = axis_angle_to_matrix(error.rotation)
    centre = pivot(model)
    shift = torch.cat([error.offset, torch.zeros_like(error.offset[:, :1])], dim=-1)
    wobble = rigid(rotation, centre - rotation @ centre + shift)
    expression = (parameters.expression + error.expression).clamp(0, 1)
    return HeadParameters(expression, parameters.gaze + error.gaze, parameters.neck, parameters.head_pose @ wobble)


def move_camera(camera: Camera, centre: Tensor, error: TrackerError) -> Camera:
    """A single camera with the error's turn, shift, scale and distance about the point `centre` [3].

    Like the tracker's, its principal point is in the picture's middle, wherever the true one is.
    """
    rotation, translation, focal = _pose(camera)
    seen = rotation @ centre + translation
    depth = seen[2] * error.log_distance.exp()
    found = focal * (error.log_scale + error.log_distance).exp()
    K = intrinsics(found, camera.width, camera.height)
    # The pivot lands where it truly does, but for the offset.
    pixel = camera.K[:2, 2] + focal / seen[2] * (seen[:2] + error.offset)
    moved = torch.cat([(pixel - K[:2, 2]) / found * depth, depth[None]])
    turned = axis_angle_to_matrix(error.rotation) @ rotation
    return Camera(rigid(turned, moved - turned @ centre), K, camera.width, camera.height)


def measure_error(model: HeadModel, truth: TrueHead, track: PhotoFit) -> TrackerError:
    """The error of a fit. Its expression is the plain difference to the truth."""
    fitted = model.neutral(track.identity) + track.residual
    rows = model.in_regions(*_RIGID_REGIONS).nonzero()[:, 0]
    scale, turn, shift = similarity(truth.neutral[rows], fitted[rows])
    # The fitted camera before the true head: points go to the fitted world first, and what scales them is taken out again.
    w2c = track.camera.world_to_camera
    rotation = w2c[:3, :3] @ turn
    translation = (w2c[:3, :3] @ shift + w2c[:3, 3]) / scale
    camera = Camera(rigid(rotation, translation), track.camera.K, track.camera.width, track.camera.height)
    laid = (fitted - shift) @ turn / scale
    return TrackerError(
        **_camera_error(truth.camera, camera, pivot(model)),
        expression=track.expression - truth.parameters.expression[0],
        gaze=track.gaze - truth.parameters.gaze[0],
        shape=shape_components(model, laid - truth.neutral),
    )


def shape_components(model: HeadModel, difference: Tensor) -> Tensor:
    """A change [N, 3] of the skin in the first components of the identity basis [SHAPE_SIZE]."""
    basis, factor = _shape_solver(model)
    return torch.cholesky_solve((basis @ difference[model.part("skin")].reshape(-1))[:, None], factor)[:, 0]


def similarity(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The scale, rotation [3, 3] and shift [3] that lay points [P, 3] on others best: scale · R x + shift (Umeyama 1991)."""
    a, b = source.double(), target.double()
    mean_a, mean_b = a.mean(0), b.mean(0)
    u, strength, vt = torch.linalg.svd((b - mean_b).T @ (a - mean_a))
    sign = torch.ones(3, dtype=a.dtype)
    sign[2] = torch.sign(torch.det(u) * torch.det(vt))
    rotation = u @ torch.diag(sign) @ vt
    scale = (strength * sign).sum() / (a - mean_a).square().sum()
    return scale.to(source), rotation.to(source), (mean_b - scale * rotation @ mean_a).to(source)


def _camera_error(true: Camera, found: Camera, centre: Tensor) -> dict[str, Tensor]:
    """The inverse of `move_camera`."""
    (r0, t0, f0), (r1, t1, f1) = _pose(true), _pose(found)
    a, b = r0 @ centre + t0, r1 @ centre + t1
    quaternion = matrix_to_quaternion(r1 @ r0.T)
    sine = quaternion[1:].norm()
    angle = 2 * torch.atan2(sine, quaternion[0])
    pixels = found.K[:2, 2] - true.K[:2, 2] + f1 * b[:2] / b[2] - f0 * a[:2] / a[2]
    return {
        "rotation": quaternion[1:] * (angle / sine.clamp(min=1e-12)),
        "offset": pixels * a[2] / f0,
        "log_scale": (f1 / b[2]).log() - (f0 / a[2]).log(),
        "log_distance": (b[2] / a[2]).log(),
    }


def _pose(camera: Camera) -> tuple[Tensor, Tensor, Tensor]:
    """Rotation [3, 3], translation [3] and focal length (pixels)."""
    return camera.world_to_camera[:3, :3], camera.world_to_camera[:3, 3], camera.K[0, 0]


def _identity(model: HeadModel, neutral: Tensor) -> Tensor:
    """The most probable identity [K] of a head [N, 3]."""
    basis, factor = _identity_solver(model)
    return torch.cholesky_solve((basis @ (neutral - model.mean).reshape(-1))[:, None], factor)[:, 0]


@lru_cache(maxsize=2)
def _identity_solver(model: HeadModel) -> tuple[Tensor, Tensor]:
    return _solver(model.identity_basis, _IDENTITY_NOISE)


@lru_cache(maxsize=2)
def _shape_solver(model: HeadModel) -> tuple[Tensor, Tensor]:
    return _solver(model.identity_basis[:SHAPE_SIZE, model.part("skin")], _SHAPE_NOISE)


def _solver(basis: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    """The basis [K, 3 N] and the factor of its normal matrix, for components with a standard normal belief."""
    flat = basis.flatten(1)
    return flat, torch.linalg.cholesky(flat @ flat.T + noise**2 * torch.eye(len(flat)))
