"""Blinks that shut a person's eyes.

The head model's blink moves the lids of all heads by the same way. For nearly all of them it is too long: lids meet at two
thirds of it, at the outer corner at half, and then the upper one runs over the lower one, down to the cheek. Other expressions
narrow or widen the eye too: looking down and squinting each close a third of it. What they have closed is spared a blink.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from avatarcli.geometry.cameras import orbit_cameras
from avatarcli.geometry.mesh import rasterize_mesh
from avatarcli.head.expressions import BLINKS, EXPRESSION_NAMES

if TYPE_CHECKING:
    from avatarcli.head.model import HeadModel

_EYES = ("eye_l", "eye_r")
_WIDTH, _SIZE, _DISTANCE = 0.05, 256, 1.0  # of an eye's picture: metres across, pixels, metres to the camera
_NEAR = 0.04  # metres around an eye's middle: what its picture is drawn of
_OVERLAP = 0.0006  # metres by which shut lids overlap: lids that only touch would leave a slit of eye
_SMOOTH = 0.002  # metres along the lids, over which the way is averaged
_SHARE = (0.2, 1.5)  # of the model's way: what is beyond these is not an eye
LONGEST = 2.0  # times its way at rest: the most that a blink of widened eyes goes


@dataclass(frozen=True)
class Blinks:
    """How the blinks of one head shorten where other expressions narrow its eyes, and lengthen where they widen them.

    rows [M]: the vertices that either blink moves; way [2, M, 3]: how far the left one and the right one do at rest, metres;
    spared [2, 52, M]: the share of its way that each expression at 1 spares each blink there, below 0 for those that widen.
    """

    rows: Tensor
    way: Tensor
    spared: Tensor

    @classmethod
    def alone(cls) -> Blinks:
        """Blinks that give way to nothing."""
        none = torch.zeros(0)
        return cls(none.long(), none.view(2, 0, 3), none.view(2, len(EXPRESSION_NAMES), 0))

    def correction(self, expression: Tensor) -> Tensor:
        """What to add to the vertices `rows` [T, M, 3], metres, that expressions [T, 52] have moved as if each were alone."""
        spared = torch.einsum("te,sem->tsm", expression, self.spared).clamp(1 - LONGEST, 1)
        return -torch.einsum("ts,tsm,smc->tmc", expression[:, BLINKS], spared, self.way)

    def to(self, device: torch.device | str) -> Blinks:
        return Blinks(self.rows.to(device), self.way.to(device), self.spared.to(device))


def shut_at_one(model: HeadModel, neutral: Tensor) -> Tensor:
    """What each expression at 1 adds to the vertices of one head [52, N, 3], metres: the model's, but blinks shut its eyes.

    neutral [N, 3]: that head at rest. All along the lids the blink's way is as long as the eye is open there.
    """
    return shut_together(model, neutral)[0]


def shut_together(model: HeadModel, neutral: Tensor) -> tuple[Tensor, Blinks]:
    """What `shut_at_one` gives, and how the blinks of this head give way to other expressions."""
    basis = model.expression_basis.clone()
    rows = basis[BLINKS].any(-1).any(0).nonzero()[:, 0]
    spared = []
    for eye, blink in zip(_EYES, BLINKS, strict=True):
        share, by_others = _shares(model, neutral.cpu(), eye, blink, neutral[rows, 0].cpu())
        basis[blink, rows] *= share.to(basis)[:, None]
        spared.append(by_others)
    return basis, Blinks(rows, basis[BLINKS][:, rows], torch.stack(spared).to(basis))


def _shares(model: HeadModel, neutral: Tensor, eye: str, blink: int, across: Tensor) -> tuple[Tensor, Tensor]:
    """Which share of a blink's way shuts the lids at places across [M] (metres), 1 if the eye is not open; and how much of that
    each expression at 1 does by itself [52, M], blinks excepted."""
    ball = neutral[model.part(eye)]
    middle = (ball.amin(0) + ball.amax(0)) / 2
    faces = model.faces.cpu()
    near = ((neutral[faces].mean(1) - middle).norm(dim=-1) < _NEAR).nonzero()[:, 0]
    is_ball = torch.zeros(len(neutral))
    is_ball[model.part(eye)] = 1
    front = torch.zeros(1)
    camera = orbit_cameras(
        front, front, distance=_DISTANCE, target=middle, focal=_SIZE * _DISTANCE / _WIDTH, size=_SIZE
    )[0]
    raster = rasterize_mesh(neutral, faces[near], camera)
    # The ball, the height of what is seen and how far each expression lowers it.
    seen = torch.cat([is_ball[None], neutral[None, :, 1], -model.expression_basis[..., 1].cpu()]).T
    ball_shown, height, *drops = raster.interpolate(seen, faces[near]).unbind(-1)
    rows = torch.arange(_SIZE)[:, None]
    shown = ball_shown > 0.5
    upper = torch.where(shown, rows, _SIZE).amin(0) - 1
    lower = torch.where(shown, rows, -1).amax(0) + 1
    open_at = (shown.any(0) & (upper >= 0) & (lower < _SIZE)).nonzero()[:, 0]
    if len(open_at) == 0:
        return torch.ones(len(across)), torch.zeros(len(drops), len(across))
    above, below = (upper[open_at], open_at), (lower[open_at], open_at)
    gap = height[above] - height[below] + _OVERLAP
    closing = torch.stack([drop[above] - drop[below] for drop in drops])  # [52, C]
    way = closing[blink].clamp(min=0)
    closing[BLINKS] = 0
    columns = middle[0] + (open_at + 0.5 - _SIZE / 2) * (_WIDTH / _SIZE)
    # Beyond the corners the last one: there is hardly any way.
    place = across.clamp(columns.amin(), columns.amax())
    nearby = torch.exp(-0.5 * ((place[:, None] - columns) / _SMOOTH).square())
    whole = (nearby @ way.square()).clamp(min=1e-12)
    share = (nearby @ (gap * way) / whole).clamp(*_SHARE)
    return share, ((closing * way) @ nearby.T / whole / share).clamp(-1, 1)
