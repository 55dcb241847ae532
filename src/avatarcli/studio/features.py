"""The small things that make a face: eyes, brows, lashes and teeth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avatarcli.geometry.colors import Color, encoded, linear
from avatarcli.studio.assets import StudioAssets
from avatarcli.studio.scene import BoundMesh, Material
from avatarcli.studio.skin import color_of

# Metres nearer to the camera than they are, so that they win over the skin they lie on.
_BROW_BIAS, _LASH_BIAS = 0.0012, 0.0006
# Where the two irises lie in the pictures of the eyes (u, v), and their radius. They are painted in purer colors than eyes have.
_IRISES, _IRIS_RADIUS, _IRIS_GREY = ((0.292, 0.708), (0.704, 0.296)), 0.118, 0.35
_LASH_COLOR: Color = (0.02, 0.015, 0.01)


@dataclass(frozen=True)
class Features:
    """eyes: name of a picture, `iris`: factor on its colors, `sclera` likewise off the iris; brows, lashes: names of
    meshes; brow_color, lash_color linear; brow_density: factor on their opacity; dentition: 0 or a variant's number;
    teeth: factor on their color.
    """

    eyes: str
    iris: Color
    sclera: Color
    brows: str
    brow_color: Color
    brow_density: float
    lashes: str
    lash_color: Color
    dentition: int
    teeth: Color


def draw_features(
    assets: StudioAssets, rng: np.random.Generator, *, years: float, female: bool, brown: float, hair: Color
) -> Features:
    """Choose them. brown in [0, 1]: how likely eyes are brown; hair: linear color of the roots."""
    eyes = tuple(assets.eyes)
    common = [name for name in eyes if name.startswith("brown")] or list(eyes)
    name = common[rng.integers(len(common))] if rng.random() < brown else eyes[rng.integers(len(eyes))]
    deep = float(np.exp(rng.normal(-0.5 * brown, 0.2)))
    age = float(np.clip((years - 25) / 50, 0, 1))
    lashes = tuple(assets.wearables["eyelashes"])
    brows = tuple(assets.wearables["eyebrows"])
    # Brows are darker than fair hair, and grey later than it.
    brow = np.minimum(np.array(hair) * rng.uniform(0.4, 0.8), 0.13) * np.exp(rng.normal(0, 0.08, 3))
    yellow = 0.25 * age * rng.random() + 0.1 * rng.random()
    shade = float(rng.uniform(0.75, 1.05))
    return Features(
        eyes=name,
        iris=_jitter(rng, deep, 0.08),
        sclera=(1.0, float(1 - 0.05 * rng.random()), float(1 - (0.04 + 0.1 * age) * rng.random())),
        brows=brows[rng.integers(len(brows))],
        brow_color=color_of(brow),
        brow_density=float(rng.uniform(0.85, 1.5)) * (1.0 - 0.2 * age * rng.random()),
        # The pack's first lashes are the short ones.
        lashes=lashes[rng.integers(1, len(lashes))] if female and len(lashes) > 1 else lashes[0],
        lash_color=_LASH_COLOR if female or brown > 0.5 else _jitter(rng, 0.05, 0.1),
        dentition=int(rng.integers(0, len(assets.head.teeth_variants) + 1)),
        teeth=(shade, shade * (1 - 0.12 * yellow), shade * (1 - 0.7 * yellow)),
    )


def brow_meshes(assets: StudioAssets, look: Features, neutral: Tensor) -> list[BoundMesh]:
    """Brows and lashes on a head [N, 3] at rest."""
    brow = assets.wearables["eyebrows"][look.brows]
    lash = assets.wearables["eyelashes"][look.lashes]
    return [
        brow.worn(
            neutral,
            Material.BROW,
            texture=_dyed(brow.texture, look.brow_color, look.brow_density),
            depth_bias=_BROW_BIAS,
        ),
        lash.worn(neutral, Material.LASH, texture=_dyed(lash.texture, look.lash_color, 1.0), depth_bias=_LASH_BIAS),
    ]


def eye_texture(assets: StudioAssets, look: Features) -> Tensor:
    """uint8 [S, S, 4]: iris and white colored apart."""
    picture = linear(assets.eyes[look.eyes].float() / 255)
    size = picture.shape[0]
    axis = (torch.arange(size, device=picture.device) + 0.5) / size
    away = torch.stack([(axis[None] - u).square() + (axis[:, None] - v).square() for u, v in _IRISES]).amin(0).sqrt()
    outside = ((away - _IRIS_RADIUS) * 120).sigmoid()[..., None]
    grey = picture.mean(-1, keepdim=True)
    picture = picture + (grey - picture) * (_IRIS_GREY * (1 - outside))
    iris = torch.tensor(look.iris, device=picture.device)
    sclera = torch.tensor(look.sclera, device=picture.device)
    return _opaque(encoded(picture * (iris * (1 - outside) + sclera * outside)))


def teeth_texture(assets: StudioAssets, look: Features) -> Tensor:
    """uint8 [S, S, 4]. Gums are left as they are: they are far redder than they are green."""
    picture = linear(assets.teeth.float() / 255)
    gum = ((picture[..., :1] / picture[..., 1:2].clamp(min=1e-3) - 1.6) * 4).sigmoid()
    shade = torch.tensor(look.teeth, device=picture.device)
    return _opaque(encoded(picture * (shade * (1 - gum) + gum)))


def tongue_texture(assets: StudioAssets) -> Tensor:
    return _opaque(assets.tongue.float() / 255)


def _dyed(texture: Tensor, color: Color, density: float) -> Tensor:
    """The alpha of a texture in one color."""
    paint = encoded(torch.tensor(color, device=texture.device)) * 255
    result = texture.clone()
    result[..., :3] = paint.round().to(torch.uint8)
    result[..., 3] = (texture[..., 3].float() * density).clamp(0, 255).round().to(torch.uint8)
    return result


def _opaque(picture: Tensor) -> Tensor:
    pixels = (picture.clamp(0, 1) * 255).round().to(torch.uint8)
    return torch.cat([pixels, torch.full_like(pixels[..., :1], 255)], dim=-1)


def _jitter(rng: np.random.Generator, level: float, spread: float) -> Color:
    return color_of(level * np.exp(rng.normal(0, spread, 3)))
