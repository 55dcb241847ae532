"""The pack's head model: identities, expressions, eyes, teeth and a neck, and the finer mesh that is drawn of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from avatarcli.head.expressions import EXPRESSION_NAMES
from avatarcli.studio.binding import Refinement
from avatarcli.studio.scene import Material

# What is drawn of the head, in this order, and how. The first six are the bare head; the corneas are a clear shell on top.
DRAWN_PARTS: tuple[tuple[str, Material], ...] = (
    ("skin", Material.SKIN),
    ("eye_l", Material.EYE),
    ("eye_r", Material.EYE),
    ("tongue", Material.TONGUE),
    ("teeth_upper", Material.TEETH),
    ("teeth_lower", Material.TEETH),
    ("cornea_l", Material.CORNEA),
    ("cornea_r", Material.CORNEA),
)
_UV_OF = {"tongue": "uv_tongue", "teeth_upper": "uv_teeth", "teeth_lower": "uv_teeth"}  # every other part: uv_eye


@dataclass(frozen=True)
class DrawnHead:
    """The mesh that is drawn of a head: the skin after one Catmull-Clark step, then the other DRAWN_PARTS. M vertices,
    T triangles.

    mean [M, 3]; expression_basis [52, M, 3]; skinning [M, 5]; occlusion_shut, occlusion_open [M]: how much of the sky
    a vertex sees with the mouth shut and wide open; part_range: rows [a, b) of each of DRAWN_PARTS; faces [T, 3]; uv
    [T, 3, 2]; part [T] of DRAWN_PARTS; quad [T]: the coarse quad of the skin that a triangle comes from, −1 off the
    skin; subdivision: from the coarse skin's vertices to the drawn ones; bare_faces: how many of the first
    triangles are the bare head, without the corneas.
    """

    mean: Tensor
    expression_basis: Tensor
    skinning: Tensor
    occlusion_shut: Tensor
    occlusion_open: Tensor
    part_range: tuple[tuple[int, int], ...]
    faces: Tensor
    uv: Tensor
    part: Tensor
    quad: Tensor
    subdivision: Refinement
    bare_faces: int

    def rows(self, name: str) -> slice:
        """Vertices of one of DRAWN_PARTS."""
        index = [part for part, _ in DRAWN_PARTS].index(name)
        return slice(*self.part_range[index])

    def to(self, device: torch.device | str) -> DrawnHead:
        return _moved(self, device)


@dataclass(frozen=True)
class PackHead:
    """The pack's head model. N vertices, K identity components, P sampled people.

    mean [N, 3] metres; identity_basis [K, N, 3] metres per standard deviation; expression_basis [52, N, 3]; parts:
    rows of each part; region [skin rows] index into `region_names`; joint_mean [J, 3], joint_basis [K, J, 3]; skinning
    [N, 5]; skin_faces [F, 3] of the coarse skin; landmark_triangles, landmark_weights [478, 3]: MediaPipe's points;
    landmark_spread [478] metres; mirror [N]; people [P, K] and attributes [P, A]: sampled adults; teeth_variants [D,
    n, 3]: added to the rows of both teeth.
    """

    mean: Tensor
    identity_basis: Tensor
    expression_basis: Tensor
    parts: dict[str, tuple[int, int]]
    region: Tensor
    region_names: tuple[str, ...]
    joint_names: tuple[str, ...]
    joint_mean: Tensor
    joint_basis: Tensor
    skinning: Tensor
    skin_faces: Tensor
    landmark_triangles: Tensor
    landmark_weights: Tensor
    landmark_spread: Tensor
    mirror: Tensor
    people: Tensor
    attributes: Tensor
    attribute_names: tuple[str, ...]
    teeth_variants: Tensor
    drawn: DrawnHead

    def rows(self, part: str) -> slice:
        """Rows of one part among the N vertices."""
        return slice(*self.parts[part])

    def in_regions(self, *names: str) -> Tensor:
        """Which of the skin's vertices (bool) belong to any of the named regions."""
        wanted = torch.tensor([self.region_names.index(name) for name in names], device=self.region.device)
        return torch.isin(self.region, wanted)

    def neutral(self, identity: Tensor, teeth: int = 0) -> Tensor:
        """Vertices [N, 3] of a person [K] at rest; `teeth` 0 is the usual dentition, above it one of the variants."""
        vertices = self.mean + torch.tensordot(identity, self.identity_basis, dims=1)
        if teeth > 0:
            rows = slice(self.parts["teeth_upper"][0], self.parts["teeth_lower"][1])
            vertices[rows] += self.teeth_variants[teeth - 1]
        return vertices

    def joints(self, identity: Tensor) -> Tensor:
        """Joint positions [J, 3] of a person [K]."""
        return self.joint_mean + torch.tensordot(identity, self.joint_basis, dims=1)

    def landmarks(self, vertices: Tensor) -> Tensor:
        """MediaPipe's 478 points [..., 478, 3] on heads [..., N, 3]."""
        corners = vertices[..., self.landmark_triangles, :]
        return (corners * self.landmark_weights[..., None]).sum(-2)

    def drawn_neutral(self, neutral: Tensor) -> Tensor:
        """The drawn mesh [M, 3] of a head [N, 3]."""
        skin = self.drawn.subdivision(neutral[self.rows("skin")])
        return torch.cat([skin, *(neutral[self.rows(name)] for name, _ in DRAWN_PARTS[1:])])

    def to(self, device: torch.device | str) -> PackHead:
        return replace(_moved(self, device), drawn=self.drawn.to(device))


