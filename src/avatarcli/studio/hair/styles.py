"""One hair style: plain numbers drawn from its family's ranges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from avatarcli.studio.hair.families import FAMILY_RANGES
from avatarcli.studio.hair.guides import Hairline


@dataclass(frozen=True)
class HairStyle:
    """Everything that a style is made of. Lengths in metres, angles in degrees.

    form: how it is built (strands, cropped, coils, locs, rows, knots, pack, bald); texture: one of textures.KINDS;
    seed of its details; mirrored: left and right swapped.

    count, steps, width: cards, points on each, and their width. top, front, side, back: lengths of the zones; fade:
    how sharply they border (0-1); ragged: how much lengths differ; side_share: of the height of coils at the sides.
    front_line, recess, peak, sideburn, nape, ring, soft: see guides.Hairline; thin: share of hairs lost on top.
    part: x of the parting; across: combed away from it; radial, back_comb, forward, fringe (front only),
    toward_middle, sweep: combed away from the whorl, backwards, forwards, to the middle, over one shoulder; fringe_side: how far
    a fringe is swept to the left; disorder: combed at random; hold, lift, lift_length, gravity, bend, hug, cling, open_face: see
    guides.Flow; upright: pull upwards;
    front_lift: extra lift in front; volume: height of the outermost layer.
    clump: how far tips gather in locks, clumps: how many; fringe_cut: height where hair over the face ends; cut,
    slant: height of the cut, and how much lower it gets towards the front; flat: height of a flat top; strip: half
    width of hair left in the middle.
    curl, wavelength, roundness: radius and length of curls, see guides.curl; flyaway: share of loose hairs.
    tie: what the hair is tied to (tail, bun, ring, braid, halo, puff or nothing), ties: how many; tie_height,
    tie_turn: where, seen from the back; half: only hair above this elevation is tied; tail, tail_width, tie_width:
    length and radii of a tail; knot: radius of a bun; mess: of a bun. thickness: radius of locs. mesh: of the pack.
    opacity, stubble: see textures.scalp_texture; shaved: share of the scalp's painted hair that is gone.
    """

    family: str
    seed: int
    mirrored: bool
    form: str = "strands"
    texture: str = "straight"
    count: float = 1500
    steps: float = 8
    width: float = 0.008
    top: float = 0.1
    front: float = 0.1
    side: float = 0.1
    back: float = 0.1
    fade: float = 0.0
    ragged: float = 0.12
    side_share: float = 1.0
    front_line: float = 0.0
    recess: float = 0.0
    peak: float = 0.0
    sideburn: float = 0.0
    nape: float = 0.0
    ring: float = 1.0
    soft: float = 0.008
    thin: float = 0.0
    part: float = 0.0
    across: float = 0.0
    radial: float = 0.5
    back_comb: float = 0.0
    forward: float = 0.0
    fringe: float = 0.0
    fringe_side: float = 0.0
    toward_middle: float = 0.0
    sweep: float = 0.0
    disorder: float = 0.12
    hold: float = 0.1
    lift: float = 0.4
    lift_length: float = 0.025
    gravity: float = 0.9
    bend: float = 0.015
    hug: float = 0.0
    cling: float = 0.0
    open_face: float = 0.0
    upright: float = 0.0
    front_lift: float = 0.0
    volume: float = 0.012
    clump: float = 0.3
    clumps: float = 260
    fringe_cut: float = 0.028
    cut: float = -1.0
    slant: float = 0.0
    flat: float = 1.0
    strip: float = 1.0
    curl: float = 0.0
    wavelength: float = 0.08
    roundness: float = 0.4
    flyaway: float = 0.05
    tie: str = ""
    ties: float = 1
    tie_height: float = 0.0
    tie_turn: float = 0.0
    half: float = -90.0
    tail: float = 0.2
    tail_width: float = 0.034
    tie_width: float = 0.012
    knot: float = 0.03
    mess: float = 0.15
    thickness: float = 0.005
    mesh: str = ""
    opacity: float = 0.97
    stubble: float = 0.15
    shaved: float = 0.0

    @property
    def hairline(self) -> Hairline:
        return Hairline(
            self.front_line, self.recess, self.peak, self.sideburn, self.nape, self.ring, soft=self.soft, seed=self.seed
        )


# What differs between people whatever their style: defaults of fields that a family does not name.
_EVERYBODY: dict[str, Any] = {
    "front_line": (-3.0, 4.0),
    "recess": (-3.0, 7.0),
    "peak": [0.0, 0.0, 3.0, 6.0],
    "sideburn": (0.0, 16.0),
    "nape": (-1.0, 4.0),
    "soft": (0.009, 0.020),
    "disorder": (0.08, 0.2),
    "clumps": (140, 380),
    "flyaway": (0.03, 0.09),
    "tail_width": (0.026, 0.042),
    "mess": (0.1, 0.25),
}


def draw_style(rng: np.random.Generator, *, family: str) -> HairStyle:
    """A style of a family. Raises KeyError for a family that does not exist."""
    chosen = draw_fields(rng, HairStyle, _EVERYBODY | FAMILY_RANGES[family])
    return HairStyle(family, int(rng.integers(2**31)), bool(rng.random() < 0.5), **chosen)


def draw_fields(rng: np.random.Generator, style: type[Any], ranges: Mapping[str, Any]) -> dict[str, Any]:
    """Values for those fields of a style's dataclass that `ranges` names, in the order of the fields; see families.py."""
    drawn = {field.name: _draw(rng, ranges[field.name]) for field in fields(style) if field.name in ranges}
    return {name: value if isinstance(value, str) else float(value) for name, value in drawn.items()}


def _draw(rng: np.random.Generator, values: Any) -> Any:
    """A value from a range, a list or as it stands."""
    if isinstance(values, tuple):
        return rng.uniform(*values)
    if isinstance(values, list):
        return values[int(rng.integers(len(values)))]
    return values
