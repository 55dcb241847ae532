"""How Gaussians follow the head: each is bound to one triangle and moves by that triangle's own deformation.

The mesh stands here twice: once as the face moves it, and once more still, following the neck alone. Skin binds to the first;
hair and clothes, which a smile must not drag along, bind to the second.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.geometry.rotations import matrix_to_quaternion, quaternion_multiply, quaternion_to_matrix
from avatarcli.head.model import PersonalHead
from avatarcli.head.parameters import HeadParameters

_CHUNK = 16  # frames posed at once: 16 × 20,000 triangles' matrices take some 30 MB


@dataclass(frozen=True)
class Motion:
    """What one frame does to G Gaussians, from rest to posed: mean ↦ affine · mean + shift, axes turn by `turn`.

    affine [G, 3, 3]: stretch, shear and turn of the carrying triangle; shift [G, 3] metres; turn [G, 4] wxyz.
    """

    affine: Tensor
    shift: Tensor
    turn: Tensor

    def place(self, means: Tensor, quaternions: Tensor, scales: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gaussians at rest (means [G, 3] metres, quaternions [G, 4] wxyz, scales [G, 3] metres) carried to the frame.

        Means move with the triangle's plane, shear included, so a skin of Gaussians stays closed. Axes turn with the triangle and
        stretch as much as it does along each of them.
        """
        posed = (self.affine @ means[..., None])[..., 0] + self.shift
        axes = self.affine @ quaternion_to_matrix(quaternions)
        return posed, quaternion_multiply(self.turn, quaternions), scales * lengths(axes.transpose(-1, -2))


@dataclass(frozen=True)
class Rig:
    """The triangles that carry Gaussians, at rest.

    corners [M, 3]: rows of the doubled mesh (2N vertices); carrier [G]: which of the M triangles each Gaussian is bound to;
    centroid [M, 3], inverse_edges [M, 3, 3], frame [M, 3, 3]: the triangles at rest.
    """

    head: PersonalHead
    corners: Tensor
    carrier: Tensor
    centroid: Tensor
    inverse_edges: Tensor
    frame: Tensor

    @classmethod
    def create(cls, head: PersonalHead, binding: Tensor) -> Rig:
        """Bind Gaussians to triangles [G] of the doubled mesh: f is the moving triangle f, F + f the same one held still."""
        faces = head.model.faces
        used, carrier = torch.unique(binding, return_inverse=True)
        still = used >= len(faces)
        corners = faces[used % len(faces)] + still[:, None] * head.model.vertex_count
        rest = torch.cat([head.neutral, head.neutral])[corners]
        edges, frame = _edges(rest)
        return cls(head, corners, carrier, rest.mean(1), torch.linalg.inv(edges), frame)

    def motion(self, parameters: HeadParameters) -> Motion:
        """What one frame (the first) of head parameters does to the Gaussians."""
        return next(self.motions(parameters[:1]))

    def motions(self, parameters: HeadParameters) -> Iterator[Motion]:
        """The motions of all frames; the mesh is posed for many frames at once, which a GPU likes better."""
        for first in range(0, len(parameters), _CHUNK):
            origin, affine, turn = self._triangles(parameters[first : first + _CHUNK])
            shift = origin - (affine @ self.centroid[..., None])[..., 0]
            for frame in range(len(origin)):
                yield Motion(affine[frame][self.carrier], shift[frame][self.carrier], turn[frame][self.carrier])

    def _triangles(self, parameters: HeadParameters) -> tuple[Tensor, Tensor, Tensor]:
        """Centroids [T, M, 3], affine maps [T, M, 3, 3] and turns [T, M, 4] of the carrying triangles."""
        moving = self.head.posed(parameters)
        still = self.head.carry(self.head.neutral, self.head.model.cover_skinning, parameters.neck)
        corners = parameters.placed(torch.cat([moving, still], dim=1))[:, self.corners]
        edges, frame = _edges(corners)
        turn = matrix_to_quaternion(frame @ self.frame.transpose(-1, -2))
        return corners.mean(-2), edges @ self.inverse_edges, turn


def on_triangles(triangles: Tensor, binding: Tensor) -> Tensor:
    """Which Gaussians [G] (bool) move with the face on some of its triangles [F] (bool). binding [G]: see `Rig.create`."""
    return triangles[binding % len(triangles)] & (binding < len(triangles))


def lengths(vectors: Tensor) -> Tensor:
    """Euclidean lengths [...] of vectors [..., 3]: of very many short ones, torch's own norm takes ten times as long.

    A vector of no length has no direction to be pulled in: its gradient is zero.
    """
    return vectors.square().sum(-1).clamp(min=1e-24).sqrt()


def _edges(corners: Tensor) -> tuple[Tensor, Tensor]:
    """Edge matrices [..., 3, 3] (two edges and a normal as long as the triangle is wide) and orthonormal frames [..., 3, 3] of
    triangles [..., 3, 3] (rows are corners)."""
    first, second = corners[..., 1, :] - corners[..., 0, :], corners[..., 2, :] - corners[..., 0, :]
    normal = torch.linalg.cross(first, second)
    # Degenerate triangles (lids pressed together) keep a tiny extent instead of none.
    double_area = normal.norm(dim=-1, keepdim=True).clamp(min=1e-10)
    x = functional.normalize(first, dim=-1, eps=1e-8)
    z = normal / double_area
    edges = torch.stack([first, second, z * double_area.sqrt()], dim=-1)
    return edges, torch.stack([x, torch.linalg.cross(z, x), z], dim=-1)
