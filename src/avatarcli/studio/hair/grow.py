"""From a style to meshes on one person: strands or what stands for them, and the hair that lies on the scalp beneath."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from torch import Tensor

from avatarcli.studio.hair import coils
from avatarcli.studio.hair.colors import HairColor
from avatarcli.studio.hair.combing import zone_lengths
from avatarcli.studio.hair.meshes import Carrier, Part, join, shell
from avatarcli.studio.hair.space import Binding, Floats, smoothstep
from avatarcli.studio.hair.strands import strands
from avatarcli.studio.hair.styles import HairStyle
from avatarcli.studio.hair.textures import scalp_texture, strand_atlas
from avatarcli.studio.scene import BoundMesh, Material

_SHORT = 0.105  # metres: hair as short as this has no roots of another color than its tips


def grow(carrier: Carrier, style: HairStyle, color: HairColor) -> list[BoundMesh]:
    """The meshes of a style on one person."""
    rng = np.random.default_rng([style.seed, 1])
    if style.form == "bald":
        return []
    if style.form == "coils" or (not style.tie and max(style.top, style.front, style.back) < _SHORT):
        color = replace(color, turn=-1.0)
    if style.form == "cropped":
        return _cropped(carrier, style, color, rng)
    space = carrier.space
    parts = {"strands": strands, "coils": coils.coils, "locs": coils.locs, "rows": coils.rows, "knots": coils.knots}[
        style.form
    ](space, style, rng)
    texture = strand_atlas(style.texture, style.seed, color, rng)
    mesh = _together(carrier, parts, texture)
    return [*_under_layer(carrier, style, color, rng), mesh]


def _together(carrier: Carrier, parts: list[Part], texture: Tensor) -> BoundMesh:
    before = np.cumsum([0] + [len(b.index) for _, b in parts[:-1]])
    piece = join([p for p, _ in parts], [int(b) for b in before])
    roots = Binding(np.concatenate([b.index for _, b in parts]), np.concatenate([b.weight for _, b in parts]))
    return carrier.bound(piece, roots, texture, material=Material.HAIR)


def scalp_shell(
    carrier: Carrier,
    style: HairStyle,
    color: HairColor,
    rng: np.random.Generator,
    height: Floats,
    opacity: float,
    shade: float,
) -> BoundMesh:
    """One layer of hair around the scalp, `height` metres (one per node of the scalp's grid) above it."""
    space = carrier.space
    chart, points, normals, binding = space.scalp_grid
    shape = chart.shape[:2]
    depth = style.hairline.depth(points)
    lifted = points + normals * height.reshape(-1, 1)
    piece = shell(
        chart,
        lifted.reshape(*shape, 3),
        np.full(shape, shade, np.float32),
        height.reshape(shape),
        (depth + 2 * style.soft).reshape(shape),
    )
    texture = scalp_texture(
        space, style.hairline, color, rng, opacity=opacity, stubble=style.stubble, strip=style.strip, thin=style.thin
    )
    return carrier.bound(piece, binding, texture, material=Material.HAIR, depth_bias=0.0015)


def _under_layer(carrier: Carrier, style: HairStyle, color: HairColor, rng: np.random.Generator) -> list[BoundMesh]:
    points = carrier.space.scalp_grid[1]
    depth = style.hairline.depth(points)
    if style.form == "coils":
        full = coils.coil_height(points, depth, style)
        return [
            scalp_shell(carrier, style, color, rng, full * share + 0.0006, 1.0, 0.30 + 0.45 * share)
            for share in (0.1, 0.5, 0.86)
        ]
    thick = min(0.35 * style.volume, 0.004)
    long = np.clip(zone_lengths(style, points) / 0.03, 0.1, 1)
    height = 0.0005 + thick * smoothstep(0.0, 0.03, depth) * long
    return [scalp_shell(carrier, style, color, rng, height.astype(np.float32), style.opacity, 0.7)]


def _cropped(carrier: Carrier, style: HairStyle, color: HairColor, rng: np.random.Generator) -> list[BoundMesh]:
    depth = style.hairline.depth(carrier.space.scalp_grid[1])
    rise = style.top * (0.25 + 0.75 * smoothstep(0.0, 0.02, depth))
    layers = 4 if style.top > 0.0025 else 2
    meshes = []
    for layer in range(layers):
        share = layer / max(layers - 1, 1)
        height = (0.0004 + rise * share).astype(np.float32)
        opacity = style.opacity * (1 - 0.55 * share)
        meshes.append(scalp_shell(carrier, style, color, rng, height, opacity, 0.7 + 0.3 * share))
    return meshes
