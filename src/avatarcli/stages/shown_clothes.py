"""Clothes as the photos show them, painted into the imagined views before an avatar is fitted to them.

Each view imagines collars, lapels and ties in another place, blurred. Believed, they tear what the photo shows; not believed,
nobody says how the photo's clothes look from aside, and Gaussians fray along every border between light and dark. So views get
the photo's own clothes, carried over by the surface that all views agree on: then all pictures show the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.gaussians.pictures import TrainingPicture
from avatarcli.gaussians.start import FAINT, Start
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.fill import blur, ramp, resized
from avatarcli.geometry.mesh import sample_image
from avatarcli.geometry.rotations import quaternion_to_matrix
from avatarcli.head.parameters import HeadParameters

_COARSE = 2  # the surface is drawn at this fraction of a picture's size: it is smoothed anyhow
# Of a picture's width: deviations of the blurs that make a surface of discs, each of which has one depth, smooth again. The first
# two find what is near in depth; a chin before a collar must not bend it.
_SMOOTH = (1 / 40, 1 / 64, 1 / 85)
_SAME = 0.012  # metres of depth between pixels of the same surface
_ASLANT = 0.05  # cosine below which a disc's plane tells no depth
_OFF = 0.015  # metres that a plane may lead away from its disc
# A photo knows what it sees: at these cosines between its direction and the surface's, and no more metres than that behind the
# first thing that it sees.
SQUARE = (0.3, 0.6)
BEHIND = 0.015
_SOLID = (0.6, 0.95)  # alpha from which a photo's pixel tells the color of clothes
_SOFT = 1 / 256  # of a picture's width: deviation of the border of what is painted


class _Surface(NamedTuple):
    """What a camera sees of clothes at each pixel: points, normals [H, W, 3] in the head's frame, worn [H, W] in [0, 1]."""

    points: Tensor
    normals: Tensor
    worn: Tensor


@dataclass(frozen=True)
class ShownClothes:
    """What photos show of clothes. start: Gaussians on the surface of head and clothes; photos: the frontal one first;
    depths: metres [H, W] of what each of them shows."""

    start: Start
    photos: Sequence[TrainingPicture]
    depths: Sequence[Tensor]

    @classmethod
    def of(cls, start: Start, photos: Sequence[TrainingPicture]) -> ShownClothes:
        return cls(start, photos, [start.depth(photo.parameters, photo.camera) for photo in photos])

    def paint(self, picture: Tensor, parameters: HeadParameters, camera: Camera) -> tuple[Tensor, Tensor]:
        """A premultiplied RGBA view [H, W, 4] of a head at rest with the photos' clothes.

        Also returns how far each pixel is the photos' [H, W], in [0, 1].
        """
        worn = self.start.splats(parameters).means[self.start.dressed]
        top = int(camera.project(worn)[0][:, 1].amin().clamp(0, camera.height - _COARSE))
        surface = _seen_surface(self.start, parameters, camera.cropped(0, top, camera.width, camera.height - top))
        surface = surface._replace(
            points=parameters.in_head(surface.points), normals=surface.normals @ parameters.head_pose[0, :3, :3]
        )
        alpha = picture[top:, :, 3:]
        color, painted = picture[top:, :, :3], torch.zeros_like(surface.worn)
        # The frontal one has the last word.
        for photo, depth in reversed(list(zip(self.photos, self.depths, strict=True))):
            shown, share = _carried(surface, photo, depth)
            share = blur(share[..., None], _SOFT * camera.width)[..., 0].clamp(0, 1)
            color = torch.lerp(color, shown * alpha, share[..., None])
            painted = torch.maximum(painted, share)
        whole = torch.cat([picture[:top], torch.cat([color, alpha], dim=-1)])
        return whole, functional.pad(painted, (0, 0, top, 0))


def _carried(surface: _Surface, photo: TrainingPicture, nearest: Tensor) -> tuple[Tensor, Tensor]:
    """The photo's colors [H, W, 3] at the points of a surface, and how surely it shows clothes there [H, W]."""
    points = photo.parameters.placed(surface.points.flatten(0, 1)[None])[0]
    normals = surface.normals.flatten(0, 1) @ photo.parameters.head_pose[0, :3, :3].T
    facing = (functional.normalize(photo.camera.centre - points, dim=-1) * normals).sum(-1)
    rgba, sure = seen_at(photo, points, nearest)
    share = sure * ramp(facing, *SQUARE)
    color = rgba[:, :3] / rgba[:, 3:].clamp(min=_SOLID[0])
    return color.view_as(surface.points), share.view_as(surface.worn) * surface.worn


def seen_at(picture: TrainingPicture, points: Tensor, nearest: Tensor) -> tuple[Tensor, Tensor]:
    """What a picture shows at world points [P, 3]: premultiplied RGBA [P, 4], and how surely it shows them [P], in [0, 1].

    nearest [H, W]: metres to the first thing that the picture shows.
    """
    pixels, depth = picture.camera.project(points)
    layers = torch.stack([picture.alpha, picture.trust, nearest], dim=-1)
    seen = sample_image(torch.cat([picture.color, layers], dim=-1), pixels)
    size = torch.tensor([picture.camera.width, picture.camera.height])
    visible = ((pixels >= 0) & (pixels < size)).all(-1) & (depth > 0) & (depth < seen[:, 5] + BEHIND)
    return seen[:, :4], visible * seen[:, 4] * ramp(seen[:, 3], *_SOLID)


def _seen_surface(start: Start, parameters: HeadParameters, camera: Camera) -> _Surface:
    """The smooth surface of clothes that a camera sees of a start's discs."""
    height, width = camera.height // _COARSE, camera.width // _COARSE
    coarse = camera.resized(width, height)
    # The start's Gaussians are discs; their last axis is the normal, outward.
    splats = start.splats(parameters)
    facets = quaternion_to_matrix(splats.quaternions)[..., 2]
    drawn = start.draw(parameters, coarse, torch.cat([splats.means, facets, start.dressed[:, None]], dim=-1))
    layers = drawn.color / drawn.alpha.clamp(min=FAINT)[..., None]
    middle, normals = layers[..., :3], functional.normalize(layers[..., 3:6], dim=-1)
    rays = coarse.rays()
    # Where the ray meets the disc's plane, not where the disc's middle is.
    offset = middle - camera.centre
    slope = (rays * normals).sum(-1).clamp(max=-_ASLANT)
    distance = (offset * rays).sum(-1)
    distance = distance + ((offset * normals).sum(-1) / slope - distance).clamp(-_OFF, _OFF)
    sure = layers[..., 6] * drawn.alpha
    weight = sure.square()
    for deviation in _SMOOTH:
        soft = _mean(torch.cat([distance[..., None], normals], dim=-1), weight, deviation * width)
        weight = (sure * torch.exp(-((distance - soft[..., 0]) / _SAME).square() / 2)).square()
    layers = resized(torch.cat([soft, sure[..., None]], dim=-1), camera.height, camera.width)
    points = camera.centre + layers[..., :1] * camera.rays()
    return _Surface(points, functional.normalize(layers[..., 1:4], dim=-1), layers[..., 4])


def _mean(values: Tensor, weight: Tensor, deviation: float) -> Tensor:
    """Blurred values [H, W, C], each counting by its weight [H, W]."""
    total = blur(torch.cat([values * weight[..., None], weight[..., None]], dim=-1), deviation)
    return total[..., :-1] / total[..., -1:].clamp(min=1e-4)
