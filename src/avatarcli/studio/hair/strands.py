"""Hair that falls, stands or is tied, as cards along strands."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from avatarcli.studio.hair import guides, ties
from avatarcli.studio.hair.combing import MARCH_STEPS, Zones, comb_flow, strand_lengths, uncut
from avatarcli.studio.hair.guides import Flow, Roots
from avatarcli.studio.hair.meshes import Part, cards
from avatarcli.studio.hair.space import Floats, HeadSpace, azimuth_elevation, smoothstep, unit
from avatarcli.studio.hair.styles import HairStyle
from avatarcli.studio.hair.textures import COLUMNS, DENSE, LOOSE, card_patch

# Where on a card nearly all of its hairs have begun: share of it, and metres at most.
_BORN, _BORN_LENGTH = 0.065, 0.008
_X = np.array([1, 0, 0], np.float32)


def strands(space: HeadSpace, style: HairStyle, rng: np.random.Generator) -> list[Part]:
    """Hair as cards along combed strands: the loose ones, and those that are tied, with what ties them."""
    roots = guides.scatter_roots(space, style.hairline, int(style.count), rng)
    roots = roots[_remaining(roots, style, rng)]
    parts: list[Part] = []
    free = np.ones(len(roots), bool)
    if style.tie:
        elevation = azimuth_elevation(roots.points)[1]
        tied = elevation > style.half
        knots = ties.place(space, style)
        parts += _tied(space, style, roots[tied], knots, rng)
        parts += ties.ornaments(space, style, knots, rng)
        free = ~tied
    if free.any():
        parts.append(_loose(space, style, roots[free], rng))
    return parts


def _remaining(roots: Roots, style: HairStyle, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    keep = np.abs(roots.points[:, 0]) < style.strip + rng.normal(0, 0.002, len(roots))
    if style.thin:
        zones = Zones.of(roots.points, 0.2)
        patchy = 0.75 + 0.25 * guides.smooth_noise(roots.points, 0.03, rng)[:, 0]
        keep &= rng.random(len(roots)) > style.thin * (zones.top + 0.8 * zones.front) * patchy
    return keep


def _loose(space: HeadSpace, style: HairStyle, roots: Roots, rng: np.random.Generator) -> Part:
    """Hair that falls or stands as it is combed."""
    zones = Zones.of(roots.points, style.fade)
    flow = comb_flow(style, roots, zones, space, rng)
    length = strand_lengths(style, roots, zones, rng)
    direction = roots.normals * (0.08 + 0.8 * np.reshape(flow.lift, (-1, 1))) + 0.8 * unit(
        flow.comb(roots.points, length * 0)
    )
    points = guides.march(space, roots.points, direction, length, MARCH_STEPS, flow)
    kept = uncut(points, style, rng)
    if style.open_face and not style.fringe:
        # Of hair that strays across the forehead hardly a strand goes on there, or it looks like ribbons.
        x, y, z = np.moveaxis(points, -1, 0)
        beside = np.maximum(np.maximum(0.058 - z, np.abs(x) - 0.055), y - 0.074)
        kept = np.where(rng.random((len(points), 1)) < 0.04, kept, np.minimum(kept, beside))
    points = guides.resample(points, guides.cut(kept), int(style.steps))
    return _dressed(space, style, roots, points, flow.layer, rng)


def _tied(space: HeadSpace, style: HairStyle, roots: Roots, knots: ties.Knots, rng: np.random.Generator) -> list[Part]:
    """Hair drawn to where it is tied."""
    target = knots.target(roots.points, style.part)
    noise = guides.smooth_noise(roots.points, 0.03, rng, 3) * style.disorder * 0.5
    side = np.tanh((roots.points[:, :1] - style.part) / 0.006)
    near_part = (
        np.exp(-(((roots.points[:, :1] - style.part) / 0.03) ** 2))
        * smoothstep(-0.03, 0.0, roots.points[:, 2])[:, None]
    )

    def comb(points: Floats, travelled: Floats) -> Floats:
        away = side * _X * (style.across * 2 * near_part) * np.exp(-travelled / 0.04)[:, None]
        return np.asarray(unit(target - points) + noise + away, np.float32)

    rank = rng.random(len(roots)).astype(np.float32)
    layer = (0.0015 + style.volume * rank) * (0.15 + 0.85 * smoothstep(0.0, 0.03, roots.depth))
    flow = Flow(
        comb, layer.astype(np.float32), hold=99.0, lift=style.lift * rank, gravity=0.0, bend=0.008, hug=style.hug or 0.3
    )
    reach = np.linalg.norm(target - roots.points, axis=1) * 1.5 + 0.02
    direction = roots.normals * 0.3 + unit(comb(roots.points, reach * 0))
    points = guides.march(space, roots.points, direction, reach.astype(np.float32), 2 * MARCH_STEPS, flow)
    gap = np.linalg.norm(points - target[:, None], axis=2) - style.tie_width
    share = np.minimum(guides.cut(gap), (gap.argmin(1) / (points.shape[1] - 1)).astype(np.float32) + 0.02)
    points = guides.resample(points, np.clip(share, 0.02, 1), int(style.steps))
    plain = replace(style, curl=style.curl * 0.25, clump=0.0)
    return [_dressed(space, plain, roots, points, layer.astype(np.float32), rng, last=ties.TIED_SHARE)]


def _dressed(
    space: HeadSpace,
    style: HairStyle,
    roots: Roots,
    points: Floats,
    layer: Floats,
    rng: np.random.Generator,
    *,
    last: float = 1.0,
) -> Part:
    """Cards along strands: gathered in locks, curled, kept out of the head, some of them loose.

    last: share of the hair's length at the strands' ends, less than 1 where it goes on in a knot.
    """
    n = len(points)
    points, phase = _gathered(style, roots, points, rng)
    normal = space.normal(points)
    if style.curl > 0:
        points = _curled(style, roots, points, normal, phase, rng)
    loose = rng.random(n) < style.flyaway
    stray = guides.lengths(points)[..., None] * rng.normal(0, 0.06, (n, 1, 3)) * loose[:, None, None]
    points = points + stray.astype(np.float32) * np.linspace(0, 1, points.shape[1], dtype=np.float32)[None, :, None]
    along = guides.lengths(points)
    fraction = along / np.maximum(along[:, -1:], 1e-6)
    least = 0.0012 + np.minimum(0.25 * layer[:, None], 0.003) * (fraction > 0.1)
    points = guides.push_out(space, points, least)
    columns = rng.integers(0, LOOSE, n)
    columns[rng.random(n) < 0.65] %= DENSE
    columns[loose] = rng.integers(LOOSE, COLUMNS, int(loose.sum()))
    # Lit from the top layer down: what lies deep, and every root, is dark.
    rank = layer / max(float(layer.max()), 1e-6)
    occlusion = 0.85 + (0.30 * rank[:, None] - 0.15) * smoothstep(0.0, 0.04, along)
    # Narrow at the root, where cards come out of others, and at the tip.
    width = (
        style.width
        * rng.uniform(0.7, 1.3, (n, 1))
        * (1 - 0.45 * fraction**2)
        * (0.5 + 0.5 * smoothstep(0.0, 0.012, along))
    )
    long_enough = along[:, -1] > 0.0035
    # Roots come out one by one over a share of the picture; of long hair that would be centimetres of bare crown.
    first = max(0.0, _BORN - _BORN_LENGTH / float(np.median(along[:, -1])))
    piece = cards(
        points[long_enough],
        normal[long_enough],
        width[long_enough].astype(np.float32),
        card_patch(columns[long_enough], first=first * last, last=last),
        occlusion[long_enough],
        along[long_enough],
        rng.normal(0, 0.14, int(long_enough.sum())).astype(np.float32),
    )
    return piece, roots.binding[long_enough]


def _gathered(
    style: HairStyle, roots: Roots, points: Floats, rng: np.random.Generator
) -> tuple[Floats, npt.NDArray[np.float64]]:
    """Strands [N, S, 3] gathered in locks towards their tips, and where their curls begin [N] (radians), alike in a lock."""
    n = len(points)
    if style.clump <= 0 or n <= 8:
        return points, rng.uniform(0, 2 * np.pi, n)
    centres = rng.choice(n, min(int(style.clumps), n // 2), replace=False)
    nearest = centres[cKDTree(roots.points[centres]).query(roots.points)[1]]
    along = np.linspace(0, 1, points.shape[1], dtype=np.float32)[None, :, None]
    pull = style.clump * rng.uniform(0.4, 1.0, (n, 1, 1)) * along**1.3
    points = points + (points[nearest] - points) * pull.astype(np.float32)
    return points, rng.uniform(0, 2 * np.pi, n)[nearest] + rng.normal(0, 0.5, n)


def _curled(
    style: HairStyle,
    roots: Roots,
    points: Floats,
    normal: Floats,
    phase: npt.NDArray[np.float64],
    rng: np.random.Generator,
) -> Floats:
    """Strands [N, S, 3] with the style's curls; normal [N, S, 3] of the head; phase [N]: as `_gathered` gives it."""
    n = len(points)
    radius = style.curl * rng.uniform(0.6, 1.25, n) * np.clip(guides.lengths(points)[:, -1] / 0.05, 0, 1)
    if style.roundness < 0.7:  # waves swing together, curls each on their own
        phase = guides.smooth_noise(roots.points, 0.05, rng)[:, 0] * 3 + rng.normal(0, 0.35, n)
    wavelength = style.wavelength * rng.uniform(0.85, 1.2, n)
    return guides.curl(
        points,
        normal,
        radius.astype(np.float32),
        wavelength.astype(np.float32),
        phase.astype(np.float32),
        roundness=style.roundness,
        onset=0.03,
    )
