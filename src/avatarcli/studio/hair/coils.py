"""Coiled hair, locs, plaits along the scalp and knots."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from avatarcli.studio.hair import guides
from avatarcli.studio.hair.combing import MARCH_STEPS, Zones, comb_flow, strand_lengths, uncut
from avatarcli.studio.hair.guides import Flow
from avatarcli.studio.hair.meshes import Part, cards, solid_core, tubes
from avatarcli.studio.hair.space import (
    CENTRE,
    Binding,
    Floats,
    HeadSpace,
    azimuth_elevation,
    smoothstep,
    square_to,
    unit,
)
from avatarcli.studio.hair.styles import HairStyle
from avatarcli.studio.hair.textures import COLUMNS, DENSE, card_patch, solid_patch


def coil_height(points: Floats, depth: Floats, style: HairStyle) -> Floats:
    """Metres [N] that coiled hair stands off points [N, 3] of the scalp, which lie `depth` metres [N] inside of the hairline."""
    elevation = azimuth_elevation(points)[1]
    low = smoothstep(45, 5, elevation)
    share = 1 - (1 - style.side_share) * low
    # The nape and the temples stay shorter, the front edge rises quickly.
    share = (
        share
        * (1 - 0.45 * smoothstep(-5, -45, elevation))
        * (0.12 + 0.88 * smoothstep(-0.002, 0.02 + 0.2 * style.top, depth))
    )
    lumps = 1 + 0.07 * guides.smooth_noise(points, 0.05, np.random.default_rng([style.seed, 5]))[:, 0]
    if style.part:
        lumps = lumps * (
            1 - 0.5 * np.exp(-(((points[:, 0] - style.part) / 0.012) ** 2)) * smoothstep(0.0, 0.03, points[:, 2])
        )
    return (style.top * share * lumps).astype(np.float32)


def coils(space: HeadSpace, style: HairStyle, rng: np.random.Generator) -> list[Part]:
    """Coiled hair: tufts of cards between the scalp and the height that the hair has there."""
    roots = guides.scatter_roots(space, style.hairline, int(style.count), rng)
    n = len(roots)
    height = coil_height(roots.points, roots.depth, style)
    out = unit(roots.normals + 0.5 * unit(roots.points - CENTRE))
    share = 1 - rng.uniform(0, 1, n) ** 2 * 0.45
    base = roots.points + out * (height * share)[:, None]
    return [tufts(space, style.width, roots.binding, base, out, height * share, share, rng)]


def tufts(
    space: HeadSpace,
    width: float,
    binding: Binding,
    base: Floats,
    out: Floats,
    height: Floats,
    share: Floats,
    rng: np.random.Generator,
) -> Part:
    """Small bent cards of coiled hair, standing about on a surface [N, 3]."""
    n = len(base)
    spin = unit(rng.normal(size=(n, 3)).astype(np.float32))
    flat = unit(spin - out * (spin * out).sum(1, keepdims=True))
    size = width * rng.uniform(0.7, 1.3, (n, 1)).astype(np.float32)
    tilt = rng.uniform(0.0, 0.75, (n, 1)).astype(np.float32)
    heading = unit(flat + out * tilt)
    middle = base + out * (0.1 * size)
    points = np.stack([base - heading * size * 0.6, middle, base + heading * size * 0.6], axis=1)
    points = guides.push_out(space, points, 0.001)
    facing = np.repeat((out + 0.35 * unit(rng.normal(size=(n, 3))).astype(np.float32))[:, None], 3, axis=1)
    breadth = np.repeat(size, 3, axis=1) * np.array([0.9, 1.1, 0.8], np.float32)
    occlusion = np.repeat((0.35 + 0.65 * np.clip((share[:, None] - 0.5) * 2, 0, 1)), 3, axis=1)
    along = np.repeat(height[:, None], 3, axis=1).astype(np.float32)
    columns = rng.integers(0, COLUMNS, n)
    roll = np.zeros(n, np.float32)
    return cards(points, facing, breadth, card_patch(columns), occlusion.astype(np.float32), along, roll), binding


def _ropes(
    space: HeadSpace,
    style: HairStyle,
    binding: Binding,
    points: Floats,
    rng: np.random.Generator,
    *,
    sides: int,
    flatness: float = 1.0,
) -> Part:
    """Tubes of twisted hair along strands."""
    n, s = points.shape[:2]
    along = guides.lengths(points)
    fraction = along / np.maximum(along[:, -1:], 1e-6)
    radius = style.thickness * rng.uniform(0.8, 1.2, (n, 1)) * (1 - 0.35 * fraction**3)
    radius = radius * np.clip((1 - fraction) * 12, 0.15, 1)
    occlusion = (0.55 + 0.45 * np.clip(along / 0.06, 0, 1)) * rng.uniform(0.75, 1.0, (n, 1))
    piece = tubes(
        points,
        space.normal(points),
        radius.astype(np.float32),
        solid_patch(rng.integers(0, DENSE, (n,))),
        occlusion.astype(np.float32),
        along,
        sides=sides,
        period=max(1, min(s - 1, 6)),
        flatness=flatness,
    )
    return piece, binding


def locs(space: HeadSpace, style: HairStyle, rng: np.random.Generator) -> list[Part]:
    """Hair twisted to ropes, which fall from the scalp."""
    roots = guides.scatter_roots(space, style.hairline, int(style.count), rng)
    zones = Zones.of(roots.points, style.fade)
    even = replace(style, front=style.top, side=style.top * 0.9, back=style.top * 0.85, ragged=0.2)
    flow = comb_flow(even, roots, zones, space, rng)
    length = strand_lengths(even, roots, zones, rng)
    direction = roots.normals + 0.5 * unit(flow.comb(roots.points, length * 0))
    points = guides.march(space, roots.points, direction, length, MARCH_STEPS, flow)
    points = guides.resample(points, guides.cut(uncut(points, even, rng)), int(style.steps))
    sway = guides.lengths(points)[..., None] * 0.05 * rng.normal(size=(len(roots), 1, 3))
    points = guides.push_out(space, points + sway.astype(np.float32), style.thickness * 0.8)
    return [_ropes(space, style, roots.binding, points, rng, sides=5)]


def rows(space: HeadSpace, style: HairStyle, rng: np.random.Generator) -> list[Part]:
    """Plaits that lie on the scalp from the front to the nape, and hang on below it."""
    count, samples = int(style.count), 96
    across = np.linspace(-0.60, 0.60, count, dtype=np.float32)[:, None]
    down = np.linspace(0.75, -0.85, samples, dtype=np.float32)[None]
    chart = np.stack([across * np.sqrt(np.clip(1 - (down / 1.05) ** 2, 0.1, 1)) + 0 * down, down + 0 * across], axis=-1)
    points = space.scalp(chart.reshape(-1, 2))[0].reshape(count, samples, 3)
    inside = style.hairline.depth(points) > 0.003
    first, last = inside.argmax(1), samples - 1 - inside[:, ::-1].argmax(1)
    place = first[:, None] + (last - first)[:, None] * np.linspace(0, 1, 40)[None]
    rows = np.arange(count)[:, None]
    low = np.clip(place.astype(np.int64), 0, samples - 2)
    share = (place - low)[..., None].astype(np.float32)
    lines = points[rows, low] * (1 - share) + points[rows, low + 1] * share
    picked = chart[rows, np.rint(place).astype(np.int64)].reshape(-1, 2)
    lines = lines + space.normal(lines) * style.thickness * 0.25
    binding = space.scalp(picked)[1]
    piece, _ = _ropes(space, style, binding, lines, rng, sides=7, flatness=0.75)
    # Each point of a row is carried by the scalp beneath it.
    piece = replace(piece, root=np.repeat(np.arange(count * 40), 7), along=np.zeros_like(piece.along))
    parts: list[Part] = [(piece, binding)]
    if style.tail > 0.03:
        ends = lines[:, -1]
        flow = Flow(lambda p, t: 0 * p, np.full(count, 0.006, np.float32), lift=0.2, gravity=1.0, fall=0.01)
        length = (style.tail * rng.uniform(0.85, 1.1, count)).astype(np.float32)
        tails = guides.march(space, ends, lines[:, -1] - lines[:, -2], length, 18, flow)
        parts.append(_ropes(space, style, binding[np.arange(count) * 40 + 39], tails, rng, sides=6))
    return parts


def knots(space: HeadSpace, style: HairStyle, rng: np.random.Generator) -> list[Part]:
    """Small coiled knots all over the head."""
    roots = guides.scatter_roots(space, replace(style.hairline, soft=0.02), int(style.count), rng)
    n, s = len(roots), 34
    u = np.linspace(0, 1, s, dtype=np.float32)
    first, second = square_to(roots.normals)
    turn = rng.uniform(0, 2 * np.pi, (n, 1)) + 2 * np.pi * 3.2 * u
    reach = style.knot * (0.75 - 0.6 * u)
    lift = style.knot * (0.1 + 1.15 * u)
    points = roots.points[:, None] + roots.normals[:, None] * lift[None, :, None]
    points = points + reach[None, :, None] * (
        np.cos(turn)[..., None] * first[:, None] + np.sin(turn)[..., None] * second[:, None]
    )
    radius = np.broadcast_to(style.knot * (0.36 - 0.16 * u), (n, s)).astype(np.float32)
    shade = np.broadcast_to(0.55 + 0.45 * u, (n, s)).astype(np.float32)
    out = np.repeat(roots.normals[:, None], s, axis=1)
    rope = tubes(
        points.astype(np.float32),
        out,
        radius,
        solid_patch(rng.integers(0, DENSE, (n,))),
        shade,
        np.full((n, s), 0.02, np.float32),
        sides=7,
        period=6,
    )
    core = solid_core(
        roots.points + roots.normals * np.float32(style.knot * 0.35),
        roots.normals,
        style.knot * 0.7,
        0.8,
        solid_patch(rng.integers(0, DENSE, (n,))),
    )
    return [(core, roots.binding), (rope, roots.binding)]
