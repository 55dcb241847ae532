"""Our head laid on FLAME's: an iterative closest point search over size, pose and our identity components.

The start is free of landmarks: both models have their axes alike and know where the eyes turn. Points match by place and by
the direction of the surface, so that an upper lip does not find a lower one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from avatarcli.arrays import Float64
from avatarcli.clips.flame_file import FlameModel
from avatarcli.errors import ClipError
from avatarcli.geometry.mesh import vertex_normals
from avatarcli.head.model import HeadModel

# Skin that expressions move and that both models have. FLAME has no inside of the mouth, and lids end differently.
_REGIONS = ("face", "lip", "nose", "eyelid")
_MOVES = 2e-4  # metres at coefficient 1 of some action; skin that never moves tells nothing
# Metres that opposite normals count as: a surface 30° off is as bad as one a centimetre away.
_NORMAL = 0.02
_ROUNDS = 20
_FARTHEST = (0.03, 0.006)  # metres between points that still pull on each other, in the first and the last round
_NOISE = 0.001  # metres by which matched points may differ without the identity's being unlikely
_INDEPENDENT = 300  # how many independent measurements the points of a face are worth
_SLIDE = 0.1  # weight of a point's distance along the surface; across it is 1
_EYES = 30.0  # weight of each eye's centre, in points
_MATCHED = 0.005  # metres and
_FACING = 0.7  # cosine within which points are taken for the same
_FEWEST = 0.6  # share of our points that must find one, all the way: below it the heads do not lie on each other
# Points all over a triangle, corners included: FLAME's of about 5 mm are sampled at about 1 mm.
_BARYCENTRIC = np.array([(a, b, 4 - a - b) for a in range(5) for b in range(5 - a)]) / 4


@dataclass(frozen=True)
class Match:
    """P points of our mesh and where they are on FLAME's.

    rows [P] of our vertices; corners [P, 3] FLAME vertices and their weights [P, 3]; our frame = scale · rotation · FLAME's.
    error: metres, RMS distance of the matched points.
    """

    rows: NDArray[np.int64]
    corners: NDArray[np.int64]
    weights: Float64
    rotation: Float64
    scale: float
    error: float


def match_surfaces(flame: FlameModel, model: HeadModel) -> Match:
    """Raises ClipError when less than 60 % of our face finds a place on FLAME's."""
    moving = model.expression_basis.norm(dim=-1).amax(0) > _MOVES
    rows = torch.nonzero(model.in_regions(*_REGIONS) & moving)[:, 0]
    corners, weights, points, normals = _samples(flame)
    tree = cKDTree(np.hstack([points, _NORMAL * normals]))
    joints = [model.joint_names.index(name) for name in ("eye_l", "eye_r")]
    identity = torch.zeros(model.identity_size, dtype=torch.float64)
    basis = model.identity_basis.double()
    at_rows = basis[:, rows].numpy().transpose(1, 2, 0)  # [P, 3, K]
    at_eyes = model.joint_basis.double()[:, joints].numpy().transpose(1, 2, 0)
    scale, rotation, shift = _start(flame.eyes, model.joint_mean[joints].double().numpy())
    for round_ in range(_ROUNDS + 1):
        vertices = model.mean.double() + torch.tensordot(identity, basis, dims=1)
        ours = vertices[rows].numpy()
        facing = vertex_normals(vertices, model.faces)[rows].numpy()
        # What is further than this pulls on nothing, and looking for it would take long.
        query = np.hstack([(ours - shift) @ rotation / scale, _NORMAL * facing @ rotation])
        nearest = tree.query(query, distance_upper_bound=_FARTHEST[0] + _NORMAL)[1]
        found = nearest < len(points)
        nearest = np.where(found, nearest, 0)
        there = scale * points[nearest] @ rotation.T + shift
        distance = np.where(found, np.linalg.norm(there - ours, axis=1), np.inf)
        farthest = _FARTHEST[0] * (_FARTHEST[1] / _FARTHEST[0]) ** min(1.0, round_ / (_ROUNDS - 1))
        use = distance < farthest
        if round_ == _ROUNDS or use.mean() < _FEWEST:
            break
        eyes = scale * flame.eyes @ rotation.T + shift
        our_eyes = (model.joint_mean.double() + torch.tensordot(identity, model.joint_basis.double(), dims=1))[
            joints
        ].numpy()
        change, (turn, move, grow) = _step(
            ours[use], facing[use], there[use], at_rows[use], our_eyes, eyes, at_eyes, identity.numpy()
        )
        identity = identity + torch.from_numpy(change)
        rotation, shift, scale = turn @ rotation, grow * turn @ shift + move, grow * scale
    same = (distance < _MATCHED) & ((facing * (normals[nearest] @ rotation.T)).sum(axis=1) > _FACING)
    if same.mean() < _FEWEST:
        raise ClipError(
            f"the FLAME face does not fit ours: only {100 * same.mean():.0f} % of it comes within"
            f" {1000 * _MATCHED:.0f} mm; want FLAME's own template, in metres, with y up and the face along z"
        )
    chosen = nearest[same]
    error = float(np.sqrt((distance[same] ** 2).mean()))
    return Match(rows.numpy()[same], corners[chosen], weights[chosen], rotation, scale, error)


