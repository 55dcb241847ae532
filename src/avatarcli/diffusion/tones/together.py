"""Tones that views share. Each is imagined and corrected by itself; an avatar has one colour at each place, and what its views
disagree about shows as blotches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from avatarcli.diffusion.tones.coarse import COARSE, MOST, wide_blur, with_change
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.colors import log_colors
from avatarcli.geometry.fill import halved, ramp
from avatarcli.geometry.mesh import MeshRaster, rasterize_mesh, sample_image, vertex_normals, visible_points
from avatarcli.reproject.shell import DEPTH_TOLERANCE, Shell
from avatarcli.reproject.skin_texture import PhotoView

_FACING = (0.4, 0.8)  # cosines: a view that sees a surface more obliquely has no say, more squarely all of it
_WHOLE = (0.7, 0.95)  # alpha, likewise: at an outline background shines through
_ANCHOR = 3.0  # views that the photo counts for
_ALIKE = 0.5  # a logarithm: what is farther from the mean shows something else
_LIGHTER = 2.0  # per unit of logarithm that a view counts more than a darker one: what is imagined drifts into the dark
_ROUNDS = 3  # after them views come hardly nearer, for only smooth changes are made
_PROPER = 2  # rounds that find a mean of what is alike
_SMOOTH = 0.075  # of the picture's width: finer changes than this would tint a shirt beside a tie that another view shows elsewhere
_HARDLY = 0.05  # of the surroundings: changes fade where less than this is shared


class _Look(NamedTuple):
    """How a picture shows the shell's N vertices: logs [N, 3]: its coarse tones there; weight [N]: how far it has a say; pixels
    [N, 2]; raster: the shell as it sees it."""

    logs: Tensor
    weight: Tensor
    pixels: Tensor
    raster: MeshRaster


def agreed(pictures: Sequence[Tensor], cameras: Camera, shell: Shell, photo: PhotoView) -> list[Tensor]:
    """Premultiplied RGBA pictures [H, W, 4] of a head at rest, one a camera [V], in tones that they share.

    At each place of the shell all that see it are brought near to their mean, by changes that are smooth in each picture. The
    photo has a say; where it sees a place squarely, the pictures have its tones already and stay as they are.
    """
    if not len(pictures):
        return []
    size = pictures[0].shape[1] // 2
    small, normals = cameras.resized(size, size), vertex_normals(shell.vertices, shell.faces)
    looks = [
        _look(halved(picture), small[view], shell, normals, COARSE * size) for view, picture in enumerate(pictures)
    ]
    alpha = photo.matte * photo.inside
    shown = torch.cat([photo.image * alpha[..., None], alpha[..., None]], dim=-1)
    # As coarse as in the views, in metres.
    finer = float(photo.camera.K[0, 0] / small.K[0, 0, 0])
    fixed = _look(shown, photo.camera, shell, normals, COARSE * size * finer)
    own = torch.stack([look.logs for look in looks])
    weights = torch.stack([*(look.weight for look in looks), _ANCHOR * fixed.weight])
    unseen = 1 - fixed.weight[:, None]
    changes = [torch.zeros(size, size, 3) for _ in looks]
    for _ in range(_ROUNDS):
        found = [sample_image(change, look.pixels) for change, look in zip(changes, looks, strict=True)]
        logs = own + torch.stack(found)
        mean = _mean(torch.cat([logs, fixed.logs[None]]), weights)
        for view, look in enumerate(looks):
            missing = mean - logs[view]
            weight = look.weight[:, None] * _alike(missing / 2) * unseen
            spread = look.raster.interpolate(torch.cat([missing * weight, weight], dim=-1), shell.faces)
            layers = wide_blur(spread, _SMOOTH * size)
            changes[view] = (changes[view] + layers[..., :3] / (layers[..., 3:] + _HARDLY)).clamp(-MOST, MOST)
    return [with_change(picture, change) for picture, change in zip(pictures, changes, strict=True)]


def _look(picture: Tensor, camera: Camera, shell: Shell, normals: Tensor, sigma: float) -> _Look:
    """A premultiplied RGBA picture [H, W, 4]; sigma: pixels, how coarse its tones are."""
    raster = rasterize_mesh(shell.vertices, shell.faces, camera)
    pixels, facing, visible = visible_points(shell.vertices, normals, camera, raster.depth, tolerance=DEPTH_TOLERANCE)
    layers = wide_blur(picture, sigma)
    logs = log_colors(layers[..., :3] / layers[..., 3:].clamp(min=1e-3))
    told = sample_image(torch.cat([logs, picture[..., 3:]], dim=-1), pixels)
    return _Look(told[:, :3], visible * ramp(facing, *_FACING) * ramp(told[:, 3], *_WHOLE), pixels, raster)


def _mean(logs: Tensor, weights: Tensor) -> Tensor:
    """Means [N, 3] over views of logarithms [V, N, 3] with weights [V, N]; of what is alike, and rather of what is lighter."""
    share = weights[..., None]
    mean = (logs * share).sum(0) / share.sum(0).clamp(min=1e-6)
    for _ in range(_PROPER):
        away = logs - mean
        share = weights[..., None] * _alike(away) * (_LIGHTER * away.mean(-1, keepdim=True).clamp(-1, 1)).exp()
        total = share.sum(0)
        mean = torch.where(total > 1e-3, (logs * share).sum(0) / total.clamp(min=1e-6), mean)
    return mean


def _alike(away: Tensor) -> Tensor:
    """How likely [..., 1] what differs by so much [..., 3] shows the same."""
    return torch.exp(-(away.norm(dim=-1, keepdim=True) / _ALIKE).square())
