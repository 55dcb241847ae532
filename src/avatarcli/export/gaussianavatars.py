"""Bound PLY: Gaussians in the frames of their triangles, as GaussianAvatars (Qian et al. 2024) and CAP4D keep them.

A folder of two files. `point_cloud.ply` holds the Gaussians in local coordinates and, as `binding_0`, the triangle of
each. `parameters.npz` holds the mesh that carries them: its triangles, its vertices in every frame, and what made them.

A triangle v0 v1 v2 has the frame R = [a0 a1 a2]: a0 along v0→v1, a1 its normal, a2 = −a1 × a0; the size
s = (|v1 − v0| + |a2 · (v2 − v0)|) / 2; and the centroid c. A Gaussian's mean is s R x + c, its scales are s times its
own, its rotation is R's after its own. Our renderer lets triangles shear too and adds small correctives, which this
layout has no room for: at rest the two agree, in strong expressions they differ a little.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.errors import ExportError
from avatarcli.export.origin import Origin
from avatarcli.export.ply import splat_columns, write_elements
from avatarcli.gaussians.avatar import Avatar, Splats
from avatarcli.geometry.rotations import matrix_to_quaternion, quaternion_multiply
from avatarcli.head.expressions import EXPRESSION_NAMES
from avatarcli.head.model import PersonalHead
from avatarcli.head.parameters import HeadParameters

# The vertices of every frame are written at once; a minute at 30 frames per second is 420 MB of them.
MAX_FRAMES = 1800


def write_bound(folder: Path, avatar: Avatar, parameters: HeadParameters, fps: float, origin: Origin) -> None:
    """Write both files for the frames of `parameters`, at most MAX_FRAMES. Raises ExportError, OSError."""
    if len(parameters) > MAX_FRAMES:
        raise ExportError(f"{len(parameters)} frames are more than this format can hold ({MAX_FRAMES}): cut the clip")
    head = avatar.head
    faces = torch.cat([head.model.faces, head.model.faces + head.model.vertex_count])
    rest = torch.cat([head.neutral, head.neutral])
    write_elements(
        folder / "point_cloud.ply",
        [("vertex", {**splat_columns(_local(avatar, rest[faces])), "binding_0": avatar.binding.float().cpu().numpy()})],
        origin,
    )
    vertices = torch.stack([_doubled(head, parameters[t : t + 1]) for t in range(len(parameters))])
    basis = torch.cat([head.expression_basis, torch.zeros_like(head.expression_basis)], dim=1)
    np.savez_compressed(
        folder / "parameters.npz",
        allow_pickle=False,
        faces=faces.int().numpy(),
        vertices=vertices.numpy(),
        vertices_rest=rest.numpy(),
        expression_basis=basis.half().numpy(),
        expression=parameters.expression.numpy(),
        names=np.array(EXPRESSION_NAMES),
        gaze=parameters.gaze.numpy(),
        neck=parameters.neck.numpy(),
        head_pose=parameters.head_pose.numpy(),
        fps=np.array(fps, np.float32),
        origin=np.array(origin.to_json()),
    )


def _doubled(head: PersonalHead, frame: HeadParameters) -> Tensor:
    """Vertices [2N, 3] of one frame: the moving copy of the mesh, then the one that follows the neck alone."""
    still = head.carry(head.neutral, head.model.cover_skinning, frame.neck)
    return frame.placed(torch.cat([head.posed(frame), still], dim=1))[0]


def _local(avatar: Avatar, corners: Tensor) -> Splats:
    """The Gaussians at rest, seen from their triangles. corners [2F, 3, 3]: all triangles at rest."""
    rotation, size, centroid = triangle_frames(corners[avatar.binding])
    means = (rotation.transpose(-1, -2) @ (avatar.means - centroid)[..., None])[..., 0] / size[:, None]
    turn = matrix_to_quaternion(rotation)
    inverse = turn * turn.new_tensor([1.0, -1.0, -1.0, -1.0])
    at_rest = avatar.splats(avatar.rig(), HeadParameters.at_rest())
    return Splats(
        means,
        quaternion_multiply(inverse, functional.normalize(avatar.quaternions, dim=-1)),
        avatar.log_scales.exp() / size[:, None],
        at_rest.opacities,
        at_rest.colors,
    )


def triangle_frames(corners: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rotations [M, 3, 3], sizes [M] and centroids [M, 3] of triangles [M, 3, 3], as the module's text defines them."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    a0 = functional.normalize(first, dim=-1)
    a1 = functional.normalize(torch.linalg.cross(first, second), dim=-1, eps=1e-20)
    a2 = -torch.linalg.cross(a1, a0)
    size = 0.5 * (first.norm(dim=-1) + (a2 * second).sum(-1).abs())
    return torch.stack([a0, a1, a2], dim=-1), size, corners.mean(1)
