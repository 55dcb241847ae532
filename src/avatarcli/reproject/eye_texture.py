"""Whole eyeballs from the part of them that the photo shows between the lids."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.head.model import PersonalHead

_BINS = 48  # rings of the radial profile
_IRIS_ANGLE = math.radians(24)  # an 11.7 mm iris on the model's 15 mm ball
# Generic brown eye, from the pupil outwards: (angle as a share of the iris, sRGB), used where the photo shows nothing.
_GENERIC = (
    (0.00, (0.03, 0.03, 0.03)), (0.33, (0.03, 0.03, 0.03)), (0.42, (0.27, 0.18, 0.11)), (0.85, (0.24, 0.16, 0.10)),
    (1.02, (0.16, 0.12, 0.10)), (1.15, (0.72, 0.67, 0.64)), (1.60, (0.78, 0.73, 0.71)), (4.00, (0.68, 0.54, 0.52)),
)  # fmt: skip
_PRIOR_WEIGHT = 2.0  # texels' worth of the generic profile in each ring


def paint_eye(head: PersonalHead, points: Tensor, color: Tensor, trust: Tensor, name: str) -> Tensor:
    """Colours [T, 3] of all texels of one eyeball.

    points [T, 3]: the texels on the eyeball at rest, looking ahead; color [T, 3], trust [T]: what the photo says. An eye is
    nearly the same all the way around its axis, so what the lids hide is continued in rings.
    """
    centre = head.joints[head.model.joint_names.index(name)]
    axis_cosine = functional.normalize(points - centre, dim=-1)[:, 2]
    angle = torch.arccos(axis_cosine.clamp(-1, 1)) / _IRIS_ANGLE
    generic = _generic_eye(angle)
    # The shadow of the upper lid and the lashes darken the edge of the opening; the middle of a ring's colours is the eye's.
    seen = trust > 0.3
    ring = (angle / 2.2 * _BINS).long().clamp(max=_BINS - 1)
    profile = torch.empty(_BINS, 3)
    weight = torch.empty(_BINS)
    for index in range(_BINS):
        here = seen & (ring == index)
        weight[index] = float(here.sum())
        own = color[here].median(0).values if here.any() else torch.zeros(3)
        base = _generic_eye(torch.tensor([(index + 0.5) / _BINS * 2.2]))[0]
        profile[index] = (own * weight[index] + base * _PRIOR_WEIGHT) / (weight[index] + _PRIOR_WEIGHT)
    if float(weight.sum()) < 4:
        return generic
    position = (angle / 2.2 * _BINS - 0.5).clamp(0, _BINS - 1)
    low = position.floor().long()
    high = (low + 1).clamp(max=_BINS - 1)
    blend = (position - low)[:, None]
    continued = profile[low] * (1 - blend) + profile[high] * blend
    # Behind the visible opening the white turns pink; the profile's last ring knows only the front.
    behind = ((angle - 1.8) / 0.8).clamp(0, 1)[:, None]
    continued = continued * (1 - behind) + generic * behind
    confident = ((trust - 0.5) / 0.4).clamp(0, 1)[:, None]
    return color * confident + continued * (1 - confident)


def _generic_eye(angle: Tensor) -> Tensor:
    """The generic eye's colour [T, 3] at angles [T] from its axis, as shares of the iris' own."""
    stops = torch.tensor([stop for stop, _ in _GENERIC])
    colors = torch.tensor([color for _, color in _GENERIC])
    high = torch.searchsorted(stops, angle.contiguous()).clamp(1, len(stops) - 1)
    t = ((angle - stops[high - 1]) / (stops[high] - stops[high - 1])).clamp(0, 1)[:, None]
    return colors[high - 1] * (1 - t) + colors[high] * t
