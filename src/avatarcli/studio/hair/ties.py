"""Tied hair: where it is tied, and what hangs or sits there: tails, buns, rings, braids, a braid around the head, puffs, knots."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avatarcli.studio.hair import guides
from avatarcli.studio.hair.coils import tufts
from avatarcli.studio.hair.guides import Flow
from avatarcli.studio.hair.meshes import Part, Piece, cards, solid_core, tubes
from avatarcli.studio.hair.space import (
    CENTRE,
    Binding,
    Floats,
    HeadSpace,
    Ints,
    direction_to_chart,
    smoothstep,
    square_to,
    unit,
)
from avatarcli.studio.hair.styles import HairStyle
from avatarcli.studio.hair.textures import COLUMNS, DENSE, LOOSE, card_patch, solid_patch

_TAIL_CARDS = 300  # for all tails of a head together
_BUN_CARDS = 320

TIED_SHARE = 0.32
"""So much of the length of tied hair lies on the head."""


@dataclass(frozen=True)
class Knots:
    """Where hair is tied. points, normals [K, 3]; binding of the scalp below; along a halo many, of which a strand
    takes the nearest.
    """

    points: Floats
    normals: Floats
    binding: Binding
    halo: bool

    def target(self, roots: Floats, part: float) -> Floats:
        """The knot [N, 3] of each root [N, 3]: of its side of the parting, or of a halo the nearest."""
        if self.halo:
            return self.points[((roots[:, None] - self.points[None]) ** 2).sum(-1).argmin(1)]
        if len(self.points) == 1:
            return np.repeat(self.points, len(roots), axis=0)
        return self.points[np.where(roots[:, 0] > part, 0, 1)]


def place(space: HeadSpace, style: HairStyle) -> Knots:
    """The knots of a style."""
    if style.tie == "halo":
        turn = np.linspace(-np.pi, np.pi, 72, endpoint=False, dtype=np.float32)
        elevation = np.radians(37 + 15 * np.cos(turn))  # higher in front, lower behind
    else:
        turns = [style.tie_turn, -style.tie_turn] if style.ties > 1 else [style.tie_turn]
        turn = np.radians(180 - np.array(turns, np.float32))
        elevation = np.full(len(turn), np.radians(style.tie_height), np.float32)
    flat = np.cos(elevation)
    direction = np.stack([np.sin(turn) * flat, np.sin(elevation), np.cos(turn) * flat], axis=-1).astype(np.float32)
    points, binding = space.scalp(direction_to_chart(direction))
    normals = unit(0.5 * space.normal(points) + 0.5 * unit(points - CENTRE))
    height = 0.5 * style.tail_width if style.tie == "halo" else 0.006 + 0.7 * style.volume
    return Knots(points + normals * np.float32(height), normals, binding, style.tie == "halo")


def ornaments(space: HeadSpace, style: HairStyle, knots: Knots, rng: np.random.Generator) -> list[Part]:
    """What is made of the tied ends."""
    build = {"tail": _tails, "braid": _braids, "bun": _buns, "ring": _rings, "halo": _halo, "puff": _puffs}[style.tie]
    return build(space, style, knots, rng)


def _hang(space: HeadSpace, style: HairStyle, knots: Knots, thick: float, steps: int) -> Floats:
    """Middle lines [K, steps + 1, 3] of what hangs from the knots."""
    count = len(knots.points)
    flow = Flow(
        lambda p, t: 0 * p,
        np.full(count, thick, np.float32),
        lift=0.5,
        lift_length=0.03,
        gravity=1.2,
        fall=0.03,
        bend=0.025,
    )
    length = np.full(count, style.tail, np.float32)
    return guides.march(space, knots.points, knots.normals, length, steps, flow)


def _tails(space: HeadSpace, style: HairStyle, knots: Knots, rng: np.random.Generator) -> list[Part]:
    curly = style.texture == "curly"
    steps = 22 if curly else 14
    lines = _hang(space, style, knots, 0.5 * style.tail_width, steps)
    count = _TAIL_CARDS if not curly else 190
    strand = np.arange(count) % len(lines)
    widths = np.array([style.tie_width, style.tail_width])
    return [_bundle(space, style, lines[strand], knots.binding[strand], widths, rng, card_width=0.009, ragged=0.3)]


def _bundle(
    space: HeadSpace,
    style: HairStyle,
    lines: Floats,
    binding: Binding,
    radii: Floats,
    rng: np.random.Generator,
    *,
    card_width: float,
    ragged: float,
) -> Part:
    """Cards around middle lines [N, S, 3] (one line for each card), from the first radius to the second and together again."""
    n, s = lines.shape[:2]
    _, side, up = guides.frames(lines, np.broadcast_to(np.array([0.2, 0.3, -1.0], np.float32), lines.shape))
    u = np.linspace(0, 1, s, dtype=np.float32)
    profile = radii[0] + (radii[1] - radii[0]) * smoothstep(0.0, 0.35, u)
    profile = profile * (1 - 0.5 * smoothstep(0.5, 1.0, u))
    angle, reach = rng.uniform(0, 2 * np.pi, (n,)), np.sqrt(rng.uniform(0.05, 1, (n,)))
    swirl = angle[:, None] + rng.normal(0, 0.3, (n, 1)) * u
    spread = (reach[:, None] * profile)[..., None]
    out = np.cos(swirl)[..., None] * side + np.sin(swirl)[..., None] * up
    points = (lines + out * spread).astype(np.float32)
    points = guides.resample(points, (1 - ragged * rng.uniform(0, 1, (n,)) ** 1.5).astype(np.float32), s)
    if style.curl > 0:
        phase = (
            rng.uniform(0, 2 * np.pi, (n,))
            if style.roundness > 0.7
            else guides.smooth_noise(points[:, 0], 0.02, rng)[:, 0] * 2
        )
        points = guides.curl(
            points,
            out.astype(np.float32),
            (style.curl * rng.uniform(0.6, 1.2, (n,))).astype(np.float32),
            (style.wavelength * rng.uniform(0.85, 1.2, (n,))).astype(np.float32),
            phase.astype(np.float32),
            roundness=style.roundness,
            onset=0.03,
        )
    stray = rng.normal(0, 1, (n, 1, 3)) * (0.004 + 0.03 * (rng.random((n, 1, 1)) < style.flyaway))
    points = points + (stray * u[None, :, None] ** 1.5).astype(np.float32)
    points = guides.push_out(space, points, 0.002)
    occlusion = (0.35 + 0.65 * reach[:, None] ** 1.5) * (0.7 + 0.3 * smoothstep(0.0, 0.15, u))
    width = card_width * rng.uniform(0.7, 1.3, (n, 1)) * (1 - 0.4 * u**2)
    piece = cards(
        points,
        out.astype(np.float32),
        width.astype(np.float32),
        card_patch(rng.integers(0, LOOSE, (n,)), first=TIED_SHARE),
        occlusion.astype(np.float32),
        guides.lengths(points) + 0.02,
        rng.normal(0, 0.4, (n,)).astype(np.float32),
    )
    return piece, binding


def _plaits(
    lines: Floats, out: Floats, thick: Floats, binding: Binding, owner: Ints, rng: np.random.Generator
) -> list[Part]:
    """Three strands that cross along middle lines [K, S, 3]; thick [K, S]: half the braid's width; owner [K]: rows of `binding`."""
    k, s = lines.shape[:2]
    _, side, up = guides.frames(lines, out)
    travelled = guides.lengths(lines)
    pitch = 4.2 * thick.mean()
    parts: list[Part] = []
    for strand in range(3):
        angle = travelled * (2 * np.pi / pitch) + strand * 2 * np.pi / 3
        across = 0.58 * thick * np.sin(angle)
        above = 0.42 * thick * np.sin(2 * angle)
        points = (lines + side * across[..., None] + up * above[..., None]).astype(np.float32)
        shade = 0.62 + 0.38 * np.clip(above / (0.42 * thick), -1, 1)
        piece = tubes(
            points,
            out,
            (0.52 * thick).astype(np.float32),
            solid_patch(rng.integers(0, DENSE, (k,))),
            shade.astype(np.float32),
            travelled + 0.02,
            sides=7,
            period=8,
        )
        parts.append((piece, binding[owner]))
        # Hairs that lie on the strand and stick out of it a little.
        fuzz = np.repeat(np.arange(k), 26)
        drift = rng.normal(0, 0.25, (len(fuzz), 1, 3)) * thick[fuzz][..., None] * 1.0
        angle_out = rng.uniform(0, 2 * np.pi, (len(fuzz), 1, 1))
        ring = np.cos(angle_out) * side[fuzz] + np.sin(angle_out) * up[fuzz]
        body = points[fuzz] + ring * (0.55 * thick[fuzz][..., None]) + drift * 0.25
        begin = rng.integers(0, max(1, s - 14), len(fuzz))
        pick = begin[:, None] + np.arange(min(12, s))[None]
        body = body[np.arange(len(fuzz))[:, None], pick].astype(np.float32)
        facing = ring[np.arange(len(fuzz))[:, None], pick].astype(np.float32)
        fuzzy = cards(
            body,
            facing,
            np.full(body.shape[:2], 0.006, np.float32),
            card_patch(rng.integers(DENSE, COLUMNS, len(fuzz)), first=TIED_SHARE),
            shade[fuzz][np.arange(len(fuzz))[:, None], pick].astype(np.float32),
            (travelled[fuzz][np.arange(len(fuzz))[:, None], pick] + 0.02).astype(np.float32),
            rng.normal(0, 0.3, len(fuzz)).astype(np.float32),
        )
        parts.append((fuzzy, binding[owner[fuzz]]))
    return parts


