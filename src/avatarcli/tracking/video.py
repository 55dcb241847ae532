"""The tracker for video: what one face does over time, told as difference to its own resting face.

Every frame's pose and expression are fitted on their own, from landmarks and scores, both against the resting face
(`resting_face`); gaze comes from the irises, blinks from the scores and the gap between the lids (`lids`), wide eyes
from that gap, the tongue from its score alone. Then the motion is smoothed, blinks excepted, and gaps are filled in between
their ends. Deterministic, CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from avatarcli.arrays import Float64, Mask
from avatarcli.clips.clip import Clip
from avatarcli.geometry.cameras import Camera, intrinsics
from avatarcli.geometry.rotations import rigid
from avatarcli.head.expressions import BLINKS, EXPRESSION_INDEX
from avatarcli.head.face_points import SURFACE_LANDMARKS
from avatarcli.head.model import HeadModel, PersonalHead
from avatarcli.tracking.frames import Poses, first_poses, solve_frames
from avatarcli.tracking.gaze import IRIS_LANDMARKS, eye_geometry
from avatarcli.tracking.lids import WIDES, lid_actions, lid_gaps, seen_from_front
from avatarcli.tracking.priors import landmark_normals, landmark_sigma
from avatarcli.tracking.resting_face import LOOKS, OPEN_EYES, RestingFace, beliefs, facings, fit_person
from avatarcli.tracking.smoothing import fill_gaps, smooth
from avatarcli.tracking.video_gaze import fit_gazes, look_expressions

# Actions of which MediaPipe's scores and landmarks show next to nothing (a full sneer moves the points of the nose's wings by
# 0.3 mm, a smile by 1.4 mm): they stay 0, which is better than a guess.
UNTRACKED = ("cheekPuff", "noseSneerLeft", "noseSneerRight")
_TONGUE = EXPRESSION_INDEX["tongueOut"]
# Neighbouring landmarks err alike, so that each counts for less than its own scatter says: this much wider noise.
_ALIKE = 12.0
_SPARSITY = 2.0  # cost of a coefficient of 1: as much as a deviation of 2 standard deviations
_LEAST_RANGE = 0.2  # of a score above its value at rest, so that a high value at rest does not make noise a motion
_LIDS_LEFT = 0.05  # of the weight of lid landmarks when the scores say that the eye is closed
_CHUNK = 64  # frames solved at once: their Jacobians take 30 MB
_HIDDEN_EYE = 0.5  # closure beyond which the iris is behind the lid

# Cutoffs (Hertz) at rest and how they open with speed, see `smoothing.smooth`.
_SMOOTH_EXPRESSION = {"cutoff": 2.0, "opening": 2.0}
_SMOOTH_ROTATION = {"cutoff": 1.0, "opening": 15.0}
_SMOOTH_CENTRE = {"cutoff": 1.0, "opening": 100.0}
_SMOOTH_GAZE = {"cutoff": 1.5, "opening": 8.0}


@dataclass(frozen=True)
class VideoTrack:
    """What was found in a video of T frames.

    clip: the motion against the resting face; head: the person at rest; cameras: [T], their world is the head's frame
    and moves with the skull; gaze [T, 2, 2]: as filmed, where the clip has it against the gaze at rest.
    """

    clip: Clip
    head: PersonalHead
    cameras: Camera
    gaze: Float64

    def vertices(self, frame: int) -> torch.Tensor:
        """The person's mesh [N, 3] in one frame, before its camera."""
        expression = torch.from_numpy(self.clip.expression[frame : frame + 1])
        gaze = torch.from_numpy(self.gaze[frame : frame + 1]).float()
        return self.head.vertices(expression, gaze, torch.zeros(1, 3))[0]


