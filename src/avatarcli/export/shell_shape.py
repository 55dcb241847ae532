"""The outer shell in the shape that the avatar's own Gaussians have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.gaussians.avatar import Avatar
from avatarcli.gaussians.hull import Hull, carve
from avatarcli.gaussians.rasterize import rasterize
from avatarcli.geometry.rays import outermost_hit
from avatarcli.head.parameters import HeadParameters
from avatarcli.reproject.shell import CLEARANCE, Shell

_PICTURE = 256  # pixels: a pixel is then about as wide as half a cell of the hull
_AROUND, _ABOVE = 24, 8  # views: at the height of the head, and at _PITCH
_PITCH = 40.0  # degrees
STEPS = _AROUND + _ABOVE  # pictures that are drawn
_SURE = 0.5  # opacity from which a pixel's mean depth says where the surface is
_SOFT = 0.03  # metres that a surface may lie before the mean depth of its Gaussians: hair is seen into
_BOX = 0.09  # metres around the bare head within which the avatar lies
_REACH, _STEP = 0.16, 0.001  # metres from the skin outwards, and between two looks
_SURROUNDINGS = 9  # cells along each side: single rays that pass through a gap or hit a strand comb ridges otherwise


def fit_to_avatar(shell: Shell, avatar: Avatar, advance: Callable[[int], None]) -> Shell:
    """Move a shell along its rays to where the avatar's surface at rest is, or to the bare skin where that is further out.

    A shell of the photo's matte is a guess from one picture; the Gaussians have been fitted to views from all sides.
    """
    head, hull = avatar.head, _hull(avatar, advance)
    skin = head.model.faces[head.model.face_part == 0]
    bare = outermost_hit(shell.origins, shell.directions, head.neutral, skin)
    offsets = torch.arange(0, _REACH, _STEP)
    points = shell.origins[:, None] + (bare[:, None] + offsets)[..., None] * shell.directions[:, None]
    inside = hull.depth(points.view(-1, 3)).view(len(bare), -1) > 0.5
    radius = bare + (inside * torch.arange(1, len(offsets) + 1)).amax(1) * _STEP
    radius = torch.maximum(_median(radius.view(shell.rows, -1)).view(-1), bare) + CLEARANCE
    return replace(shell, vertices=shell.origins + radius[:, None] * shell.directions)


def _hull(avatar: Avatar, advance: Callable[[int], None]) -> Hull:
    """What pictures of the avatar and their depths leave of the space around it."""
    splats = avatar.splats(avatar.rig(), HeadParameters.at_rest())
    yaw = torch.cat([torch.arange(count) / count * 2 * torch.pi for count in (_AROUND, _ABOVE)])
    pitch = torch.cat([torch.zeros(_AROUND), torch.full((_ABOVE,), _PITCH).deg2rad()])
    cameras = avatar.framing.cameras(yaw, pitch, _PICTURE)
    pictures, clear = [], []
    for index in range(STEPS):
        depth = cameras[index].project(splats.means)[1]
        drawn = rasterize(*splats._replace(colors=torch.cat([splats.colors, depth[:, None]], dim=-1)), cameras[index])
        pictures.append(torch.cat([drawn.color[..., :3], drawn.alpha[..., None]], dim=-1))
        mean = drawn.color[..., 3] / drawn.alpha.clamp(min=_SURE)
        clear.append(torch.where(drawn.alpha > _SURE, mean - _SOFT, torch.zeros(())))
        advance(1)
    low, high = avatar.head.neutral.amin(0) - _BOX, avatar.head.neutral.amax(0) + _BOX
    low[1] = avatar.head.neutral[:, 1].amin()  # the pictures end there
    return carve(pictures, cameras, low, high, torch.stack(clear))


def _median(grid: Tensor) -> Tensor:
    """Medians of the surroundings in a grid [R, C] whose columns go round."""
    side = _SURROUNDINGS // 2
    grid = functional.pad(grid[None, None], (side, side, 0, 0), mode="circular")
    grid = functional.pad(grid, (0, 0, side, side), mode="replicate")
    return functional.unfold(grid, _SURROUNDINGS).median(1).values
