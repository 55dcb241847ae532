"""Where a fitted head stands among calibrated cameras: landmarks triangulated over the views, frame by frame.

The cameras' world may have any unit and any orientation: the head is laid into it by turning, moving and scaling, as the
studio lays fitted heads on true ones, and then the cameras are told in the head's own frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.capture.landmarks import FaceLandmarks
from avatarcli.errors import PhotoError
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.rotations import invert_rigid, rigid
from avatarcli.head.face_points import SURFACE_LANDMARKS
from avatarcli.head.model import HeadModel, PersonalHead
from avatarcli.head.parameters import HeadParameters
from avatarcli.head.photo_fit import PhotoFit
from avatarcli.studio.misfit import similarity
from avatarcli.tracking.fit import fit_pose_expression
from avatarcli.tracking.priors import landmark_normals

# Cosine between a landmark's normal and the way to a camera below which the camera does not see it.
_HIDDEN = 0.15
_KEPT = 0.8  # share of the triangulated points, the best, that the head is laid on
_FEWEST = 60  # points below which a frame is not triangulated


@dataclass(frozen=True)
class Laid:
    """cameras: V in the frame of the head as it is in the first picture, metres; parameters: F frames; error [F]: median
    distance of triangulated landmarks from the laid head's, metres; NaN where one camera alone saw the face."""

    cameras: Camera
    parameters: HeadParameters
    error: Tensor


@dataclass(frozen=True)
class _Frame:
    """track: of the most frontal view; points [P, 3] in the cameras' world and rows [P] of the landmarks, or none; turn
    [3, 3] and place [3]: world from the track's head, but for the scale of what lies between camera and head."""

    track: PhotoFit
    landmarks: Tensor
    rows: Tensor
    points: Tensor
    turn: Tensor
    eye: Tensor
    away: Tensor


def lay_head(
    model: HeadModel,
    identity: Tensor,
    residual: Tensor,
    cameras: Camera,
    seen: Sequence[Mapping[int, FaceLandmarks]],
) -> Laid:
    """Lay a head with a known identity [K] and residual [N, 3] into the world of V cameras.

    seen: for each of F frames, the faces found, by camera.

    Raises:
        PhotoError: no camera sees the face in some frame.
    """
    head = PersonalHead.create(model, identity, residual)
    frames = [_look(model, head, identity, residual, cameras, faces, number) for number, faces in enumerate(seen)]
    fits = [_on_points(frame) if len(frame.rows) >= _FEWEST else None for frame in frames]
    scales = [float(fit[0]) for fit in fits if fit is not None]
    # Without a second view nothing tells the unit: metres are the best guess.
    scale = float(np.median(scales)) if scales else 1.0
    poses, errors = [], []
    for frame, fit in zip(frames, fits, strict=True):
        if fit is None:
            # The head is where the single view's fit has it, carried by the known camera.
            poses.append(rigid(frame.turn, frame.eye + scale * frame.away))
            errors.append(float("nan"))
            continue
        _, turn, rows = fit
        source, target = frame.landmarks[frame.rows[rows]], frame.points[rows]
        place = target.mean(0) - scale * turn @ source.mean(0)
        poses.append(rigid(turn, place))
        errors.append(float((scale * source @ turn.T + place - target).norm(dim=-1).median()) / scale)
    first, every = poses[0], torch.stack(poses)
    turns = first[:3, :3].T @ every[:, :3, :3]
    moves = (every[:, :3, 3] - first[:3, 3]) @ first[:3, :3] / scale
    rotation = cameras.world_to_camera[:, :3, :3]
    translation = (rotation @ first[:3, 3] + cameras.world_to_camera[:, :3, 3]) / scale
    own = Camera(rigid(rotation @ first[:3, :3], translation), cameras.K, cameras.width, cameras.height)
    rest = HeadParameters.at_rest(len(frames))
    parameters = HeadParameters(
        torch.stack([frame.track.expression for frame in frames]),
        torch.stack([frame.track.gaze for frame in frames]),
        rest.neck,
        rigid(turns, moves),
    )
    return Laid(own, parameters, torch.tensor(errors))