def read_head(data: Mapping[str, NDArray[Any]]) -> PackHead:
    """The model from the arrays of `head_model.npz`.

    Raises KeyError for a missing array and ValueError for one that does not fit.
    """
    parts = {str(n): (int(a), int(b)) for n, (a, b) in zip(data["part_names"], data["part_range"], strict=True)}
    count = parts["anchors"][1]
    mean = _floats(data["v_mean"])
    if mean.shape != (count, 3):
        raise ValueError(f"v_mean has shape {list(mean.shape)}, want {[count, 3]}")
    order = [str(name) for name in data["expr_names"]]
    if sorted(order) != sorted(EXPRESSION_NAMES):
        raise ValueError("expr_names are not ARKit's 52")
    expressions = _floats(data["expr_deltas"])[[order.index(name) for name in EXPRESSION_NAMES]]
    skinning = functional.normalize(_floats(data["lbs_weights"]), p=1, dim=-1)
    return PackHead(
        mean=mean,
        identity_basis=_floats(data["id_basis"]),
        expression_basis=expressions,
        parts=parts,
        region=_ints(data["region"]),
        region_names=tuple(str(name) for name in data["region_names"]),
        joint_names=tuple(str(name) for name in data["joint_names"]),
        joint_mean=_floats(data["joint_mean"]),
        joint_basis=_floats(data["joint_basis"]),
        skinning=skinning,
        skin_faces=_ints(data["faces_skin"]),
        landmark_triangles=_ints(data["mp478_tri"]),
        landmark_weights=_floats(data["mp478_bary"]),
        landmark_spread=_floats(data["mp478_spread_mm"]) / 1000,
        mirror=_ints(data["mirror_index"]),
        people=_floats(data["sample_coef"]),
        attributes=_floats(data["sample_attr"]),
        attribute_names=tuple(str(name) for name in data["attr_names"]),
        teeth_variants=_floats(data["teeth_variants"]),
        drawn=_drawn_head(data, parts, mean, expressions, skinning),
    )


def _drawn_head(
    data: Mapping[str, NDArray[Any]],
    parts: dict[str, tuple[int, int]],
    mean: Tensor,
    expressions: Tensor,
    skinning: Tensor,
) -> DrawnHead:
    skin = slice(*parts["skin"])
    subdivision = Refinement.read(data)

    def refine(values: Tensor) -> Tensor:
        """Values [N, C] of the model's vertices as values [M, C] of the drawn ones."""
        others = [values[slice(*parts[name])] for name, _ in DRAWN_PARTS[1:]]
        return torch.cat([subdivision(values[skin]), *others])

    part_range, faces, uv, part = [], [], [], []
    start = 0
    for index, (name, _) in enumerate(DRAWN_PARTS):
        if name == "skin":
            rows, corners = len(subdivision.index), _ints(data["sub_faces"])
            chart, chart_faces = data["sub_uv"], data["sub_uvfaces"]
        else:
            a, b = parts[name]
            rows, corners = b - a, _ints(data[f"faces_{name}"]) - a
            chart, chart_faces = data[_UV_OF.get(name, "uv_eye")], data[f"uvfaces_{name}"]
        part_range.append((start, start + rows))
        faces.append(corners + start)
        uv.append(_floats(chart)[_ints(chart_faces)])
        part.append(torch.full((len(corners),), index))
        start += rows
    quads, fine = len(data["quads_skin"]), len(faces[0])
    quad = torch.full((sum(len(f) for f in faces),), -1)
    quad[:fine] = torch.arange(quads).repeat_interleave(fine // quads)
    flat = expressions.permute(1, 0, 2).flatten(1)
    shut, opened = (refine(_floats(data[f"ao_{name}"])[:, None])[:, 0] for name in ("neutral", "jawopen"))
    return DrawnHead(
        mean=refine(mean),
        expression_basis=refine(flat).unflatten(1, (-1, 3)).permute(1, 0, 2).contiguous(),
        skinning=refine(skinning),
        occlusion_shut=shut,
        occlusion_open=opened,
        part_range=tuple(part_range),
        faces=torch.cat(faces),
        uv=torch.cat(uv),
        part=torch.cat(part),
        quad=quad,
        subdivision=subdivision,
        bare_faces=sum(len(f) for f in faces[:-2]),
    )


def _floats(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.asarray(array, np.float32))


def _ints(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.asarray(array, np.int64))


def _moved(data: Any, device: torch.device | str) -> Any:
    return replace(
        data, **{key: value.to(device) for key, value in vars(data).items() if isinstance(value, Tensor | Refinement)}
    )
