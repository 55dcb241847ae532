"""Whole eyeballs from the part of them that the photo shows between the lids.

What is between the lids of the head model may be lid, lash or corner in the photo: the two do not fit to the pixel. An eye that
took it all would carry pieces of skin along when it looks aside. So the iris is looked for, an eye without any lid is drawn around
it, and of the photo's pixels only those count that look like a part of it.
"""

from __future__ import annotations

import math

import torch
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
# Differences of colour by which a texel is another thing than the drawn iris; brighter ones near its middle are reflections.
_ALIKE, _REFLECTIONS, _IRIS_ENDS = (0.08, 0.16), 0.75, (0.8, 1.0)
_BESIDE_LIDS = (0.05, 0.2)  # from what is hidden: there lids throw shadows
_PRIOR = 4.0  # texels' worth of the generic eye in each ring


def paint_eye(head: PersonalHead, points: Tensor, color: Tensor, trust: Tensor, name: str) -> Tensor:
    """Colours [T, 3] of all texels of one eyeball.

    points [T, 3]: the texels on the eyeball at rest, looking ahead; color [T, 3], trust [T]: what the photo says; name: the eye's
    joint.
    """
    place = _flat(points - head.joints[head.model.joint_names.index(name)])
    seen = trust > _SEEN
    if int(seen.sum()) < _FEW:
        return _generic_eye(place.norm(dim=-1))
    centre, size = _find_iris(place[seen], color[seen].mean(-1))
    around = place - centre
    radius = around.norm(dim=-1) / size
    level = seen & (around[:, 1].abs() < _BAND)
    drawn = _whole_eye(radius, color, level)
    difference = color - drawn
    apart = difference.abs().mean(-1)
    reflection = (radius < _REFLECTIONS) & (difference.mean(-1) > 0)
    alike = torch.where(reflection, torch.ones(()), 1 - ramp(apart, *_ALIKE)) * (1 - ramp(radius, *_IRIS_ENDS))
    share = ramp(trust, _SEEN, 0.9) * alike * ramp(_from_hidden(place, seen), *_BESIDE_LIDS)
    return torch.lerp(drawn, color, share[:, None])


def _flat(points: Tensor) -> Tensor:
    """Points [T, 3] about an eye's centre as places [T, 2] in the picture of the eye from the front, in radii of its iris along
    the ball."""
    direction = functional.normalize(points, dim=-1)
    angle = torch.arccos(direction[:, 2].clamp(-1, 1)) / _IRIS_ANGLE
    return functional.normalize(direction[:, :2], dim=-1) * angle[:, None]


def _find_iris(place: Tensor, light: Tensor) -> tuple[Tensor, float]:
    """The middle [2] of a dark disc in a bright surrounding, and its size; (0, 0) and 1 where there is none.

    place [T, 2], light [T]: of the texels that the photo shows. The tracker turns the eye by its iris, to some degrees.
    """
    offsets = torch.cartesian_prod(_OFFSETS, _OFFSETS)
    cost = (offsets.square() * torch.tensor(_FAR_OFF)).sum(-1)
    best, found = _LEAST_CONTRAST, (torch.zeros(2), 1.0)
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
            best, found = float(score.amax()), (offsets[score.argmax()], size)
    return found


def _whole_eye(radius: Tensor, color: Tensor, level: Tensor) -> Tensor:
    """An eye without lids, the same all around: colours [T, 3] at radii [T]. level [T] (bool): which colours show it."""
    rings = (torch.arange(_RINGS) + 0.5) / _RINGS * _EDGE
    generic = _generic_eye(rings)
    profile = []
    for ring, guess in zip(rings, generic, strict=True):
        here = level & ((radius - ring).abs() < _EDGE / _RINGS)
        own = color[here].median(0).values if here.any() else guess
        profile.append((own * here.sum() + guess * _PRIOR) / (here.sum() + _PRIOR))
    position = (radius / _EDGE * _RINGS - 0.5).clamp(0, _RINGS - 1)
    low = position.floor().long()
    high = (low + 1).clamp(max=_RINGS - 1)
    iris = torch.lerp(torch.stack(profile)[low], torch.stack(profile)[high], (position - low)[:, None])
    white = _generic_eye(torch.tensor([_WHITE]))[0]
    beside = color[level & (radius > _WHITE_FROM) & (radius < _WHITE_TO)]
    if len(beside) > _FEW:
        # At its corners and below its lids the white is red or dark: its brighter part tells how light it is, and half its tint.
        light = beside.mean(-1)
        own = beside[light >= light.quantile(_BRIGHTER)].median(0).values
        white = (own + white * (own.mean() / white.mean())) / 2
    white = _generic_eye(radius.clamp(min=_WHITE)) * (white / _generic_eye(torch.tensor([_WHITE]))[0])
    return torch.lerp(iris, white, ramp(radius, _EDGE - _SOFT, _EDGE + _SOFT)[:, None])


def _from_hidden(place: Tensor, seen: Tensor) -> Tensor:
    """How far [T] each place [T, 2] is from the nearest one that is not seen [T] (bool)."""
    from scipy.spatial import cKDTree

    distance, _ = cKDTree(place[~seen].numpy()).query(place.numpy())
    return torch.from_numpy(distance).to(place)


def _generic_eye(angle: Tensor) -> Tensor:
    """The generic eye's colour [T, 3] at angles [T] from its axis, as shares of the iris' own."""
    stops = torch.tensor([stop for stop, _ in _GENERIC])
    colors = torch.tensor([color for _, color in _GENERIC])
    high = torch.searchsorted(stops, angle.contiguous()).clamp(1, len(stops) - 1)
    t = ((angle - stops[high - 1]) / (stops[high] - stops[high - 1])).clamp(0, 1)[:, None]
    return colors[high - 1] * (1 - t) + colors[high] * t