def _braids(space: HeadSpace, style: HairStyle, knots: Knots, rng: np.random.Generator) -> list[Part]:
    steps = 64
    lines = _hang(space, style, knots, style.tail_width * 0.9, steps)
    count = len(lines)
    u = np.linspace(0, 1, steps + 1, dtype=np.float32)
    thick = np.repeat((style.tail_width * 0.85 * (1 - 0.45 * u))[None], count, axis=0)
    out = space.normal(lines)
    # The outside of a hanging braid is where the knot points, turned down with the braid.
    out = unit(out + 0.5 * knots.normals[:, None])
    parts = _plaits(lines, out, thick.astype(np.float32), knots.binding, np.arange(count), rng)
    # The loose end below the last crossing.
    owner = np.arange(70) % count
    ends = np.repeat(lines[:, -1:], 8, axis=1)
    drop = np.linspace(-0.01, style.tail * 0.22, 8, dtype=np.float32)[None, :, None]
    ends = ends + unit(lines[:, -1] - lines[:, -4])[:, None] * drop
    radii = np.array([style.tail_width * 0.35, style.tail_width * 0.6])
    parts.append(
        _bundle(
            space, style, ends[owner].astype(np.float32), knots.binding[owner], radii, rng, card_width=0.007, ragged=0.5
        )
    )
    return parts


