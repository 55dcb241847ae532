"""Whole eyeballs from the part of them that the photo shows between the lids.

What is between the lids of the head model may be lid, lash or corner in the photo: the two do not fit to the pixel. An eye that
took it all would carry pieces of skin along when it looks aside. So the iris is looked for, an eye without any lid is drawn around
it, and of the photo's pixels only those count that look like a part of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn import functional

from avatarcli.geometry.fill import ramp
from avatarcli.head.model import PersonalHead

_IRIS_ANGLE = math.radians(24)  # an 11.7 mm iris on the model's 15 mm ball
# Generic brown eye, from the pupil outwards: (angle as a share of the iris, sRGB), used where the photo shows nothing.
_GENERIC = (
    (0.00, (0.03, 0.03, 0.03)), (0.33, (0.03, 0.03, 0.03)), (0.42, (0.27, 0.18, 0.11)), (0.85, (0.24, 0.16, 0.10)),
    (1.02, (0.16, 0.12, 0.10)), (1.15, (0.72, 0.67, 0.64)), (1.60, (0.78, 0.73, 0.71)), (4.00, (0.68, 0.54, 0.52)),
)  # fmt: skip
_WHITE = 1.6  # where the generic white is whitest
_SEEN = 0.5  # trust from which a texel counts
# All from here on in radii of an average iris. How far from the middle the iris is looked for, and how large.
_OFFSETS, _SIZES = torch.linspace(-0.7, 0.7, 15), (0.9, 1.0, 1.1)
_FAR_OFF = (0.05, 0.15)  # light that an offset of one costs: to the side, and up or down, where lids hide the edge
_INSIDE, _OUTSIDE = 0.9, (1.1, 1.6)  # of the iris, compared in light
_BAND = 0.6  # above and below the middle: farther off are lids and their shadows
_LEAST_CONTRAST, _FEW = 0.05, 30  # light; texels
_RINGS, _EDGE = 12, 1.06  # of the iris' profile; where it ends
_WHITE_FROM, _WHITE_TO, _BRIGHTER = 1.25, 2.2, 0.75  # where the white is looked for, and the quantile of its light
_SOFT = 0.06  # half the width of the border of the iris
# Differences of color by which a texel is another thing than the drawn iris; brighter ones near its middle are reflections.
_ALIKE, _REFLECTIONS, _IRIS_ENDS = (0.08, 0.16), 0.75, (0.8, 1.0)
_BESIDE_LIDS = (0.05, 0.2)  # from what is hidden: there lids throw shadows
_PRIOR = 4.0  # texels' worth of the generic eye in each ring


EYES = ("eye_l", "eye_r")  # joints, and parts of the head model


class ShownEye(NamedTuple):
    """What the photo says of one eyeball. points [T, 3]: its texels at rest, looking ahead; color [T, 3]; trust [T]."""

    points: Tensor
    color: Tensor
    trust: Tensor


def paint_eyes(head: PersonalHead, shown: Sequence[ShownEye]) -> list[Tensor]:
    """Colors [T, 3] of all texels of both eyeballs, in the order of EYES.

    Where the photo shows the iris of only one, for a lid, hair or a reflection in glasses hides the other, both look alike.
    """
    centres = [head.joints[head.model.joint_names.index(name)] for name in EYES]
    looks = [_Look.of(_flat(eye.points - centre), eye) for eye, centre in zip(shown, centres, strict=True)]
    clearer = max(looks, key=lambda look: look.contrast)
    sources = [look if look.contrast or not clearer.contrast else clearer for look in looks]
    return [look.with_photo(_whole_eye(look.radius, source)) for look, source in zip(looks, sources, strict=True)]


@dataclass(frozen=True)
class _Look:
    """One eye in the picture of it from the front. place [T, 2], see `_flat`; radius [T]: about the middle of the iris, where it
    ends at 1; contrast: between the white and it, 0 where it was not found; level [T] (bool): which texels show the eye."""

    place: Tensor
    radius: Tensor
    color: Tensor
    trust: Tensor
    contrast: float
    level: Tensor

    @classmethod
    def of(cls, place: Tensor, eye: ShownEye) -> _Look:
        seen = eye.trust > _SEEN
        centre, size, contrast = _find_iris(place[seen], eye.color[seen].mean(-1))
        around = place - centre
        level = seen & (around[:, 1].abs() < _BAND)
        return cls(place, around.norm(dim=-1) / size, eye.color, eye.trust, contrast, level)

    def with_photo(self, drawn: Tensor) -> Tensor:
        """The drawn eye [T, 3] with what the photo shows of its iris."""
        seen = self.trust > _SEEN
        if not self.contrast:
            return drawn
        difference = self.color - drawn
        reflection = (self.radius < _REFLECTIONS) & (difference.mean(-1) > 0)
        alike = torch.where(reflection, torch.ones(()), 1 - ramp(difference.abs().mean(-1), *_ALIKE))
        inside = 1 - ramp(self.radius, *_IRIS_ENDS)
        hidden, _ = cKDTree(self.place[~seen].numpy()).query(self.place.numpy())
        away = ramp(torch.from_numpy(hidden).to(drawn), *_BESIDE_LIDS)
        share = ramp(self.trust, _SEEN, 0.9) * alike * inside * away
        return torch.lerp(drawn, self.color, share[:, None])


def _flat(points: Tensor) -> Tensor:
    """Points [T, 3] about an eye's centre as places [T, 2] in the picture of the eye from the front, in radii of its iris along
    the ball."""
    direction = functional.normalize(points, dim=-1)
    angle = torch.arccos(direction[:, 2].clamp(-1, 1)) / _IRIS_ANGLE
    return functional.normalize(direction[:, :2], dim=-1) * angle[:, None]


def _find_iris(place: Tensor, light: Tensor) -> tuple[Tensor, float, float]:
    """The middle [2] of a dark disc in a bright surrounding, its size and its contrast; (0, 0), 1 and 0 where there is none.

    place [T, 2], light [T]: of the texels that the photo shows. The tracker turns the eye by its iris, to some degrees.
    """
    offsets = torch.cartesian_prod(_OFFSETS, _OFFSETS)
    cost = (offsets.square() * torch.tensor(_FAR_OFF)).sum(-1)
    best, found = _LEAST_CONTRAST, (torch.zeros(2), 1.0, 0.0)
    apart = place - offsets[:, None]
    level = apart[..., 1].abs() < _BAND
    for size in _SIZES:
        radius = apart.norm(dim=-1) / size
        inside = (level & (radius < _INSIDE)).float()
        outside = (level & (radius > _OUTSIDE[0]) & (radius < _OUTSIDE[1])).float()
        enough = torch.minimum(inside.sum(-1), outside.sum(-1)) > _FEW
        contrast = (outside @ light) / outside.sum(-1).clamp(min=1) - (inside @ light) / inside.sum(-1).clamp(min=1)
        score = torch.where(enough, contrast - cost, -torch.inf)
        if float(score.amax()) > best:
            best, found = float(score.amax()), (offsets[score.argmax()], size, float(score.amax()))
    return found


def _whole_eye(radius: Tensor, shown: _Look) -> Tensor:
    """An eye without lids, the same all around: colors [T, 3] at radii [T], as one eye shows them."""
    color, level = shown.color, shown.level
    rings = (torch.arange(_RINGS) + 0.5) / _RINGS * _EDGE
    generic = _generic_eye(rings)
    profile = []
    for ring, guess in zip(rings, generic, strict=True):
        here = level & ((shown.radius - ring).abs() < _EDGE / _RINGS)
        own = color[here].median(0).values if here.any() else guess
        profile.append((own * here.sum() + guess * _PRIOR) / (here.sum() + _PRIOR))
    position = (radius / _EDGE * _RINGS - 0.5).clamp(0, _RINGS - 1)
    low = position.floor().long()
    high = (low + 1).clamp(max=_RINGS - 1)
    iris = torch.lerp(torch.stack(profile)[low], torch.stack(profile)[high], (position - low)[:, None])
    white = _generic_eye(torch.tensor([_WHITE]))[0]
    beside = color[level & (shown.radius > _WHITE_FROM) & (shown.radius < _WHITE_TO)]
    if len(beside) > _FEW:
        # At its corners and below its lids the white is red or dark: its brighter part tells how light it is, and half its tint.
        light = beside.mean(-1)
        own = beside[light >= light.quantile(_BRIGHTER)].median(0).values
        white = (own + white * (own.mean() / white.mean())) / 2
    white = _generic_eye(radius.clamp(min=_WHITE)) * (white / _generic_eye(torch.tensor([_WHITE]))[0])
    return torch.lerp(iris, white, ramp(radius, _EDGE - _SOFT, _EDGE + _SOFT)[:, None])


def _generic_eye(angle: Tensor) -> Tensor:
    """The generic eye's color [T, 3] at angles [T] from its axis, as shares of the iris' own."""
    stops = torch.tensor([stop for stop, _ in _GENERIC])
    colors = torch.tensor([color for _, color in _GENERIC])
    high = torch.searchsorted(stops, angle.contiguous()).clamp(1, len(stops) - 1)
    t = ((angle - stops[high - 1]) / (stops[high] - stops[high - 1])).clamp(0, 1)[:, None]
    return colors[high - 1] * (1 - t) + colors[high] * t
