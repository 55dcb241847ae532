"""Meshes of the pack that follow a head: hair, brows, lashes, clothes and hats, as they are stored and as one person
wears them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from avatarcli.studio.scene import BoundMesh, Material


@dataclass(frozen=True)
class Refinement:
    """A sparse matrix [m, n] with few columns a row, for one step of subdivision: index, weight [m, k], padded with
    zero weights.
    """

    index: Tensor
    weight: Tensor

    def __call__(self, values: Tensor) -> Tensor:
        """Values [m, C] of the fine vertices from values [n, C] of the coarse ones."""
        return (values[self.index] * self.weight[..., None]).sum(-2)

    @property
    def strongest(self) -> Tensor:
        """The coarse vertex [m] that each fine one follows most."""
        return self.index.gather(-1, self.weight.argmax(-1, keepdim=True))[:, 0]

    def to(self, device: torch.device | str) -> Refinement:
        return Refinement(self.index.to(device), self.weight.to(device))

    @classmethod
    def read(cls, data: Mapping[str, NDArray[Any]]) -> Refinement:
        """From the compressed rows `sub_ptr`, `sub_col`, `sub_val` of a file."""
        pointers = data["sub_ptr"].astype(np.int64)
        counts = np.diff(pointers)
        place = (np.repeat(np.arange(len(counts)), counts), np.arange(pointers[-1]) - np.repeat(pointers[:-1], counts))
        index = np.zeros((len(counts), counts.max()), np.int64)
        weight = np.zeros(index.shape, np.float32)
        index[place], weight[place] = data["sub_col"], data["sub_val"]
        return cls(torch.from_numpy(index), torch.from_numpy(weight))


@dataclass(frozen=True)
class Wearable:
    """A stored mesh, before anybody wears it. n coarse vertices, m drawn ones (equal where there is no subdivision).

    coarse_index, coarse_weight, coarse_offset [n, 3]: the stored binding; scale_rows [3, 2], scale_reference [3]: rows
    of the head whose distance along each axis, over the reference, stretches the offsets; subdivision [m, n], or None;
    bind_index, bind_weight [m, 3]: the binding of the drawn vertices; skinning [m, 5]; faces [f, 3]; uv [f, 3, 2];
    hidden_quads [q] bool: quads of the skin that it covers; texture uint8 [H, W, 4].
    """

    coarse_index: Tensor
    coarse_weight: Tensor
    coarse_offset: Tensor
    scale_rows: Tensor
    scale_reference: Tensor
    subdivision: Refinement | None
    bind_index: Tensor
    bind_weight: Tensor
    skinning: Tensor
    faces: Tensor
    uv: Tensor
    hidden_quads: Tensor
    texture: Tensor

    def worn(
        self, neutral: Tensor, material: Material, *, texture: Tensor | None = None, depth_bias: float = 0.0
    ) -> BoundMesh:
        """As a person with the head `neutral` [N, 3] wears it, in its own or another texture."""
        ends = neutral[self.scale_rows, torch.arange(3, device=neutral.device)[:, None]]
        stretch = (ends[:, 0] - ends[:, 1]).abs() / self.scale_reference
        rest = _bound(neutral, self.coarse_index, self.coarse_weight) + self.coarse_offset * stretch
        if self.subdivision is not None:
            rest = self.subdivision(rest)
        return BoundMesh(
            material=material,
            bind_index=self.bind_index,
            bind_weight=self.bind_weight,
            offset=rest - _bound(neutral, self.bind_index, self.bind_weight),
            skinning=self.skinning,
            faces=self.faces,
            uv=self.uv,
            texture=self.texture if texture is None else texture,
            depth_bias=depth_bias,
        )

    def to(self, device: torch.device | str) -> Wearable:
        moved: dict[str, Any] = {
            key: value.to(device) for key, value in vars(self).items() if isinstance(value, Tensor | Refinement)
        }
        return replace(self, **moved)


def read_wearable(data: Mapping[str, NDArray[Any]], texture: Tensor, head_rows: int) -> Wearable:
    """A mesh of the pack from its arrays.

    Raises KeyError for a missing array and ValueError for one that does not fit.
    """
    index, weight = data["bind_idx"].astype(np.int64), data["bind_w"].astype(np.float32)
    if index.ndim != 2 or index.min() < 0 or index.max() >= head_rows:
        raise ValueError("bind_idx points outside the head")
    skinning = functional.normalize(torch.from_numpy(data["lbs_weights"].astype(np.float32)), p=1, dim=-1)
    faces, chart, chart_faces = data["faces"], data["uv"], data["uv_faces"]
    subdivision, drawn_index, drawn_weight = None, index, weight
    if "sub_ptr" in data:
        faces, chart, chart_faces = data["sub_faces"], data["sub_uv"], data["sub_uvfaces"]
        subdivision = Refinement.read(data)
        skinning = subdivision(skinning)
        drawn_index, drawn_weight = _three_strongest(data, index, weight, head_rows)
    hidden = data["hide_quads"] if "hide_quads" in data else np.zeros(0, bool)
    return Wearable(
        coarse_index=torch.from_numpy(index),
        coarse_weight=torch.from_numpy(weight),
        coarse_offset=torch.from_numpy(data["bind_off"].astype(np.float32)),
        scale_rows=torch.from_numpy(data["scale_idx"].astype(np.int64)),
        scale_reference=torch.from_numpy(data["scale_ref"].astype(np.float32)),
        subdivision=subdivision,
        bind_index=torch.from_numpy(drawn_index),
        bind_weight=torch.from_numpy(drawn_weight),
        skinning=skinning,
        faces=torch.from_numpy(faces.astype(np.int64)),
        uv=torch.from_numpy(chart.astype(np.float32))[torch.from_numpy(chart_faces.astype(np.int64))],
        hidden_quads=torch.from_numpy(hidden.astype(bool)),
        texture=texture,
    )


def _bound(head: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    return (head[index] * weight[..., None]).sum(-2)


def _three_strongest(
    data: Mapping[str, NDArray[Any]], index: NDArray[np.int64], weight: NDArray[np.float32], head_rows: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Binding [m, 3] of subdivided vertices: of all head vertices that one depends on, the three that weigh most.

    What the others would add is in the offset at rest; only under an expression does it go missing, and what wears a
    subdivision (clothes, hats, hair) hardly moves with those.
    """
    from scipy.sparse import csr_matrix

    coarse = csr_matrix(
        (weight.ravel(), (np.repeat(np.arange(len(index)), index.shape[1]), index.ravel())), (len(index), head_rows)
    )
    step = csr_matrix((data["sub_val"], data["sub_col"], data["sub_ptr"]), (len(data["sub_ptr"]) - 1, len(index)))
    fine = (step @ coarse).tocsr()
    fine.sum_duplicates()
    counts = np.diff(fine.indptr)
    row = np.repeat(np.arange(len(counts)), counts)
    order = np.lexsort((fine.indices, -fine.data, row))
    rank = np.arange(len(row)) - np.repeat(fine.indptr[:-1], counts)
    kept = order[rank < 3]
    top_index, top_weight = np.zeros((len(counts), 3), np.int64), np.zeros((len(counts), 3), np.float32)
    top_index[row[kept], rank[rank < 3]] = fine.indices[kept]
    top_weight[row[kept], rank[rank < 3]] = fine.data[kept].clip(min=0)
    top_weight /= top_weight.sum(1, keepdims=True).clip(min=1e-9)
    return top_index, top_weight
