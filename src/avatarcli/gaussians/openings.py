"""What a face at rest hides between lids and lips: eyes, rolled-up lids, teeth, tongue and the dark behind them.

No picture teaches them. The photo shows a piece of them or nothing, and views imagine teeth, gums and tongue as one pink mass,
another iris each, and bruised lids. What a fit makes of that falls apart as soon as eyes turn or the mouth opens another way. So
they are drawn as the head model and its texture have them, finely where they can be seen, and the fit leaves them so.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.head.hidden import pixels_shown, rolled_up
from avatarcli.head.model import PersonalHead

RIMS = ("lip", "eyelid")  # regions around the openings
_BEHIND = {"lip": ("mouth_cavity",), "eyelid": ("eye_socket",)}  # into what they turn at the edge of their opening
_INSIDE_MOUTH = ("mouth_cavity", "teeth", "tongue")
# Mouths and views (yaw, pitch; degrees) that between them show whatever can be seen of a mouth's inside.
_MOUTHS: tuple[dict[str, float], ...] = (
    {"jawOpen": 1.0},
    {"jawOpen": 0.3, "mouthSmileLeft": 1.0, "mouthSmileRight": 1.0, "mouthUpperUpLeft": 1.0, "mouthUpperUpRight": 1.0},
    {"mouthLowerDownLeft": 1.0, "mouthLowerDownRight": 1.0, "mouthUpperUpLeft": 1.0, "mouthUpperUpRight": 1.0},
    {"jawOpen": 0.5, "tongueOut": 1.0},
)
_VIEWS = tuple((yaw, pitch) for yaw in (-50.0, 0.0, 50.0) for pitch in (-20.0, 15.0))
_OFTEN = 3  # pictures: what shows in as many counts in full
_LINING = 0.3  # of the cavity where they do not show it: no light may fall in from behind
_IRIS, _WHITE = math.radians(28), math.radians(65)  # around an eye's axis; what turned eyes show of the white
_FINE, _LID = 4.0, 5.0  # how densely irises are covered beside the white, and rolled-up lids, which unroll to as much


def between_rims(head: PersonalHead) -> Tensor:
    """Which triangles [F] (bool) show between lids and between lips."""
    return head.model.faces_in(*_INSIDE_MOUTH, "eye")


def rolled_lids(head: PersonalHead) -> Tensor:
    """Which triangles [F] (bool) are of lids that open eyes roll up."""
    return rolled_up(head)[head.model.faces].mean(1) > 0.5


def hidden_at_rest(head: PersonalHead) -> Tensor:
    """Which triangles [F] (bool) show between lids and lips, or are of lids that open eyes roll up."""
    return between_rims(head) | rolled_lids(head)


def at_rims(head: PersonalHead) -> Tensor:
    """Which triangles [F] (bool) are of lids, rolled up ones too, and of lips, without those that reach into the skin around."""
    model = head.model
    inward = [model.faces_in(rim, *behind) & ~model.faces_in(*behind) for rim, behind in _BEHIND.items()]
    return torch.stack([*inward, rolled_lids(head)]).any(0)


def at_edges(head: PersonalHead) -> Tensor:
    """Which triangles [F] (bool) draw the edge of an opening: all lids, and lips where they turn into the mouth."""
    model = head.model
    mouth, inside = at_rims(head) & model.in_regions("lip")[model.faces].any(-1), model.in_regions(*_BEHIND["lip"])
    turning = torch.zeros_like(inside)
    turning[model.faces[mouth & inside[model.faces].any(-1)]] = True
    return at_rims(head) & (~mouth | turning[model.faces].any(-1))


def detail(head: PersonalHead) -> Tensor:
    """How densely Gaussians must cover each triangle [F] beside others of its region: more where irises are, not at all where
    teeth, tongue and eyes are never seen. Few and large ones there would stick out of the skin."""
    model = head.model
    density = torch.ones(len(model.faces))
    density[rolled_lids(head)] = _LID
    inside = model.faces_in(*_INSIDE_MOUTH)
    often = (pixels_shown(head, "lip", _MOUTHS, _VIEWS) > 0).sum(0)
    density[inside] = (often[inside] / _OFTEN).clamp(max=1)
    cavity = model.faces_in("mouth_cavity")
    density[cavity] = density[cavity].clamp(min=_LINING)
    centres = head.neutral[model.faces].mean(1)
    eyes = head.joints[[model.joint_names.index(name) for name in ("eye_l", "eye_r")]]
    outward = functional.normalize(centres[:, None] - eyes, dim=-1)[..., 2].amax(1)
    eye = model.faces_in("eye")
    density[eye & (outward > math.cos(_IRIS))] = _FINE
    density[eye & (outward < math.cos(_WHITE))] = 0.0
    return density
