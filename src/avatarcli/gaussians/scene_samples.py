"""Gaussians' starting points on a reprojected scene."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.gaussians.initialise import SurfaceSamples, sample_triangles
from avatarcli.gaussians.openings import at_rims, detail
from avatarcli.geometry.mesh import look_up, vertex_normals
from avatarcli.geometry.space import z_order
from avatarcli.head.model import PARTS, REGIONS, PersonalHead
from avatarcli.reproject.scene import Scene

# How densely each region is covered beside plain skin. Eyes, lips and teeth carry the finest detail, the chest next to none, and
# what hair and clothes hide needs only enough to fill gaps.
_DENSITY = {
    "face": 3.2, "scalp": 0.25, "ear": 0.8, "neck": 0.5, "torso": 0.13, "eyelid": 16.0, "lip": 24.0, "nose": 3.2,
    "mouth_cavity": 2.0, "eye_socket": 0.5, "eye": 18.0, "tongue": 4.0, "teeth": 17.0,
}  # fmt: skip
_SHELL_DENSITY = 0.7
# Metres that eyes lie deeper than the head model's: Gaussians are drawn in the order of their middles, and a lid's may lie farther
# back than the bulge of an eye beside it, which would shine through.
_SUNK = 0.001
# Wider by so much than elsewhere lids, lips and tongue begin, for the fit leaves their sizes alone, and what shows through gaps is
# dark.
_WIDER = 1.25
_NEIGHBOURHOOD = 0.002  # metres: cells by which triangles are put in order
_VISIBLE = 0.25  # coverage of the shell below which no Gaussian is spent on it


def sample_scene(scene: Scene, count: int, generator: torch.Generator) -> SurfaceSamples:
    """`count` Gaussians' starts on the head and on the covered parts of its shell."""
    skin_weight = skin_weights(scene.head, _DENSITY)
    shell_weight = _shell_weights(scene)
    share = float(skin_weight.sum() / (skin_weight.sum() + shell_weight.sum()))
    on_skin = round(count * share)
    skin = sample_skin(scene.head, scene.skin, skin_weight, on_skin, generator)
    shell = _sample_shell(scene, shell_weight, count - on_skin, generator)
    return SurfaceSamples(*(torch.cat(pair) for pair in zip(skin, shell, strict=True)))


def _areas(vertices: Tensor, faces: Tensor) -> Tensor:
    corners = vertices[faces]
    return 0.5 * torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=-1)


def skin_weights(head: PersonalHead, density_of: Mapping[str, float]) -> Tensor:
    """Area × importance [F] of the head's triangles, by their region and by what shows of eyes and mouth."""
    model = head.model
    density = torch.tensor([density_of[name] for name in REGIONS])[model.region[model.faces]].amax(1) * detail(head)
    # The ball behind the lids is never seen.
    eye = (model.face_part == PARTS.index("eye_l")) | (model.face_part == PARTS.index("eye_r"))
    centres = head.neutral[model.faces].mean(1)
    sockets = [head.joints[model.joint_names.index(name), 2] for name in ("eye_l", "eye_r")]
    density = torch.where(eye & (centres[:, 2] < min(sockets)), torch.zeros_like(density), density)
    return _areas(head.neutral, model.faces) * density


def _shell_weights(scene: Scene) -> Tensor:
    """Area × importance [F] of the shell's triangles; nothing for those that let one see through."""
    uv = scene.shell.uv[scene.shell.faces][:, 0]
    coverage = look_up(scene.cover, uv)[:, 3]
    weight = _areas(scene.shell.vertices, scene.shell.faces) * _SHELL_DENSITY
    return torch.where(coverage > _VISIBLE, weight, torch.zeros_like(weight))


def sample_skin(
    head: PersonalHead, texture: Tensor, weight: Tensor, count: int, generator: torch.Generator
) -> SurfaceSamples:
    """`count` starts on the head's triangles, spread by their weights [F]. texture [S, S, 3]: the head's."""
    model = head.model
    # In an order that keeps neighbours together, so that what one triangle gets too little the next one makes up for.
    order = z_order((head.neutral[model.faces].mean(1) / _NEIGHBOURHOOD).floor())
    triangle, barycentric = sample_triangles(weight[order], count, generator)
    triangle = order[triangle]
    points, normals, tangents = _surface(head.neutral, model.faces, triangle, barycentric)
    uv = (model.uv[model.face_uv[triangle]] * barycentric[..., None]).sum(1)
    wider = 1 + (_WIDER - 1) * (at_rims(head) | model.faces_in("tongue"))[triangle]
    sunk = _SUNK * model.faces_in("eye")[triangle]
    return SurfaceSamples(
        points=points - sunk[:, None] * normals,
        normals=normals,
        tangents=tangents,
        spacing=wider * _spacing(head.neutral, model.faces, weight, triangle, count),
        colors=look_up(texture, uv),
        opacity=torch.full((count,), 0.95),
        binding=triangle,
    )


def _sample_shell(scene: Scene, weight: Tensor, count: int, generator: torch.Generator) -> SurfaceSamples:
    shell, model = scene.shell, scene.head.model
    triangle, barycentric = sample_triangles(weight, count, generator)
    points, normals, tangents = _surface(shell.vertices, shell.faces, triangle, barycentric)
    corners = shell.uv[shell.faces[triangle]]
    # Across the seam of the grid a mean of corners would point to its far side; the first corner is near enough.
    seam = (corners[..., 0].amax(1) - corners[..., 0].amin(1) > 0.5)[:, None]
    uv = torch.where(seam, corners[:, 0], (corners * barycentric[..., None]).sum(1))
    rgba = look_up(scene.cover, uv)
    return SurfaceSamples(
        points=points,
        normals=normals,
        tangents=tangents,
        spacing=_spacing(shell.vertices, shell.faces, weight, triangle, count),
        colors=rgba[:, :3],
        opacity=0.95 * rgba[:, 3],
        binding=len(model.faces) + _nearest_skin_triangle(scene, points),
    )


def _surface(vertices: Tensor, faces: Tensor, triangle: Tensor, barycentric: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Points, smooth normals and tangents [G, 3] at sampled places."""
    corners = faces[triangle]
    points = (vertices[corners] * barycentric[..., None]).sum(1)
    normals = functional.normalize((vertex_normals(vertices, faces)[corners] * barycentric[..., None]).sum(1), dim=-1)
    return points, normals, functional.normalize(vertices[corners[:, 1]] - vertices[corners[:, 0]], dim=-1)


def _spacing(vertices: Tensor, faces: Tensor, weight: Tensor, triangle: Tensor, count: int) -> Tensor:
    """Distance [G] between neighbouring samples: the root of the area that each one stands for."""
    density = weight / _areas(vertices, faces).clamp(min=1e-12)
    return (weight.sum() / (count * density[triangle].clamp(min=1e-6))).sqrt()


def _nearest_skin_triangle(scene: Scene, points: Tensor) -> Tensor:
    from scipy.spatial import cKDTree

    model = scene.head.model
    skin = (model.face_part == PARTS.index("skin")).nonzero()[:, 0]
    _, nearest = cKDTree(scene.head.neutral[model.faces[skin]].mean(1).numpy()).query(points.numpy())
    return skin[torch.from_numpy(nearest)]
