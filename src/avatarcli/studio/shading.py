"""What color a visible point of a surface sends to the camera. Linear light; all points of a material group at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.geometry.colors import linear
from avatarcli.studio import materials
from avatarcli.studio.lighting import harmonics
from avatarcli.studio.scene import Light
from avatarcli.studio.textures import ALPHA_RANGE

# Highlights of strands: (tilt towards the root in units of the normal, exponent, strength). The first is reflected off the surface
# and white, the second passed through the strand and colored by it (Marschner et al. 2003; as two lobes, Scheuermann 2004).
_MIRRORED = (-0.10, 70.0, 0.035)
_TRANSMITTED = (0.14, 14.0, 0.11)
# Radians: lamps are at least this wide in mirrors. A portrait's light has a soft box or a window about it, and the glint in an eye
# that it makes, a millimetre wide, is what makes the eye alive.
_NARROWEST = 0.12


@dataclass(frozen=True)
class Points:
    """n visible points. albedo [n, 4]: the texture, sRGB-encoded, in [0, 1]; finish [n, 16]: rows of `materials.finishes`;
    position, normal, tangent [n, 3] (normal and tangent of any length); irradiance [n, 3]; openness [n]; visible [n, P];
    eye [n, 3]: the camera's place."""

    albedo: Tensor
    finish: Tensor
    position: Tensor
    normal: Tensor
    tangent: Tensor
    irradiance: Tensor
    openness: Tensor
    visible: Tensor
    eye: Tensor


@dataclass(frozen=True)
class _Lamp:
    towards: Tensor  # [n, 3] unit
    strength: Tensor  # [n, 3] irradiance on a surface that faces it
    spread: Tensor  # [n] radians: half the angle that it spans
    seen: Tensor  # [n]


def tone(light: Tensor) -> Tensor:
    """A camera's shoulder: dark and middle values stay, highlights are pressed together (an extended Reinhard curve)."""
    return light * (1 + light / 16) / (1 + 0.35 * light)


def facing_normal(points: Points, view: Tensor) -> Tensor:
    """Unit normals [n, 3] on the side that the camera sees."""
    normal = functional.normalize(points.normal, dim=-1)
    return torch.where((normal * view).sum(-1, keepdim=True) < 0, -normal, normal)


def shade_surfaces(points: Points, light: Light) -> tuple[Tensor, Tensor]:
    """Radiance and normal [n, 3] of skin, eyes, mouths, cloth and frames."""
    view = functional.normalize(points.eye - points.position, dim=-1)
    normal = facing_normal(points, view)
    reflectance, broad, share, narrow, narrow_share, sheen = points.finish[
        :, materials.REFLECTANCE : materials.STRAND
    ].unbind(-1)
    gloss = torch.where(points.finish[:, materials.GLOSSY] > 0, points.albedo[:, 3] * (255 / 128), 1.0)
    facing = (normal * view).sum(-1).clamp(min=0)
    radiance = linear(points.albedo[:, :3]) * points.irradiance * (1 / math.pi)
    for lamp in _lamps(points, light):
        half = functional.normalize(lamp.towards + view, dim=-1)
        cosine = (normal * half).sum(-1).clamp(min=0)
        lobes = share * _lobe(cosine, broad) + narrow_share * _lobe(cosine, narrow)
        fresnel = _fresnel(reflectance, (half * view).sum(-1))
        lit = (normal * lamp.towards).sum(-1).clamp(min=0)
        radiance = radiance + lamp.strength * (lobes * fresnel * lit * lamp.seen * points.openness * gloss)[:, None]
    mirrored = _surroundings(light, normal, view, facing)
    grazing = reflectance * 0.6 + sheen * (1 - facing) ** 5
    # What is in a hollow mirrors the hollow.
    return radiance + mirrored * (grazing * points.openness.square() * gloss)[:, None], normal


