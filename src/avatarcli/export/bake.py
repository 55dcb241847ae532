"""Textures for meshes, taken from pictures of the avatar's Gaussians."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.gaussians.avatar import Avatar
from avatarcli.gaussians.rasterize import rasterize
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.fill import pull_push
from avatarcli.geometry.mesh import rasterize_mesh, sample_image, vertex_normals, visible_points
from avatarcli.head.model import still_head
from avatarcli.head.parameters import HeadParameters
from avatarcli.reproject.scene import Scene
from avatarcli.reproject.shell import Shell
from avatarcli.reproject.skin_texture import Atlas

Views = tuple[tuple[float, float], ...]

_PICTURE = 1024  # pixels: side of the pictures; a face then spans as many pixels as texels
_SHELL_DETAIL = 5  # texels along each side of a cell of the shell's grid: half a millimetre each
# Metres: strands beside a cheek are often bound to it, but a beard's hairs and glasses stay on the face.
_OFF_SKIN = 0.008
_DEPTH_TOLERANCE = 0.003  # metres
# A texel is taken mostly from the views that look straight at it; averaging all of them would blur it.
_SHARPNESS = 6
# Degrees (yaw, pitch): all the way round, from above, and from below the chin.
_VIEWS: Views = (
    (0, 0), (40, 0), (-40, 0), (80, 0), (-80, 0), (125, 0), (-125, 0), (180, 0), (0, 55), (180, 55), (0, -35),
)  # fmt: skip
_FACE: dict[str, float] = {}
# Shows what a face at rest hides: lids, teeth, tongue and the inside of the mouth.
_OPEN_FACE = {
    "jawOpen": 0.9, "eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0, "mouthLowerDownLeft": 0.4, "mouthLowerDownRight": 0.4,
    "mouthUpperUpLeft": 0.4, "mouthUpperUpRight": 0.4,
}  # fmt: skip
# Texels are taken from the pictures wholly when the weights of what these show add up to this: seen at 60°, say.
_ENOUGH = 0.02
_OPEN_VIEWS: Views = ((0, 0), (35, 0), (-35, 0), (0, 25), (0, -25))
STEPS = 2 * len(_VIEWS) + len(_OPEN_VIEWS)  # pictures that are drawn


@dataclass
class _Texels:
    """What is known of T texels so far: weighted sums of values [T, C] and of weights [T]."""

    values: Tensor
    weight: Tensor

    @classmethod
    def empty(cls, count: int, channels: int) -> _Texels:
        return cls(torch.zeros(count, channels), torch.zeros(count))

    def add(
        self, points: Tensor, normals: Tensor, camera: Camera, depth: Tensor, picture: Tensor, known: Tensor
    ) -> None:
        """Take what a picture [H, W, C], known [H, W] in [0, 1], shows of the surface points [T, 3]."""
        pixels, facing, visible = visible_points(points, normals, camera, depth, tolerance=_DEPTH_TOLERANCE)
        seen = sample_image(torch.cat([picture, known[..., None]], dim=-1), pixels)
        weight = facing.clamp(min=0) ** _SHARPNESS * visible * seen[:, -1]
        self.values += weight[:, None] * seen[:, :-1]
        self.weight += weight

    def mean(self) -> Tensor:
        """The values [T, C]; zero where nothing was seen."""
        return self.values / self.weight.clamp(min=1e-8)[:, None]

    def known(self) -> Tensor:
        """How well each was seen [T], in [0, 1]."""
        return (self.weight / _ENOUGH).clamp(max=1)


def bake_head(avatar: Avatar, scene: Scene, advance: Callable[[int], None]) -> Tensor:
    """The texture [S, S, 3] of the bare head in the head model's atlas, without hair and clothes.

    Where no picture shows the skin, the scene's own texture stands in: Gaussians that nobody saw have any color.
    """
    head, model = avatar.head, avatar.head.model
    skin = avatar.part(~_covers(avatar))
    rig, atlas = skin.rig(), Atlas.of(model)
    texels = _Texels.empty(len(atlas.face), 3)
    for face, views in ((_FACE, _VIEWS), (_OPEN_FACE, _OPEN_VIEWS)):
        parameters = still_head(face)
        vertices = head.posed(parameters)[0]
        points = atlas.surface(vertices, model.faces)
        normals = atlas.surface(vertex_normals(vertices, model.faces), model.faces)
        splats = skin.splats(rig, parameters)
        for camera in _cameras(avatar, views):
            drawn = rasterize(*splats, camera)
            color = drawn.color / drawn.alpha[..., None].clamp(min=1e-4)
            depth = rasterize_mesh(vertices, model.faces, camera).depth
            texels.add(points, normals, camera, depth, color, ((drawn.alpha - 0.5) * 4).clamp(0, 1))
            advance(1)
    unseen = atlas.lookup(scene.skin)
    colors = unseen + texels.known()[:, None] * (texels.mean() - unseen)
    known = atlas.picture(torch.ones(len(colors), 1))[..., 0]
    return pull_push(atlas.picture(colors), known).clamp(0, 1)


def bake_shell(avatar: Avatar, shell: Shell, advance: Callable[[int], None]) -> Tensor:
    """The picture [R, C, 4] (straight alpha) of hair and clothes on the shell's grid; unseen texels are like those around."""
    splats = avatar.splats(avatar.rig(), HeadParameters.at_rest())
    cover = _covers(avatar).float()[:, None]
    # The head is drawn black and transparent, so that it hides what is behind it without showing itself.
    channels = torch.cat([splats.colors, torch.ones_like(cover)], dim=-1) * cover
    points = _grid(shell, shell.vertices)
    normals = functional.normalize(_grid(shell, vertex_normals(shell.vertices, shell.faces)), dim=-1)
    texels = _Texels.empty(len(points), 4)
    for camera in _cameras(avatar, _VIEWS):
        drawn = rasterize(*splats._replace(colors=channels), camera).color
        depth = rasterize_mesh(shell.vertices, shell.faces, camera, cull_backfaces=True).depth
        texels.add(points, normals, camera, depth, drawn, torch.ones_like(drawn[..., 0]))
        advance(1)
    size = (shell.rows * _SHELL_DETAIL, len(points) // (shell.rows * _SHELL_DETAIL))
    picture = pull_push(texels.mean().view(*size, 4), texels.known().view(size), wrap=True)
    alpha = picture[..., 3]
    # Colors are carried on under the transparent parts, or filtering would draw a dark seam around the hair.
    colors = pull_push(picture[..., :3] / alpha[..., None].clamp(min=1e-3), (alpha * 2 - 0.1).clamp(0, 1), wrap=True)
    return torch.cat([colors, alpha[..., None]], dim=-1).clamp(0, 1)


def _cameras(avatar: Avatar, views: Views) -> Iterator[Camera]:
    yaw, pitch = torch.deg2rad(torch.tensor(views, dtype=torch.float32)).unbind(-1)
    cameras = avatar.framing.cameras(yaw, pitch, _PICTURE)
    return (cameras[index] for index in range(len(views)))


def _covers(avatar: Avatar) -> Tensor:
    """Which Gaussians [G] (bool) are hair and clothes: those that do not move with the face, and what hangs before the skin."""
    model = avatar.head.model
    corners = avatar.head.neutral[model.faces[avatar.binding % len(model.faces)]]
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    height = ((avatar.means - corners.mean(1)) * functional.normalize(normals, dim=-1, eps=1e-20)).sum(-1)
    return (avatar.binding >= len(model.faces)) | (height > _OFF_SKIN)


def _grid(shell: Shell, values: Tensor) -> Tensor:
    """Values of the shell's vertices [R·C, 3] at the texels of its picture [rows · columns, 3]."""
    grid = values.view(shell.rows, -1, 3).permute(2, 0, 1)[None]
    grid = torch.cat([grid[..., -1:], grid, grid[..., :1]], dim=-1)  # the columns go round
    fine = functional.interpolate(grid, scale_factor=_SHELL_DETAIL, mode="bilinear", align_corners=False)
    return fine[0, :, :, _SHELL_DETAIL:-_SHELL_DETAIL].permute(1, 2, 0).reshape(-1, 3)
