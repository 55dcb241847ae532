"""How Gaussians follow the head: each is bound to one triangle and moves by that triangle's own deformation.

The mesh stands here twice: once as the face moves it, and once more still, following the neck alone. Skin binds to the first;
hair and clothes, which a smile must not drag along, bind to the second.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.geometry.rotations import matrix_to_quaternion, quaternion_multiply, quaternion_to_matrix
from avatarcli.head.model import PersonalHead
from avatarcli.head.track import HeadParameters


@dataclass(frozen=True)
class Motion:
    """What one frame does to the triangles that carry Gaussians, M of them, from rest to posed.

    origin [M, 3]: posed centroids; affine [M, 3, 3]: stretch, shear and turn; rotation [M, 3, 3]: the turn alone.
    """

    origin: Tensor
    affine: Tensor
    rotation: Tensor


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
        """The triangles of one frame (the first) of head parameters."""
        moving = self.head.vertices(parameters.expression[:1], parameters.gaze[:1], parameters.neck[:1])[0]
        still = self.head.carry(self.head.neutral, self.head.model.skinning, parameters.neck[:1])[0]
        vertices = torch.cat([moving, still])
        pose = parameters.head_pose[0]
        posed = vertices[self.corners] @ pose[:3, :3].T + pose[:3, 3]
        edges, frame = _edges(posed)
        return Motion(posed.mean(1), edges @ self.inverse_edges, frame @ self.frame.transpose(-1, -2))

    def place(
        self, motion: Motion, means: Tensor, quaternions: Tensor, scales: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gaussians at rest (means [G, 3] metres, quaternions [G, 4] wxyz, scales [G, 3] metres) carried to the frame.

        Means move with the triangle's plane, shear included, so a skin of Gaussians stays closed. Axes turn with the triangle and
        stretch as much as it does along each of them.
        """
        affine = motion.affine[self.carrier]
        offset = means - self.centroid[self.carrier]
        posed_means = motion.origin[self.carrier] + (affine @ offset[..., None])[..., 0]
        turn = matrix_to_quaternion(motion.rotation)[self.carrier]
        axes = affine @ quaternion_to_matrix(quaternions)
        return posed_means, quaternion_multiply(turn, quaternions), scales * axes.norm(dim=-2)


def _edges(corners: Tensor) -> tuple[Tensor, Tensor]:
    """Edge matrices [M, 3, 3] (two edges and a normal as long as the triangle is wide) and orthonormal frames [M, 3, 3]."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    normal = torch.linalg.cross(first, second)
    # Degenerate triangles (lids pressed together) keep a tiny extent instead of none.
    double_area = normal.norm(dim=-1, keepdim=True).clamp(min=1e-10)
    x = functional.normalize(first, dim=-1, eps=1e-8)
    z = normal / double_area
    edges = torch.stack([first, second, z * double_area.sqrt()], dim=-1)
    return edges, torch.stack([x, torch.linalg.cross(z, x), z], dim=-1)
