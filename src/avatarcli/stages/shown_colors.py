"""Which colors the training pictures agree on, at the places where an avatar's Gaussians start."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.gaussians.color_range import ColorRange, agreed_colors, middle_colors
from avatarcli.gaussians.hair import HairPhoto
from avatarcli.gaussians.pictures import FRONTAL, TrainingPicture
from avatarcli.gaussians.start import Start
from avatarcli.geometry.fill import blur, ramp
from avatarcli.geometry.mesh import sample_image
from avatarcli.head.model import is_region
from avatarcli.reproject.skin_texture import skin_likeness
from avatarcli.stages.training_pictures import BARE, face_color, photo_sight

_SOLID, _WHOLE = 0.8, (0.7, 0.95)  # alpha: at an outline background shines through
# Regions whose colors pictures must agree on, whatever covers them, and only where bare.
_AGREED, _AGREED_BARE = ("ear", "neck", "torso"), ("face", "scalp")
_DECIDED = 0.5  # of what a photo sees at best: so well seen, a place has the photo's color
# Share of a picture's width, and metres: where the depth jumps by more nearby, a pixel may show what is before or what is behind.
_BESIDE, _JUMP = 1 / 128, 0.02
# Share of a picture's width by which labels of hair are blurred, and what counts of them: hair has loose ends.
_LOOSE, _STRAND = 1 / 128, 0.2


def shown_colors(start: Start, pictures: Iterable[TrainingPicture], hair: HairPhoto | None = None) -> ColorRange:
    """What pictures at rest, the photos among them, agree on about the start's skin and clothes.

    What a photo sees squarely it decides about alone; the face is not held there, whose detail is finest. Nor are hair, which is
    combed, and what stands off the face, beards and glasses: both are finer than what views agree on.
    hair: what the frontal photo shows of it, if that is known.
    """
    model, binding = start.avatar.head.model, start.avatar.binding
    moments, colors, sights = [], [], []
    for picture in pictures:
        depth = start.depth(picture.parameters, picture.camera)
        pixels, _ = picture.camera.project(start.splats(picture.parameters).means)
        layers = torch.stack([picture.alpha, _off_edges(depth)], dim=-1)
        rgba = sample_image(torch.cat([picture.color, layers], dim=-1), pixels)
        moments.append(picture.moment)
        colors.append(rgba[:, :3] / rgba[:, 3:4].clamp(min=_SOLID))
        sights.append(photo_sight(start, picture, depth) * ramp(rgba[:, 3], *_WHOLE) * rgba[:, 4])
    moment, shown, weights = torch.tensor(moments), torch.stack(colors), torch.stack(sights)
    if hair is not None:
        bare = skin_likeness(middle_colors(shown[moment == 0], weights[moment == 0]), face_color(start.avatar)) > BARE
        pixels, _ = hair.camera.project(start.splats(hair.parameters).means)
        before = sample_image(blur(hair.hair[..., None], _LOOSE * hair.camera.width), pixels)[:, 0] > _STRAND
        # Hair beside a neck, where the views show the neck itself, hangs before it or behind: it is not painted on skin.
        weights[moment == FRONTAL] *= (~(bare & before)).float()
    decided = (weights[moment < 0] > _DECIDED).any(0)
    weights[moment >= 0] *= (~decided).float()
    region = model.region[model.faces[binding % len(model.faces)]].amax(1)
    bare_skin = (binding < len(model.faces)) & is_region(region, *_AGREED_BARE)
    held = is_region(region, *_AGREED) | (bare_skin & ~decided)
    return agreed_colors(start.avatar.means, shown, weights, held, decided)


def _off_edges(depth: Tensor) -> Tensor:
    """1 [H, W] where a depth [H, W] goes on evenly, 0 where it jumps: there it may be the one or the other that a pixel shows."""
    reach = max(1, round(depth.shape[1] * _BESIDE))
    both = torch.stack([depth, -depth])[None]
    farthest, nearest = functional.max_pool2d(both, 2 * reach + 1, stride=1, padding=reach)[0]
    return ((farthest + nearest) < _JUMP).float()