def fit_video(
    model: HeadModel,
    points: NDArray[np.float32],
    scores: NDArray[np.float32],
    seen: Mask,
    size: tuple[int, int],
    fps: float,
    *,
    rest: Mask | None = None,
    advance: Callable[[int], None] = lambda frames: None,
) -> VideoTrack:
    """Fit the head model to T frames of `size` (width, height) at `fps` frames per second.

    points [T, 478, 3]: MediaPipe's, pixels and relative depth; scores [T, 52]: its ARKit guesses, and that of
    `capture.tongue` for tongueOut; seen [T]: which frames show the face (the others' values are not read); rest [T]: frames
    known to show the resting face; `advance` hears of fitted frames.

    Raises:
        ValueError: shapes do not match, or no frame shows the face.
    """
    if points.shape != (len(seen), 478, 3) or scores.shape != (len(seen), 52) or not seen.any():
        raise ValueError(
            f"want points [T, 478, 3], scores [T, 52] and seen [T] with a face in it, got {list(points.shape)}, "
            f"{list(scores.shape)} and {int(seen.sum())} of {len(seen)} seen"
        )
    middle = np.array([size[0] / 2, size[1] / 2, 0.0])
    shown, known = points[seen] - middle.astype(points.dtype), scores[seen].astype(np.float64)
    calm = None if rest is None else np.flatnonzero(rest[seen])
    face = fit_person(model, shown, known, calm)
    poses, gaze = fit_frames(face, shown, known, advance)
    return _joined(face, poses, gaze, seen, size, fps)


def fit_frames(
    face: RestingFace, seen: NDArray[np.float32], scores: Float64, advance: Callable[[int], None]
) -> tuple[Poses, Float64]:
    """Poses and gaze [S, 2, 2] of S frames, each on its own; `seen`, `scores` as for `fit_person`."""
    parts: list[tuple[Poses, Float64]] = []
    gaps: list[tuple[Float64, Float64]] = []
    eyes = eye_geometry(face.head.model, face.head.neutral, face.head.joints)
    normals = landmark_normals(face.head.model)[:SURFACE_LANDMARKS]
    no_spread = np.zeros(SURFACE_LANDMARKS)  # how the detector differs between people is in the resting face already
    lids = np.linalg.norm(face.shape.expression_basis[BLINKS], axis=2)
    lids /= lids.max(1, keepdims=True)
    for first in range(0, len(seen), _CHUNK):
        rows = slice(first, first + _CHUNK)
        shown = seen[rows].astype(np.float64)
        surface, irises = shown[:, :SURFACE_LANDMARKS], shown[:, IRIS_LANDMARKS, :2]
        rise = _above_rest(scores[rows], face)
        believed = replace(beliefs(rise), sparsity=_SPARSITY)
        floor = face.scores[BLINKS]
        closure = ((scores[rows][:, BLINKS] - floor) / np.maximum(face.closed - floor, _LEAST_RANGE)).clip(0.0, 1.0)
        believed.expression_mean[:, BLINKS] = closure
        believed.expression_sigma[BLINKS] = 0.0
        poses = first_poses(face.shape, surface, believed.expression_mean, face.log_focal)
        # Where the lids are, the scores decide: the landmarks close them halfway only.
        trust = (1.0 - closure @ lids).clip(_LIDS_LEFT)
        precision = trust * (_ALIKE * landmark_sigma(no_spread, facings(normals, poses))) ** -2.0
        poses = solve_frames(face.shape, surface, precision, believed, poses, 2)
        gaze = fit_gazes(poses, *eyes, irises)
        believed.expression_mean[:, LOOKS] = look_expressions(gaze - face.gaze)[:, LOOKS]
        poses = solve_frames(face.shape, surface, precision, believed, poses, 2)
        parts.append((poses, fit_gazes(poses, *eyes, irises)))
        gaps.append(lid_gaps(surface, face.shape, poses))
        advance(len(surface))
    poses = replace(
        parts[0][0],
        rotation=np.concatenate([part.rotation for part, _ in parts]),
        offset=np.concatenate([part.offset for part, _ in parts]),
        log_scale=np.concatenate([part.log_scale for part, _ in parts]),
        expression=np.concatenate([part.expression for part, _ in parts]),
    )
    turn = face.rotation.T @ poses.rotation
    observed, expected = (np.concatenate(part) for part in zip(*gaps, strict=True))
    poses.expression[:, BLINKS], poses.expression[:, WIDES] = lid_actions(
        observed,
        expected,
        poses.expression[:, BLINKS],
        usual=scores[:, BLINKS].max(1) < OPEN_EYES,
        turn=turn,
        jaw=poses.expression[:, EXPRESSION_INDEX["jawOpen"]],
    )
    poses.expression[:, _TONGUE] = _above_rest(scores, face)[:, _TONGUE] * seen_from_front(turn)
    poses.expression[:, [EXPRESSION_INDEX[name] for name in UNTRACKED]] = 0.0
    return poses, np.concatenate([gaze for _, gaze in parts])


