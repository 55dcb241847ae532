"""How hair lies: the zones of the head, how long hair is in each, where it is combed, where it is cut."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avatarcli.studio.hair import guides
from avatarcli.studio.hair.guides import Flow, Roots
from avatarcli.studio.hair.space import WHORL, Floats, HeadSpace, azimuth_elevation, smoothstep, unit
from avatarcli.studio.hair.styles import HairStyle

MARCH_STEPS = 16
"""Points on a strand while it is grown."""
_FRINGE_CLING = 0.5
_X, _Y, _Z = np.eye(3, dtype=np.float32)


@dataclass(frozen=True)
class Zones:
    """Shares [N] of the top, front, sides and back that roots belong to; they sum to one."""

    top: Floats
    front: Floats
    side: Floats
    back: Floats

    @classmethod
    def of(cls, points: Floats, fade: float) -> Zones:
        """The zones of points [N, 3] (metres) of the average scalp.

        fade: from 0, where the top goes over softly into sides and back, to 1, where it ends sharply.
        """
        azimuth, elevation = azimuth_elevation(points)
        half = 2 + 14 * (1 - fade)
        high = smoothstep(40 - half, 40 + half, elevation + 6 * smoothstep(120, 160, np.abs(azimuth)))
        front = high * smoothstep(0.015, 0.045, points[:, 2])
        back = smoothstep(-0.02, -0.06, points[:, 2]) * (1 - high)
        return cls(high - front, front, 1 - high - back, back)

    def mix(self, top: float, front: float, side: float, back: float) -> Floats:
        return self.top * top + self.front * front + self.side * side + self.back * back


def zone_lengths(style: HairStyle, points: Floats) -> Floats:
    """Metres [n] that hair is long at points [n, 3] of the average scalp."""
    if style.form in ("coils", "cropped", "locs", "rows", "knots"):
        return np.full(len(points), style.top, np.float32)
    return Zones.of(points, style.fade).mix(style.top, style.front, style.side, style.back)


def strand_lengths(style: HairStyle, roots: Roots, zones: Zones, rng: np.random.Generator) -> Floats:
    """Metres [N] that each strand is long: as its zones say, ragged, and shorter at the hairline."""
    length = zones.mix(style.top, style.front, style.side, style.back)
    ragged = 1 + style.ragged * (
        rng.uniform(-1, 0.35, len(roots)) + 0.4 * guides.smooth_noise(roots.points, 0.04, rng)[:, 0]
    )
    young = 0.55 + 0.45 * smoothstep(0.0, 0.012, roots.depth)  # baby hair at the hairline
    return np.maximum(length * ragged * young, 0.003).astype(np.float32)


def comb_flow(style: HairStyle, roots: Roots, zones: Zones, space: HeadSpace, rng: np.random.Generator) -> Flow:
    """What drives the strands of N roots: where a style combs them, how high they lie, and what holds them there."""
    whorl = space.scalp(WHORL[None] + np.array([[0.05, 0.0]], np.float32))[0][0]
    side = np.tanh((roots.points[:, :1] - style.part) / 0.006)
    ahead = smoothstep(-0.075, -0.03, roots.points[:, 2])[:, None]
    upper = (zones.top + zones.front)[:, None]
    front = zones.front[:, None]
    fringe = (
        style.fringe
        * smoothstep(0.01, 0.04, roots.points[:, 2])[:, None]
        * smoothstep(0.062, 0.045, np.abs(roots.points[:, :1]))
    )
    parted = style.across * ahead * (upper + 0.3) * np.clip(1 - fringe, 0, 1)
    # Hair parted in front is combed back off the face a little, or it would hang into it.
    steady = parted * (side * _X - 0.45 * front * _Z) - style.back_comb * (_Z + 0.1 * _Y) + style.forward * upper * _Z
    steady = (
        steady
        + fringe * (_Z - 0.5 * _Y + style.fringe_side * _X)
        - style.toward_middle * np.tanh(roots.points[:, :1] / 0.02) * upper * _X
    )
    noise = guides.smooth_noise(roots.points, 0.022, rng, 3) * style.disorder
    noise = noise + rng.normal(0, 0.35 * style.disorder + 0.04, noise.shape)
    steady = (steady + noise).astype(np.float32)

    outwards = style.radial * np.clip(1 - 0.9 * style.across * front * np.clip(1 - fringe, 0, 1), 0.1, 1)
    shoulder = np.array([np.sign(style.sweep) * 0.085, -0.16, 0.06], np.float32)

    def comb(points: Floats, travelled: Floats) -> Floats:
        wanted = steady + outwards * unit(points - whorl)
        if style.sweep:
            away = smoothstep(0.0, 0.06, shoulder[0] * np.sign(style.sweep) - points[:, 0] * np.sign(style.sweep))
            low = smoothstep(0.02, -0.06, points[:, 1]) * away * np.exp(travelled / style.hold)
            wanted = wanted + (1.6 * low)[:, None] * unit(shoulder - points)
        return np.asarray(wanted, np.float32)

    rank = rng.random(len(roots)).astype(np.float32)
    layer = style.volume * (0.1 + 0.9 * rank) * (0.2 + 0.8 * smoothstep(0.0, 0.03, roots.depth))
    layer = layer * np.clip(zones.mix(style.top, style.front, style.side, style.back) / 0.04, 0.15, 1)
    # A fringe lies on the forehead, thinner than the rest of the hair; standing off it, it would look like the bill of a cap.
    before = np.clip(fringe[:, 0], 0, 1)
    layer = layer * (1 - 0.6 * before)
    bouffant = style.front_lift * front[:, 0] * smoothstep(0.065, 0.035, np.abs(roots.points[:, 0]))
    open_face = style.open_face * (1 - before)
    return Flow(
        comb,
        layer.astype(np.float32),
        hold=style.hold,
        lift=(
            style.lift * (0.5 + rank) * (0.35 + 0.65 * smoothstep(0.0, 0.025, roots.depth)) * (1 - 0.6 * before)
            + bouffant * (0.6 + 0.6 * rank)
        ),
        lift_length=style.lift_length,
        gravity=style.gravity - style.upright,
        bend=style.bend,
        hug=style.hug,
        cling=np.maximum(style.cling, _FRINGE_CLING * before).astype(np.float32),
        open_face=open_face.astype(np.float32),
    )


def uncut(points: Floats, style: HairStyle, rng: np.random.Generator) -> Floats:
    """How far [N, S] points are from being cut off; below zero: gone."""
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    jitter = rng.normal(0, 1, (len(points), 1))
    brow = style.fringe_cut + 0.003 * jitter - 2.0 * x**2
    clear = np.maximum(np.maximum(y - brow, np.abs(x) - 0.062), 0.035 - z)
    line = style.cut - style.slant * (z + 0.03) + (0.004 + 0.05 * style.ragged) * jitter
    return np.minimum(np.minimum(clear, y - line), style.flat + 0.002 * jitter - y).astype(np.float32)
