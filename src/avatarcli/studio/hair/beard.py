"""Beards and moustaches: families, and how they are grown on the face."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from avatarcli.studio.hair import guides
from avatarcli.studio.hair.colors import HairColor
from avatarcli.studio.hair.guides import Flow
from avatarcli.studio.hair.meshes import Carrier, cards
from avatarcli.studio.hair.space import Floats, smoothstep
from avatarcli.studio.hair.textures import DENSE, LOOSE, card_patch, strand_atlas
from avatarcli.studio.scene import BoundMesh, Material

_X, _Y, _Z = np.eye(3, dtype=np.float32)
_CANDIDATES = 14000  # points tried on the face; about a quarter lies where a full beard grows


@dataclass(frozen=True)
class BeardStyle:
    """Which parts of a beard grow (shares of full density), and how long they are (metres).

    moustache, soul (below the lip), chin, corners (beside the mouth), jaw, cheeks, sideburns, throat: shares; length: of the beard;
    lip_length: of the moustache; curl_up: how much the moustache's ends are turned up; spread: to the sides; point:
    how far a long beard comes together; patchy: share of it that is missing in patches; count, width: of its cards.
    """

    family: str
    seed: int
    moustache: float = 0.0
    soul: float = 0.0
    chin: float = 0.0
    corners: float = 0.0
    jaw: float = 0.0
    cheeks: float = 0.0
    sideburns: float = 0.0
    throat: float = 0.0
    length: float = 0.012
    lip_length: float = 0.010
    curl_up: float = 0.0
    spread: float = 0.5
    point: float = 0.0
    patchy: float = 0.1
    count: float = 1900
    width: float = 0.0042
    texture: str = "straight"
    curl: float = 0.0

    def density(self, points: Floats) -> Floats:
        """Share [n] of full density at points [n, 3] of the average face."""
        x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
        off_lips = smoothstep(0.9, 1.3, (x / 0.0255) ** 2 + ((y + 0.0685) / 0.0115) ** 2)
        # The line from the sideburn to the corner of the mouth, below which cheeks are bearded.
        cheek_line = np.interp(z, [-0.01, 0.03, 0.06, 0.085], [-0.005, -0.035, -0.053, -0.056])
        below = smoothstep(0.006, -0.006, y - cheek_line)
        jaw_line = np.interp(z, [0.0, 0.03, 0.06, 0.09], [-0.068, -0.082, -0.098, -0.108])
        throat = smoothstep(0.004, -0.004, y - jaw_line + 0.006)
        end = smoothstep(-0.142, -0.118, y + 0.25 * np.maximum(0.03 - z, 0) * -1)
        side = smoothstep(0.024, 0.034, x)
        front = 1 - side
        shares = [
            self.moustache
            * front
            * smoothstep(-0.0475, -0.0515, y - 0.05 * x)
            * smoothstep(-0.064, -0.060, y + 0.25 * np.maximum(x - 0.014, 0)),
            self.soul * smoothstep(0.012, 0.008, x) * smoothstep(-0.077, -0.080, y) * smoothstep(-0.094, -0.090, y),
            self.chin
            * smoothstep(0.034, 0.026, x)
            * smoothstep(-0.082, -0.087, y)
            * smoothstep(0.035, 0.05, z)
            * (1 - throat),
            self.corners
            * smoothstep(0.018, 0.024, x)
            * smoothstep(0.040, 0.034, x)
            * smoothstep(-0.055, -0.060, y)
            * (1 - throat),
            self.cheeks * side * below * (1 - throat) * smoothstep(0.004, 0.014, z),
            self.jaw * side * smoothstep(0.020, 0.012, y - jaw_line) * (1 - throat) * smoothstep(-0.004, 0.006, z),
            self.sideburns
            * smoothstep(0.030, 0.022, z)
            * smoothstep(-0.004, 0.006, z)
            * smoothstep(0.055, 0.06, x)
            * smoothstep(0.012, 0.0, y)
            * smoothstep(-0.075, -0.06, y),
            self.throat * throat * end * smoothstep(0.0, 0.015, z),
        ]
        share = np.max(shares, axis=0) * off_lips * smoothstep(-0.01, 0.0, z)
        patches = guides.smooth_noise(points, 0.018, np.random.default_rng([self.seed, 7]))[:, 0]
        return (share * np.clip(1 - self.patchy * (1 + 1.5 * patches), 0, 1)).astype(np.float32)


_FULL: dict[str, Any] = {
    "moustache": 1.0, "soul": 1.0, "chin": 1.0, "corners": 1.0, "jaw": 1.0, "cheeks": 1.0, "sideburns": 1.0,
        "throat": (0.5, 0.9),
    "texture": ["straight", "wavy", "curly"],
}  # fmt: skip
BEARD_RANGES: dict[str, dict[str, Any]] = {
    "short_full": _FULL | {"length": (0.005, 0.010), "lip_length": (0.006, 0.009), "count": 2200},
    "full": _FULL | {"length": (0.014, 0.024), "lip_length": (0.010, 0.014)},
    "bushy": _FULL | {"length": (0.03, 0.045), "lip_length": (0.014, 0.018), "spread": 1.0, "curl": 0.002,
        "width": 0.006, "count": 1200},
    "long": _FULL | {"length": (0.08, 0.14), "lip_length": (0.014, 0.02), "point": (0.3, 0.7), "width": 0.008, "count": 1000},
    "wizard": _FULL | {"length": (0.16, 0.24), "lip_length": 0.03, "point": (0.5, 0.9), "width": 0.009,
        "count": 900, "texture": "wavy"},
    "boxed": _FULL | {"length": (0.006, 0.012), "cheeks": 0.0, "throat": 0.1, "patchy": 0.02},
    "patchy": _FULL | {"length": (0.005, 0.01), "patchy": (0.4, 0.6)},
    "goatee": {"chin": 1.0, "soul": 1.0, "throat": 0.0, "length": (0.010, 0.03)},
    "circle": {"chin": 1.0, "soul": 1.0, "moustache": 1.0, "corners": 1.0, "length": (0.008, 0.016)},
    "van_dyke": {"chin": 1.0, "soul": 1.0, "moustache": 1.0, "length": (0.025, 0.05), "point": 0.8,
        "lip_length": (0.012, 0.02), "curl_up": (0.0, 0.8)},
    "soul_patch": {"soul": 1.0, "length": (0.005, 0.010)},
    "chevron": {"moustache": 1.0, "lip_length": (0.009, 0.013)},
    "pencil": {"moustache": 0.8, "lip_length": (0.004, 0.005), "patchy": 0.0},
    "walrus": {"moustache": 1.0, "lip_length": (0.018, 0.024), "spread": 0.25},
    "handlebar": {"moustache": 1.0, "lip_length": (0.028, 0.04), "curl_up": (1.2, 2.0), "spread": 1.2},
    "horseshoe": {"moustache": 1.0, "corners": 1.0, "lip_length": (0.010, 0.014), "length": (0.008, 0.014), "soul": 0.0},
    "mutton_chops": {"sideburns": 1.0, "cheeks": 1.0, "jaw": 1.0, "length": (0.014, 0.028), "spread": 0.9, "count": 1300},
    "friendly_chops": {"sideburns": 1.0, "cheeks": 1.0, "moustache": 1.0, "corners": 1.0, "length": (0.010, 0.02)},
    "chin_strap": {"sideburns": 1.0, "jaw": 1.0, "chin": 0.9, "throat": 0.15, "length": (0.004, 0.008), "patchy": 0.02},
    "chin_curtain": {"sideburns": 1.0, "jaw": 1.0, "chin": 1.0, "throat": 0.8, "length": (0.03, 0.06),
        "patchy": 0.05, "count": 900, "width": 0.007},
}  # fmt: skip

BEARD_FAMILIES: tuple[str, ...] = tuple(BEARD_RANGES)
HELD_OUT_BEARDS: tuple[str, ...] = ("van_dyke", "mutton_chops", "walrus")


def draw_beard_style(rng: np.random.Generator, *, family: str) -> BeardStyle:
    """A beard of a family. Raises KeyError for a family that does not exist."""
    from avatarcli.studio.hair.styles import draw_fields

    chosen = draw_fields(rng, BeardStyle, {"patchy": (0.0, 0.2), "spread": (0.3, 0.7)} | BEARD_RANGES[family])
    return BeardStyle(family, int(rng.integers(2**31)), **chosen)


def grow_beard(carrier: Carrier, style: BeardStyle, color: HairColor) -> list[BoundMesh]:
    """The mesh of a beard on one person."""
    rng = np.random.default_rng([style.seed, 3])
    space = carrier.space
    points, faces = space.face_points(_CANDIDATES, rng)
    density = style.density(points)
    grows = np.nonzero(rng.random(len(points)) < density)[0]
    # Full beards are a matter of thousands of cards, moustaches of hundreds: the same number to a square metre.
    grows = grows[: int(style.count)]
    points, binding = points[grows], space.bind(points[grows], faces[grows])
    x, y = points[:, 0], points[:, 1]
    lip = (smoothstep(-0.068, -0.062, y) * smoothstep(0.034, 0.028, np.abs(x))).astype(np.float32)
    side = np.tanh(x / 0.004)[:, None]
    length = _lengths(style, x, y, lip, rng)
    noise = rng.normal(0, 0.18, points.shape).astype(np.float32)
    lip_way = side * _X * style.spread * 2 - 0.8 * _Y

    def comb(here: Floats, travelled: Floats) -> Floats:
        jaw_way = -_Y + 0.4 * style.spread * np.sign(x)[:, None] * _X - style.point * 12 * here[:, :1] * _X
        up = style.curl_up * smoothstep(0.012, 0.03, travelled)[:, None] * _Y * 2
        return np.asarray(lip[:, None] * (lip_way + up) + (1 - lip[:, None]) * jaw_way + noise, np.float32)

    rank = rng.random(len(points)).astype(np.float32)
    layer = (0.0008 + rank * np.minimum(0.22 * length, 0.009)).astype(np.float32)
    flow = Flow(
        comb,
        layer,
        hold=0.08,
        lift=0.9 * style.spread * (0.4 + rank) * (1 - 0.6 * lip),
        lift_length=0.015,
        gravity=(1 - lip) * 0.8,
        fall=0.03,
        bend=0.006,
    )
    normal = space.normal(points)
    steps = 3 if style.length < 0.012 else 5 if style.length < 0.03 else 7
    strands = guides.march(space, points, normal * 0.7 + comb(points, length * 0) * 0.5, length, steps, flow)
    mouth = (strands[..., 0] / 0.023) ** 2 + ((strands[..., 1] + 0.069) / 0.009) ** 2 - 1
    strands = guides.resample(strands, guides.cut(np.where(strands[..., 2] > 0.075, mouth, 1.0)), steps + 1)
    out = space.normal(strands)
    if style.curl > 0:
        strands = _curled(style, strands, out, rng)
    along = guides.lengths(strands)
    fraction = along / np.maximum(along[:, -1:], 1e-6)
    columns = rng.integers(0, LOOSE, len(strands))
    columns[rng.random(len(columns)) < 0.5] %= DENSE
    occlusion = (0.6 + 0.4 * rank[:, None]) * (0.75 + 0.25 * fraction)
    width = style.width * rng.uniform(0.7, 1.3, (len(strands), 1)) * (1 - 0.4 * fraction**2)
    piece = cards(
        strands,
        out,
        width.astype(np.float32),
        card_patch(columns),
        occlusion.astype(np.float32),
        along,
        rng.normal(0, 0.3, len(strands)).astype(np.float32),
    )
    texture = strand_atlas(style.texture, style.seed, color.natural(), rng)
    return [carrier.bound(piece, binding, texture, material=Material.BEARD, depth_bias=0.0005)]


def _lengths(style: BeardStyle, x: Floats, y: Floats, lip: Floats, rng: np.random.Generator) -> Floats:
    """Metres [N] of hairs at x, y [N] of the average face; lip [N]: 1 on the upper lip. Beards are longest at the chin."""
    length = style.length * (1 - lip) + style.lip_length * (0.75 + 0.5 * np.abs(x) / 0.025) * lip
    length = length * (1 - (1 - lip) * 0.55 * smoothstep(0.02, 0.06, np.abs(x)) * smoothstep(-0.095, -0.06, y))
    return np.asarray(length * rng.uniform(0.65, 1.1, len(x)), np.float32)


def _curled(style: BeardStyle, strands: Floats, normal: Floats, rng: np.random.Generator) -> Floats:
    """Strands [N, S, 3] with the style's curls, each on its own; normal [N, S, 3] of the head."""
    n = len(strands)
    radius, wavelength = np.full(n, style.curl, np.float32), np.full(n, 0.014, np.float32)
    phase = rng.uniform(0, 6.3, n).astype(np.float32)
    return guides.curl(strands, normal, radius, wavelength, phase, roundness=1.0, onset=0.01)


def beard_weights(*, years: float) -> dict[str, float]:
    """How plausible each family is for a bearded man of that age; never zero."""
    old, young = ("wizard", "long", "walrus", "mutton_chops", "bushy"), ("pencil", "soul_patch", "chin_strap", "patchy")
    weights = {name: 2.0 if name in ("short_full", "full", "boxed", "circle") else 1.0 for name in BEARD_FAMILIES}
    for name in old:
        weights[name] *= 0.4 + 0.6 * min(max((years - 25) / 30, 0.0), 1.5)
    for name in young:
        weights[name] *= 1.0 if years < 45 else 0.4
    return weights