def _above_rest(scores: Float64, face: RestingFace) -> Float64:
    """Scores [S, 52] as shares of what they can rise above those at rest."""
    return np.asarray(((scores - face.scores) / np.maximum(1.0 - face.scores, _LEAST_RANGE)).clip(0.0, 1.0))


def _joined(
    face: RestingFace, poses: Poses, gaze: Float64, seen: Mask, size: tuple[int, int], fps: float
) -> VideoTrack:
    """The track of all frames from the S ones that were `seen` [T]: gaps filled, smoothed, against the resting face."""
    turn = _filled_turn(Rotation.from_matrix(face.rotation.T @ poses.rotation), seen)
    turn = smooth(turn, fps, **_SMOOTH_ROTATION)
    centre = smooth(fill_gaps(poses.centre, seen), fps, **_SMOOTH_CENTRE)
    raw = fill_gaps(poses.expression, seen)
    expression = smooth(raw, fps, **_SMOOTH_EXPRESSION)
    expression[:, BLINKS] = raw[:, BLINKS]
    # Behind a closed lid the iris is guessed: the eye goes on from where it was to where it will be.
    visible = seen.copy()
    visible[seen] = poses.expression[:, BLINKS].max(1) < _HIDDEN_EYE
    if not visible.any():
        visible = seen
    looks = smooth(fill_gaps(gaze.reshape(-1, 4)[visible[seen]], visible), fps, **_SMOOTH_GAZE).reshape(-1, 2, 2)
    relative = looks - face.gaze
    expression[:, LOOKS] = look_expressions(relative)[:, LOOKS]

    rotation = face.rotation @ Rotation.from_rotvec(turn).as_matrix()
    to_camera = rigid(torch.from_numpy(rotation), torch.from_numpy(centre - rotation @ poses.pivot)).float()
    K = intrinsics(poses.focal, *size).expand(len(seen), 3, 3)
    clip = Clip(
        expression=expression.clip(0.0, 1.0).astype(np.float32),
        head_rotation=turn.astype(np.float32),
        head_translation=_translation(face, poses.pivot, turn, centre),
        gaze=relative.astype(np.float32),
        fps=fps,
    )
    return VideoTrack(clip, face.head, Camera(to_camera, K, *size), looks)


def _filled_turn(turns: Rotation, seen: Mask) -> Float64:
    """Rotation vectors [T, 3] of the skull against its rest: in gaps along the shortest way, held at the ends."""
    rows, known = np.arange(len(seen)), np.flatnonzero(seen)
    if len(known) == 1:
        return np.repeat(turns.as_rotvec(), len(seen), axis=0)
    return np.asarray(Slerp(known, turns)(rows.clip(known[0], known[-1])).as_rotvec())


def _translation(face: RestingFace, pivot: Float64, turn: Float64, centre: Float64) -> NDArray[np.float32]:
    """How the bust moves [T, 3] (metres, the resting head's frame): what the turn of the neck does not explain."""
    moved = (centre - face.centre) @ face.rotation
    skull = torch.tensor([[0.0, 0.0, 0.0, 0.0, 1.0]])
    carried = face.head.carry(torch.from_numpy(pivot).float()[None], skull, torch.from_numpy(turn).float())
    return np.asarray(moved - (carried[:, 0].double().numpy() - pivot), np.float32)