def _look(
    model: HeadModel,
    head: PersonalHead,
    identity: Tensor,
    residual: Tensor,
    cameras: Camera,
    faces: Mapping[int, FaceLandmarks],
    number: int,
) -> _Frame:
    """What one frame's views say."""
    if not faces:
        raise PhotoError(f"no camera sees the face in picture {number + 1}")
    best = min(faces, key=lambda view: abs(faces[view].yaw) + abs(faces[view].pitch))
    track = fit_known_camera(model, identity, residual, cameras[best], faces[best])
    fitted = track.camera.world_to_camera
    to_world = invert_rigid(cameras.world_to_camera[best])
    turn = to_world[:3, :3] @ fitted[:3, :3]
    landmarks = model.landmarks(head.posed(track.parameters())[0])[:SURFACE_LANDMARKS]
    rows, points = _triangulate(model, cameras, faces, turn)
    return _Frame(track, landmarks, rows, points, turn, to_world[:3, 3], to_world[:3, :3] @ fitted[:3, 3])


def fit_known_camera(
    model: HeadModel, identity: Tensor, residual: Tensor, camera: Camera, face: FaceLandmarks
) -> PhotoFit:
    """The tracker's fit of pose and expression to a face in the picture of a single camera whose lens is known.

    The tracker wants square pixels and its principal point in the middle: the landmarks are moved there.
    """
    K = camera.K.numpy()
    middle = np.array([camera.width, camera.height], dtype=np.float32) / 2
    stretch = np.array([1.0, K[0, 0] / K[1, 1]], dtype=np.float32)
    points = (face.points - K[:2, 2]) * stretch + middle
    return fit_pose_expression(
        model, identity, residual, points, face.scores, camera.width, camera.height, focal=float(K[0, 0])
    )


def _triangulate(
    model: HeadModel, cameras: Camera, faces: Mapping[int, FaceLandmarks], turn: Tensor
) -> tuple[Tensor, Tensor]:
    """Landmarks [P] that two cameras see at least, and where their rays come closest [P, 3]. turn [3, 3]: world from head."""
    if len(faces) < 2:
        return torch.zeros(0, dtype=torch.long), torch.zeros(0, 3)
    normals = torch.from_numpy(landmark_normals(model)[:SURFACE_LANDMARKS]).float() @ turn.T
    views = sorted(faces)
    some = cameras[torch.tensor(views)]
    pixels = torch.stack([torch.from_numpy(faces[view].points[:SURFACE_LANDMARKS]).float() for view in views])
    centre = some.centre
    ends = some.unproject(pixels, torch.ones_like(pixels[..., 0]))
    rays = functional.normalize(ends - centre[:, None], dim=-1)
    weight = (-(rays * normals).sum(-1) - _HIDDEN).clamp(min=0)
    known = ((weight > 0).sum(0) >= 2).nonzero()[:, 0]
    # The point with the least weighted square distance to all rays. Far from the origin single precision is not enough.
    rays, weight = rays[:, known].double(), weight[:, known].double()
    origin = centre.double().mean(0)
    across = torch.eye(3, dtype=torch.float64) - rays[..., None] * rays[..., None, :]
    weighted = across * weight[..., None, None]
    system = weighted.sum(0) + 1e-9 * torch.eye(3, dtype=torch.float64)
    right = (weighted @ (centre.double() - origin)[:, None, :, None]).sum(0)
    return known, (torch.linalg.solve(system, right)[..., 0] + origin).float()


def _on_points(frame: _Frame) -> tuple[Tensor, Tensor, Tensor]:
    """Scale, rotation [3, 3] and the points that agree, which the head is laid on."""
    rows = torch.arange(len(frame.rows))
    for _ in range(2):
        source, target = frame.landmarks[frame.rows[rows]], frame.points[rows]
        scale, turn, shift = similarity(source, target)
        distance = (scale * frame.landmarks[frame.rows] @ turn.T + shift - frame.points).norm(dim=-1)
        rows = distance.argsort()[: max(3, round(_KEPT * len(distance)))]
    return scale, turn, rows