def _halo(space: HeadSpace, style: HairStyle, knots: Knots, rng: np.random.Generator) -> list[Part]:
    """A braid laid around the head; its pieces are carried by the scalp below each of them."""
    closed = np.concatenate([knots.points, knots.points[:2]])[None]
    line = guides.resample(closed.astype(np.float32), np.ones(1, np.float32), 220)
    line = guides.push_out(space, line, style.tail_width * 0.6)
    out = unit(space.normal(line) + 0.4 * unit(line - CENTRE))
    thick = np.full((1, line.shape[1]), style.tail_width * 0.8, np.float32)
    parts = []
    for piece, _ in _plaits(line, out, thick, knots.binding, np.zeros(1, np.int64), rng):
        nearest = ((piece.points[:, None] - knots.points[None]) ** 2).sum(-1).argmin(1)
        still = np.zeros_like(piece.along)
        parts.append((Piece(piece.points, piece.faces, piece.uv, nearest, still, piece.occlusion), knots.binding))
    return parts


def _buns(space: HeadSpace, style: HairStyle, knots: Knots, rng: np.random.Generator) -> list[Part]:
    """Hair wound around a ball."""
    k = len(knots.points)
    squash = rng.uniform(0.68, 0.92)
    centre = knots.points + knots.normals * np.float32(style.knot * squash * (0.75 if style.knot < 0.042 else 0.45))
    n, s = _BUN_CARDS, 15
    owner = np.arange(n) % k
    axis = knots.normals[owner]
    lean = unit(axis + rng.normal(0, 0.15 + 0.75 * style.mess, (n, 3))).astype(np.float32)
    first, second = square_to(lean)
    u = np.linspace(0, 1, s, dtype=np.float32)
    start, sweep = rng.uniform(0, 2 * np.pi, (n, 1)), rng.uniform(1.6, 3.8, (n, 1))
    turn = start + sweep * u
    rise = np.radians(rng.uniform(-55, 65, (n, 1))) + np.radians(rng.normal(0, 14 + 30 * style.mess, (n, 1))) * (
        u - 0.5
    )
    ball = np.cos(rise)[..., None] * (
        np.cos(turn)[..., None] * first[:, None] + np.sin(turn)[..., None] * second[:, None]
    )
    ball = ball + np.sin(rise)[..., None] * lean[:, None]
    ball = ball - axis[:, None] * ((1 - squash) * (ball * axis[:, None]).sum(-1, keepdims=True))
    rank = rng.uniform(0, 1, (n, 1, 1))
    lumps = 1 + (0.05 + 0.16 * style.mess) * guides.smooth_noise((ball * 0.03).astype(np.float32), 0.02, rng)
    points = centre[owner][:, None] + ball * (style.knot * (0.84 + 0.2 * rank) * lumps)
    outward = unit(points - centre[owner][:, None]).astype(np.float32)
    if style.mess > 0.4:
        points = guides.curl(
            points.astype(np.float32),
            outward,
            np.full(n, 0.004, np.float32),
            np.full(n, 0.03, np.float32),
            rng.uniform(0, 6.3, n).astype(np.float32),
            roundness=0.8,
            onset=0.02,
        )
        stray = (rng.random((n, 1, 1)) < 0.3 * style.mess) * rng.uniform(0, 0.9, (n, 1, 1)) * style.knot
        points = points + outward * stray * u[None, :, None] ** 3
    points = guides.push_out(space, points.astype(np.float32), 0.001)
    occlusion = np.broadcast_to(0.55 + 0.45 * rank[..., 0], points.shape[:2])
    width = np.broadcast_to(0.0085 * rng.uniform(0.7, 1.3, (n, 1)), points.shape[:2])
    wound = cards(
        points,
        outward,
        width.astype(np.float32),
        card_patch(rng.integers(0, LOOSE, (n,)), first=TIED_SHARE),
        occlusion.astype(np.float32),
        np.full(points.shape[:2], 0.03, np.float32),
        rng.normal(0, 0.25, n).astype(np.float32),
    )
    return [
        (
            solid_core(centre, knots.normals, style.knot * 0.86, squash, solid_patch(rng.integers(0, DENSE, (k,)))),
            knots.binding,
        ),
        (wound, knots.binding[owner]),
    ]


