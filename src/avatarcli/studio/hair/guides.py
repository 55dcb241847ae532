"""Where hair grows and how it runs: hairlines, roots spread over the scalp, and strands that follow a flow around the head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from avatarcli.studio.hair.space import (
    CHART_REACH,
    WHORL,
    Binding,
    Floats,
    HeadSpace,
    azimuth_elevation,
    smoothstep,
    unit,
)

# The usual hairline of an adult, read off the pack's scalp mask: elevation seen from the cranium's middle at each azimuth, degrees.
_AZIMUTH = np.array([0, 16, 28, 40, 48, 56, 63, 69, 73, 80, 92, 97, 103, 112, 120, 130, 150, 180], np.float32)
_ELEVATION = np.array([42, 40, 38, 35, 31, 24, 14, 2, -5, -8, -10, -14, -32, -36, -41, -46, -48, -49], np.float32)
_RADIUS = 0.095  # metres from the cranium's middle to the scalp, for angles near the hairline
# At the whorl cards leave in all directions, so that more of them are needed to cover the scalp: so many more, within this distance
# of it on the chart.
_WHORL_SHARE, _WHORL_REACH = 0.09, 0.17
# Additive recurrence with the plastic number: low-discrepancy points in the plane (Roberts 2018, "R2").
_R2 = np.array([0.7548776662466927, 0.5698402909980532])


@dataclass(frozen=True)
class Hairline:
    """How a hairline differs from the usual one. Angles in degrees, up is less hair.

    front: the whole front; recess: the two temples; peak: a widow's peak hangs this far down; sideburn: how far below
    the ears' middle the hair reaches in front of them; nape: up from the usual; ring: metres; hair only below this
    height of the average head (a bald top); waviness: of the line; soft: metres over which the density rises; seed of
    the waviness.
    """

    front: float = 0.0
    recess: float = 0.0
    peak: float = 0.0
    sideburn: float = 0.0
    nape: float = 0.0
    ring: float = 1.0
    waviness: float = 1.2
    soft: float = 0.008
    seed: int = 0

    def depth(self, points: Floats) -> Floats:
        """Metres [...] that points [..., 3] of the average scalp lie inside of the hairline; negative outside."""
        signed, elevation = azimuth_elevation(points)
        azimuth = np.abs(signed)
        line = np.interp(azimuth, _AZIMUTH, _ELEVATION)
        line = line + self.front * np.exp(-((azimuth / 52) ** 4))
        line = line + self.recess * np.exp(-(((azimuth - 37) / 15) ** 2))
        line = line - self.peak * np.exp(-((azimuth / 10) ** 2))
        line = line - self.sideburn * smoothstep(62, 68, azimuth) * smoothstep(83, 77, azimuth)
        line = line + self.nape * smoothstep(112, 140, azimuth)
        phase = np.random.default_rng(self.seed).uniform(0, 2 * np.pi, 4)
        for k, scale in enumerate((0.09, 0.17, 0.33, 0.7)):
            line = line + self.waviness * (0.8 - 0.15 * k) * np.sin(signed * scale + phase[k])
        slope = np.interp(azimuth, (_AZIMUTH[1:] + _AZIMUTH[:-1]) / 2, np.diff(_ELEVATION) / np.diff(_AZIMUTH))
        inside = np.radians(elevation - line) * _RADIUS / np.sqrt(1 + slope**2)
        ring = self.ring + 0.006 * np.sin(signed * 0.05 + phase[0]) + 0.004 * np.sin(signed * 0.13 + phase[1])
        return np.minimum(inside, ring - points[..., 1]).astype(np.float32)


@dataclass(frozen=True)
class Roots:
    """Where N strands leave the scalp. points, normals [N, 3] on the average head; depth [N] metres inside of the hairline;
    chart [N, 2]; binding to the skin."""

    points: Floats
    normals: Floats
    depth: Floats
    chart: Floats
    binding: Binding

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, chosen: npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> Roots:
        return Roots(
            self.points[chosen], self.normals[chosen], self.depth[chosen], self.chart[chosen], self.binding[chosen]
        )


def even_points(count: int, rng: np.random.Generator) -> Floats:
    """`count` points [count, 2] spread evenly over the unit square."""
    steps = np.arange(count, dtype=np.float64)[:, None] * _R2
    return ((steps + rng.random(2)) % 1.0).astype(np.float32)


def scatter_roots(space: HeadSpace, hairline: Hairline, count: int, rng: np.random.Generator) -> Roots:
    """About `count` roots, spread evenly over the scalp inside the hairline, thinning out towards it."""
    # The hair covers a bit more than a third of the chart's square, so three times the count, and then every so many of them.
    chart = even_points(count * 4, rng) * 2 - 1
    distance = np.linalg.norm(chart, axis=1)
    stretch = np.sin(distance * CHART_REACH) / np.maximum(distance * CHART_REACH, 1e-6)
    chart = chart[(distance < 1) & (rng.random(len(chart)) < stretch)]
    whorl = WHORL + _WHORL_REACH * rng.uniform(-1, 1, (round(_WHORL_SHARE * len(chart)), 2)) ** 3
    chart = np.concatenate([chart, whorl.astype(np.float32)])
    points = space.scalp(chart)[0]
    depth = hairline.depth(points)
    growing = np.nonzero(rng.random(len(depth)) < np.clip(depth / max(hairline.soft, 1e-4), 0, 1))[0]
    if len(growing) > count:
        growing = growing[np.linspace(0, len(growing) - 1, count).astype(np.int64)]
    points, binding = space.scalp(chart[growing])
    return Roots(points, space.normal(points), depth[growing], chart[growing], binding)


@dataclass(frozen=True)
class Flow:
    """What drives N strands, one value each or one for all.

    comb: wanted direction [N, 3] at points [N, 3] after `travelled` metres [N] (the part along the head counts); hold: metres until
    combing lets go; lift: how strongly strands leave along the normal, fading over lift_length; gravity: pull down,
    growing over `fall` metres; bend: metres over which a strand turns; layer [N]: least height above the head; hug:
    0-1, how much a strand above its layer is pulled down to it; cling: as hug, but above the mouth only, where falling hair lies on
    forehead and temples rather than before them; open_face: how strongly strands are kept off the face.
    """

    comb: Callable[[Floats, Floats], Floats]
    layer: Floats
    hold: Floats | float = 1.0
    lift: Floats | float = 0.3
    lift_length: float = 0.02
    gravity: Floats | float = 0.6
    fall: float = 0.05
    bend: float = 0.015
    hug: float = 0.0
    cling: Floats | float = 0.0
    open_face: Floats | float = 0.0


def march(space: HeadSpace, start: Floats, direction: Floats, length: Floats, steps: int, flow: Flow) -> Floats:
    """Strands [N, steps + 1, 3] that set out from `start` [N, 3] in `direction` [N, 3] and follow a flow for `length`
    [N] metres.
    """
    stride = (length / steps)[:, None].astype(np.float32)
    turn = 1 - np.exp(-stride / flow.bend)
    down = np.array([0, -1, 0], np.float32)
    points = [start.astype(np.float32)]
    heading = unit(direction.astype(np.float32))
    values = space.field(points[0])
    travelled = np.zeros((len(start), 1), np.float32)
    for _ in range(steps):
        here, normal = points[-1], unit(values[:, 1:])
        comb = flow.comb(here, travelled[:, 0])
        comb = comb - normal * (comb * normal).sum(1, keepdims=True)
        comb = comb * np.exp(-travelled / _column(flow.hold))
        wanted = comb + normal * (_column(flow.lift) * np.exp(-travelled / flow.lift_length))
        wanted = wanted + down * (_column(flow.gravity) * (1 - np.exp(-travelled / flow.fall)))
        if (here[:, 1] < -0.08).any():
            wanted = wanted + _off_the_shoulders(here, values[:, :1])
        if np.any(flow.open_face):
            wanted = wanted + _aside(here) * _column(flow.open_face)
        heading = unit(heading * (1 - turn) + unit(wanted) * turn)
        ahead = here + heading * stride
        travelled = travelled + stride
        values = space.field(ahead)
        height = values[:, :1]
        layer = flow.layer[:, None] * (1 - np.exp(-travelled / 0.015)) + 0.001
        hug = flow.hug + _column(flow.cling) * smoothstep(-0.07, -0.02, ahead[:, 1:2])
        push = np.maximum(layer - height, 0) - hug * np.maximum(height - layer, 0)
        ahead = ahead + unit(values[:, 1:]) * push
        heading = unit(ahead - here)
        points.append(ahead.astype(np.float32))
    return np.stack(points, axis=1)


def _column(value: Floats | float) -> Floats:
    return np.reshape(np.asarray(value, np.float32), (-1, 1))


def _off_the_shoulders(points: Floats, height: Floats) -> Floats:
    """Directions [N, 3] to the front or to the back where hair comes to lie on a shoulder, for it slides off it."""
    on = smoothstep(0.05, 0.01, height[:, 0]) * smoothstep(-0.09, -0.13, points[:, 1])
    slide = np.zeros_like(points)
    slide[:, 2] = np.tanh((points[:, 2] + 0.035) / 0.015) * on
    slide[:, 0] = -1.2 * np.tanh(points[:, 0] / 0.03) * on * smoothstep(0.08, 0.12, np.abs(points[:, 0]))
    return slide


def _aside(points: Floats) -> Floats:
    """Directions [N, 3] off the face: sideways before it, backwards beside it; zero elsewhere."""
    x, y, z = points[:, 0], points[:, 1], points[:, 2]
    ahead = smoothstep(0.015, 0.04, z) * smoothstep(0.095, 0.06, y)
    aside = np.zeros_like(points)
    aside[:, 0] = np.sign(x) * ahead * smoothstep(0.085, 0.05, np.abs(x))
    aside[:, 2] = -0.7 * ahead * smoothstep(0.05, 0.075, np.abs(x)) * smoothstep(-0.11, -0.07, y)
    return aside


def cut(keep: Floats) -> Floats:
    """Share [N] of each strand up to where `keep` [N, S] first falls below zero; 1 for strands that are never cut."""
    below = keep < 0
    first = below.argmax(1)
    rows = np.arange(len(keep))
    before, after = keep[rows, np.maximum(first - 1, 0)], keep[rows, first]
    share = np.where(first > 0, before / np.maximum(before - after, 1e-9), 0)
    fraction = (first - 1 + share) / (keep.shape[1] - 1)
    return np.where(below.any(1), np.clip(fraction, 0, 1), 1).astype(np.float32)


def resample(points: Floats, fraction: Floats, count: int) -> Floats:
    """The first `fraction` [N] of strands [N, S, 3] as `count` points each."""
    place = fraction[:, None] * np.linspace(0, 1, count, dtype=np.float32) * (points.shape[1] - 1)
    low = np.clip(place.astype(np.int64), 0, points.shape[1] - 2)
    share = (place - low)[..., None].astype(np.float32)
    rows = np.arange(len(points))[:, None]
    return points[rows, low] * (1 - share) + points[rows, low + 1] * share


def frames(points: Floats, normal: Floats) -> tuple[Floats, Floats, Floats]:
    """Unit tangents, sides and outward directions [N, S, 3] along strands [N, S, 3]; `normal` [N, S, 3] says where outside is."""
    tangent = np.empty_like(points)
    tangent[:, 1:-1] = points[:, 2:] - points[:, :-2]
    tangent[:, 0], tangent[:, -1] = points[:, 1] - points[:, 0], points[:, -1] - points[:, -2]
    tangent = unit(tangent)
    side = np.cross(tangent, normal)
    # Where a strand leaves straight along the normal any side will do, as long as it is the same one from point to point.
    spare = np.cross(tangent, np.broadcast_to(np.array([0.3, 0.2, 1.0], np.float32), tangent.shape))
    side = unit(side + 0.15 * spare)
    return tangent, side, np.cross(side, tangent)


def lengths(points: Floats) -> Floats:
    """Metres travelled [N, S] along strands [N, S, 3]."""
    steps = np.linalg.norm(np.diff(points, axis=1), axis=2)
    return np.concatenate([np.zeros((len(points), 1), np.float32), steps.cumsum(1)], axis=1)


def smooth_noise(points: Floats, scale: float, rng: np.random.Generator, channels: int = 1) -> Floats:
    """Random values about [−1, 1], [..., channels], that change over some `scale` metres between points [..., 3]."""
    waves = rng.normal(size=(3, 6 * channels)).astype(np.float32) * (1.6 / scale)
    phase = rng.uniform(0, 2 * np.pi, 6 * channels).astype(np.float32)
    values = np.sin(points @ waves + phase).reshape(*points.shape[:-1], channels, 6)
    return values.mean(-1) * 1.7


def curl(
    points: Floats,
    normal: Floats,
    radius: Floats,
    wavelength: Floats,
    phase: Floats,
    *,
    roundness: float,
    onset: float,
) -> Floats:
    """Strands [N, S, 3] wound around themselves.

    radius, wavelength [N] metres; phase [N] radians; roundness 0: waves from side to side, 1: a helix; onset: metres
    from the root until the curl is full.
    """
    _, side, out = frames(points, normal)
    travelled = lengths(points)
    angle = travelled * (2 * np.pi / wavelength[:, None]) + phase[:, None]
    size = radius[:, None] * (1 - np.exp(-travelled / onset))
    return points + size[..., None] * (
        np.sin(angle)[..., None] * side + (roundness * np.cos(angle))[..., None] * out
    ).astype(np.float32)


def push_out(space: HeadSpace, points: Floats, least: Floats | float) -> Floats:
    """Points [..., 3] at least so many metres [...] off the head."""
    values = space.field(points)
    short = np.maximum(np.asarray(least, np.float32) - values[..., 0], 0)
    return points + unit(values[..., 1:]) * short[..., None]
