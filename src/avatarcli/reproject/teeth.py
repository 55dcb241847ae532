"""How far down the teeth reach: a smile in the photo shows it for the upper row, the head model knows only the average."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.mesh import sample_image
from avatarcli.head.face_points import LOWER_INNER_LIP, UPPER_INNER_LIP
from avatarcli.head.model import PersonalHead, still_head

_LEAST_OPENING = 0.003  # metres between the lips: a narrower slit shows no edge of teeth
_FARTHEST = 0.008  # metres that the teeth are moved at most
_SAMPLES = 48  # along each line from lip to lip
_INCISORS = 0.008  # metres to either side of the middle
_BRIGHT, _PALE = 0.7, 0.75  # of the skin's luminance at least, of its redness at most
# Metres of the upper incisors below the lip when the mouth is loosely open: 1.9 in men, 3.4 in women (Vig and Brundo, The
# kinetics of anterior tooth display, 1978); and metres by which they overlap the lower ones at most when it is shut.
_DISPLAY, _OVERLAP = 0.0025, 0.002
_LOOSE = {"jawOpen": 0.15}
_MIDDLE = 0.005  # metres to either side of a lip's middle


def fit_upper_teeth(
    head: PersonalHead, posed: Tensor, image: Tensor, camera: Camera, landmarks: Tensor, skin: Tensor
) -> tuple[PersonalHead, bool]:
    """The head with its upper teeth moved down to where the photo shows their edge, and whether it does; else the same head.

    posed [N, 3]: the head in the photo; image [H, W, 3]; landmarks [478, 2] pixels; skin [3]: its typical color.
    """
    incisors = posed[_incisors(head, "teeth_upper")]
    edge, depth = camera.project(incisors[incisors[:, 1].argmin()][None])
    metre = camera.K[1, 1] / depth[0]  # pixels
    upper, lower = landmarks[list(UPPER_INNER_LIP)], landmarks[list(LOWER_INNER_LIP)]
    if (lower - upper).norm(dim=-1).median() < _LEAST_OPENING * metre:
        return head, False
    reach = _tooth_share(image, upper, lower, skin)
    if reach.median() == 0:
        return head, False
    shown = torch.lerp(upper[:, 1], lower[:, 1], reach).median()
    down = ((shown - edge[0, 1]) / metre).clamp(0, _FARTHEST)
    return _lowered(head, "teeth_upper", down), True


def part_teeth(head: PersonalHead, shown: bool) -> PersonalHead:
    """The head with both rows of teeth where an open mouth shows two of them and the dark between: the upper ones hang below
    the lip, the lower ones overlap with them only a little. Rows that are low enough already stay.

    shown: whether a photo has told where the upper ones end; then they stay too.
    """
    upper = head.neutral[_incisors(head, "teeth_upper"), 1].amin()
    down = torch.zeros(()) if shown else (upper - (_upper_lip(head) - _DISPLAY)).clamp(min=0)
    lower = head.neutral[_incisors(head, "teeth_lower"), 1].amax()
    follow = (lower - (upper - down + _OVERLAP)).clamp(0, _FARTHEST)
    return _lowered(_lowered(head, "teeth_upper", down), "teeth_lower", follow)


def _upper_lip(head: PersonalHead) -> Tensor:
    """The height (metres) down to which the upper lip of a loosely open mouth hides what is behind it."""
    posed = head.posed(still_head(_LOOSE))[0]
    between = head.model.landmarks(posed)[[UPPER_INNER_LIP[2], LOWER_INNER_LIP[2]], 1].mean()
    lip = head.model.in_regions("lip") & (posed[:, 0].abs() < _MIDDLE) & (posed[:, 1] > between)
    return posed[lip, 1].amin()


def _incisors(head: PersonalHead, part: str) -> Tensor:
    """Indices [K] of the vertices of a row in front, near its middle."""
    vertices = torch.arange(head.model.vertex_count)[head.model.part(part)]
    place = head.neutral[vertices]
    front = place[:, 2] > place[:, 2].amax() - _INCISORS
    return vertices[front & (place[:, 0].abs() < _INCISORS)]


def _lowered(head: PersonalHead, part: str, down: Tensor) -> PersonalHead:
    neutral = head.neutral.clone()
    neutral[head.model.part(part), 1] -= down
    return replace(head, neutral=neutral)


def looks_like_tooth(colors: Tensor, skin: Tensor) -> Tensor:
    """Which colors [...] (bool) of [..., 3] are bright and pale enough beside a skin [3] for teeth, not lips or gums."""
    bright = colors.mean(-1) > _BRIGHT * skin.mean()
    redness = (colors[..., 0] - colors[..., 2]) / colors.mean(-1).clamp(min=0.05)
    return bright & (redness < _PALE * (skin[0] - skin[2]) / skin.mean())


def _tooth_share(image: Tensor, upper: Tensor, lower: Tensor, skin: Tensor) -> Tensor:
    """Share [L] of each line from an upper to a lower lip's point [L, 2] that shows teeth, from its first tooth down."""
    along = (torch.arange(_SAMPLES) + 0.5) / _SAMPLES
    pixels = upper[:, None] + along[:, None] * (lower - upper)[:, None]
    colors = sample_image(image, pixels.reshape(-1, 2)).view(len(upper), _SAMPLES, 3)
    tooth = looks_like_tooth(colors, skin)
    last = (tooth * along).amax(-1)
    return torch.where(tooth.float().mean(-1) > 0.2, last, torch.zeros_like(last))