def _rings(space: HeadSpace, style: HairStyle, knots: Knots, rng: np.random.Generator) -> list[Part]:
    """A smooth ring of hair, as dancers wear it."""
    n, s = 260, 14
    owner = np.arange(n) % len(knots.points)
    axis = knots.normals[owner][:, None]
    first, second = square_to(axis)
    u = np.linspace(0, 1, s, dtype=np.float32)
    small, large = 0.46 * style.knot, 0.62 * style.knot
    turn = rng.uniform(0, 2 * np.pi, (n, 1)) + 0.5 * u
    wind = -0.6 * np.pi + 2.2 * np.pi * u
    round_out = np.cos(turn)[..., None] * first + np.sin(turn)[..., None] * second
    rank = rng.uniform(0.86, 1.03, (n, 1, 1))
    tube = np.cos(wind)[None, :, None] * round_out + np.sin(wind)[None, :, None] * axis
    centre = (knots.points + knots.normals * np.float32(0.8 * small))[owner][:, None]
    points = guides.push_out(space, (centre + round_out * large + tube * small * rank).astype(np.float32), 0.001)
    occlusion = np.repeat(0.6 + 0.4 * (rank[..., 0] > 0.93), s, axis=1) * (0.6 + 0.4 * np.sin(wind).clip(0, 1))
    wound = cards(
        points,
        tube.astype(np.float32),
        np.full((n, s), 0.008, np.float32),
        card_patch(rng.integers(0, DENSE, (n,)), first=TIED_SHARE),
        occlusion.astype(np.float32),
        np.full((n, s), 0.03, np.float32),
        rng.normal(0, 0.15, n).astype(np.float32),
    )
    core = solid_core(
        knots.points + knots.normals * np.float32(0.8 * small),
        knots.normals,
        style.knot * 0.8,
        0.45,
        solid_patch(rng.integers(0, DENSE, len(knots.points))),
    )
    return [(core, knots.binding), (wound, knots.binding[owner])]


def _puffs(space: HeadSpace, style: HairStyle, knots: Knots, rng: np.random.Generator) -> list[Part]:
    """Balls of coiled hair."""
    n = 1100
    owner = np.arange(n) % len(knots.points)
    centre = knots.points + knots.normals * np.float32(style.knot * 0.75)
    out = unit(rng.normal(size=(n, 3)).astype(np.float32))
    share = (1 - 0.4 * rng.uniform(0, 1, n) ** 2).astype(np.float32)
    lumps = 1 + 0.08 * guides.smooth_noise(out * 0.05, 0.04, rng)
    base = centre[owner] + out * (style.knot * share)[:, None] * lumps
    cover = tufts(
        space, 0.018, knots.binding[owner], base.astype(np.float32), out, np.full(n, 0.03, np.float32), share, rng
    )
    return [
        (
            solid_core(
                centre, knots.normals, style.knot * 0.86, 0.95, solid_patch(rng.integers(0, DENSE, len(knots.points)))
            ),
            knots.binding,
        ),
        cover,
    ]
