"""Whether hair hides the ears, which decides what the sides of a head look like where no photo shows them."""

from __future__ import annotations

import torch
from torch import Tensor

from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.fill import ramp
from avatarcli.geometry.mesh import MeshRaster, sample_image
from avatarcli.head.model import HeadModel, is_region
from avatarcli.reproject.shading import tint_distance

# Metres beside an ear: hair that hides it stands out at least this far, and nothing else is found there.
_BESIDE = 0.016
_ROWS = 12  # places along an ear's edge that are looked at
_FEW = 100  # pixels: an ear that shows fewer says nothing
_USUAL = 0.7  # with neither ear in sight: most portraits show them


def bare_ears(
    image: Tensor,
    matte: Tensor,
    raster: MeshRaster,
    model: HeadModel,
    posed: Tensor,
    camera: Camera,
    skin: Tensor,
    hair: Tensor,
) -> Tensor:
    """How bare the left and the right ear are [2], 1 … 0.

    Two signs are weighed: whether anything stands beside the ear in the matte, and whether the ear has the color of the skin
    or of the hair. It was checked on 60 people with known profiles. image [H, W, 3], matte [H, W]; raster: the fitted head seen
    by the photo's camera; posed [N, 3]: its vertices; skin, hair [3]: typical colors.
    """
    shown = raster.covered & is_region(model.face_region, "ear")[raster.face.clamp(min=0)]
    left = (model.mean[model.faces[:, 0], 0] > 0)[raster.face.clamp(min=0)]
    hidden, pixels = [], []
    for side, here in ((1, shown & left), (-1, shown & ~left)):
        here = here & (matte > 0.9)
        beside, free = _beside(matte, raster, model, posed, camera, side)
        off_color = 1 - _skin_share(image[here], skin, hair)
        hidden.append(torch.lerp(off_color, beside, 0.75 * free))
        pixels.append(here.sum())
    count = torch.stack(pixels)
    bare = 1 - ramp(torch.stack(hidden), 0.3, 0.5)
    if count.amax() < _FEW:
        return torch.full((2,), _USUAL)
    return torch.where(count < _FEW, bare.flip(0), bare)


def _beside(
    matte: Tensor, raster: MeshRaster, model: HeadModel, posed: Tensor, camera: Camera, side: int
) -> tuple[Tensor, Tensor]:
    """Mean of the matte a little beyond an ear's outer edge, and for what share of the edge no part of the bare head lies there.

    side: 1 for the subject's left, −1 for the right.
    """
    ear = posed[model.in_regions("ear") & (model.mean[:, 0] * side > 0)]
    pixels, depth = camera.project(ear)
    face, _ = camera.project(posed[model.in_regions("nose")])
    outwards = torch.sign(pixels[:, 0].mean() - face[:, 0].mean())
    top, bottom = pixels[:, 1].amin(), pixels[:, 1].amax()
    # Neither the root of the lobe nor the upper end, over which hair often hangs.
    rows = torch.lerp(top, bottom, torch.linspace(0.25, 0.85, _ROWS))
    near = (pixels[None, :, 1] - rows[:, None]).abs() < 0.12 * (bottom - top)
    edge = torch.where(near, outwards * pixels[:, 0], -torch.inf).amax(1)
    beyond = outwards * (edge + _BESIDE * camera.K[0, 0] / depth.mean())
    pictures = torch.stack([matte, raster.covered.to(matte)], dim=-1)
    shown, head = sample_image(pictures, torch.stack([beyond, rows], dim=-1)).unbind(-1)
    return (shown * (1 - head)).sum() / (1 - head).sum().clamp(min=1e-6), (1 - head).mean()


def _skin_share(colors: Tensor, skin: Tensor, hair: Tensor) -> Tensor:
    """Share of colors [P, 3] that are nearer to a skin's than to a hair's, in whatever light; a half when there are none."""
    if len(colors) == 0:
        return torch.tensor(0.5)
    return (tint_distance(colors, skin) < tint_distance(colors, hair)).float().mean()