def _samples(flame: FlameModel) -> tuple[NDArray[np.int64], Float64, Float64, Float64]:
    """Corners [S, 3], weights [S, 3], points [S, 3] and normals [S, 3] of points all over FLAME's skin."""
    normals = vertex_normals(torch.from_numpy(flame.vertices), torch.from_numpy(flame.faces)).numpy()
    corners = np.repeat(flame.faces, len(_BARYCENTRIC), axis=0)
    weights = np.tile(_BARYCENTRIC, (len(flame.faces), 1))
    points = (flame.vertices[corners] * weights[..., None]).sum(axis=1)
    smooth = (normals[corners] * weights[..., None]).sum(axis=1)
    return corners, weights, points, smooth / np.linalg.norm(smooth, axis=1, keepdims=True).clip(1e-9)


def _start(theirs: Float64, ours: Float64) -> tuple[float, Float64, Float64]:
    """Scale, rotation and shift that bring their eyes [2, 3] (left, right) to ours, heads upright."""
    scale = float(np.linalg.norm(ours[0] - ours[1]) / np.linalg.norm(theirs[0] - theirs[1]))
    return scale, np.eye(3), ours.mean(axis=0) - scale * theirs.mean(axis=0)


def _step(
    ours: Float64,
    facing: Float64,
    there: Float64,
    basis: Float64,
    our_eyes: Float64,
    eyes: Float64,
    eye_basis: Float64,
    identity: Float64,
) -> tuple[Float64, tuple[Float64, Float64, float]]:
    """One linear step: the change of our identity [K], and the turn [3, 3], move [3] and growth of FLAME's points."""
    count = len(ours)
    pieces = (
        (np.einsum("pi,pik->pk", facing, basis), facing[:, None], there, 1.0),
        (basis, np.eye(3), there, _SLIDE),
        (eye_basis, np.eye(3), eyes, np.sqrt(_EYES)),
    )
    left, right = [], []
    for (design, directions, target, weight), source in zip(pieces, (ours, ours, our_eyes), strict=True):
        directions = np.broadcast_to(directions, (len(target), directions.shape[-2], 3))
        # d · (B β − ω × q − τ − σ q) = d · (q − p)
        rigid = -np.concatenate(
            [np.cross(target[:, None], directions), directions, (directions * target[:, None]).sum(-1, keepdims=True)],
            axis=-1,
        )
        rows = np.concatenate([design.reshape(*directions.shape[:2], -1), rigid], axis=-1)
        left.append(weight * rows.reshape(-1, rows.shape[-1]))
        right.append(weight * (directions * (target - source)[:, None]).sum(-1).reshape(-1))
    # The identity is as likely as its standard deviations say, against measurements of a millimetre.
    prior = np.sqrt(count / _INDEPENDENT) * _NOISE
    shrink = np.zeros((len(identity), left[0].shape[1]))
    shrink[:, : len(identity)] = prior * np.eye(len(identity))
    left.append(shrink)
    right.append(-prior * identity)
    system, wanted = np.vstack(left), np.concatenate(right)
    # The eyes alone leave the turn about their axis open, which matters only when hardly a point is near.
    solved = np.linalg.lstsq(system.T @ system, system.T @ wanted, rcond=None)[0]
    change, (omega, move, growth) = solved[: len(identity)], np.split(solved[len(identity) :], [3, 6])
    return change, (Rotation.from_rotvec(omega).as_matrix(), move, float(1 + growth[0]))