def shade_strands(points: Points, light: Light) -> tuple[Tensor, Tensor]:
    """Radiance and normal [n, 3] of hair, brows, lashes and beards."""
    view = functional.normalize(points.eye - points.position, dim=-1)
    normal = facing_normal(points, view)
    tangent = functional.normalize(points.tangent, dim=-1)
    color = linear(points.albedo[:, :3])
    radiance = color * points.irradiance * (1 / math.pi)
    shine = points.finish[:, materials.STRAND] * points.openness.sqrt()
    # Strands are not parallel: their textures' bright and dark lines stand for tilts.
    tilt = 0.5 * (points.albedo[:, :3].mean(-1) - 0.35)
    hue = color / color.amax(-1, keepdim=True).clamp(min=1e-3)
    tint = hue * color.amax(-1, keepdim=True).clamp(min=1e-4).sqrt()
    for lamp in _lamps(points, light):
        half = functional.normalize(lamp.towards + view, dim=-1)
        wrapped = ((normal * lamp.towards).sum(-1) * 0.6 + 0.4).clamp(min=0)
        lit = shine * wrapped * lamp.seen
        lobes = []
        for shift, exponent, strength in (_MIRRORED, _TRANSMITTED):
            leaning = functional.normalize(tangent + (shift + tilt)[:, None] * normal, dim=-1)
            sine = (1 - (leaning * half).sum(-1).square()).clamp(min=1e-6).sqrt()
            lobes.append((strength * lit * sine**exponent)[:, None])
        radiance = radiance + lamp.strength * (lobes[0] + lobes[1] * tint)
    return radiance, normal


def shade_sheets(points: Points, light: Light) -> tuple[Tensor, Tensor]:
    """Radiance [n, 3] of brows and lashes, times their opacity, and that opacity [n]."""
    low, high = ALPHA_RANGE
    opacity = ((points.albedo[:, 3] - low) / (high - low)).clamp(0, 1)
    return shade_strands(points, light)[0] * opacity[:, None], opacity


def shade_clear(points: Points, light: Light) -> tuple[Tensor, Tensor]:
    """Radiance [n, 3] that corneas and lenses add, and how much [n] of what is behind them they hide."""
    view = functional.normalize(points.eye - points.position, dim=-1)
    normal = facing_normal(points, view)
    reflectance, sheen = points.finish[:, materials.REFLECTANCE], points.finish[:, materials.SHEEN]
    facing = (normal * view).sum(-1).clamp(min=0)
    fresnel = _fresnel(reflectance, facing)
    opacity = points.finish[:, materials.TINTED] * points.albedo[:, 3]
    radiance = linear(points.albedo[:, :3]) * points.irradiance * (opacity / math.pi)[:, None]
    away = 2 * facing[:, None] * normal - view
    for lamp in _lamps(points, light):
        angle = torch.arccos((away * lamp.towards).sum(-1).clamp(-0.9999, 0.9999))
        disc = ((1.25 * lamp.spread - angle) / (0.5 * lamp.spread)).clamp(0, 1)
        # A lamp that spreads its light over a small disc is bright there; what a camera makes of it is white either way.
        bright = (fresnel * disc * lamp.seen / (math.pi * lamp.spread.square())).clamp(max=1.5)
        radiance = radiance + lamp.strength * bright[:, None]
    mirrored = _surroundings(light, normal, view, facing)
    return radiance + mirrored * (fresnel * sheen * points.openness)[:, None], opacity


def _lamps(points: Points, light: Light) -> list[_Lamp]:
    lamps = []
    for p in range(len(light.position)):
        way = light.position[p] - points.position
        distance = way.norm(dim=-1, keepdim=True)
        strength = light.color[p] * (light.position[p].norm() / distance).square()
        spread = (light.size[p] / distance[:, 0]).clamp(min=_NARROWEST)
        lamps.append(_Lamp(way / distance, strength, spread, points.visible[:, p]))
    return lamps


def _lobe(cosine: Tensor, exponent: Tensor) -> Tensor:
    """A normalised Blinn-Phong highlight [n]: what it sends sums to what it gets, whatever the exponent."""
    return (exponent + 8) * (1 / (8 * math.pi)) * cosine**exponent


def _fresnel(reflectance: Tensor, cosine: Tensor) -> Tensor:
    """Schlick's approximation [n]."""
    return reflectance + (1 - reflectance) * (1 - cosine.clamp(0, 1)) ** 5


def _surroundings(light: Light, normal: Tensor, view: Tensor, facing: Tensor) -> Tensor:
    """Radiance [n, 3] that arrives from where a mirror looks."""
    away = 2 * facing[:, None] * normal - view
    return (harmonics(away) @ light.ambient).clamp(min=0)
