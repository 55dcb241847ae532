"""Blinks that shut a person's eyes.

The head model's blink moves the lids of all heads by the same way. For nearly all of them it is too long: lids meet at two
thirds of it, at the outer corner at half, and then the upper one runs over the lower one, down to the cheek.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from avatarcli.geometry.cameras import orbit_cameras
from avatarcli.geometry.mesh import rasterize_mesh
from avatarcli.head.expressions import EXPRESSION_INDEX

if TYPE_CHECKING:
    from avatarcli.head.model import HeadModel

_EYES = {"eye_l": "eyeBlinkLeft", "eye_r": "eyeBlinkRight"}
_WIDTH, _SIZE, _DISTANCE = 0.05, 256, 1.0  # of an eye's picture: metres across, pixels, metres to the camera
_NEAR = 0.04  # metres around an eye's middle: what its picture is drawn of
_OVERLAP = 0.0006  # metres by which shut lids overlap: lids that only touch would leave a slit of eye
_SMOOTH = 0.002  # metres along the lids, over which the way is averaged
_SHARE = (0.2, 1.5)  # of the model's way: what is beyond these is not an eye


def shut_at_one(model: HeadModel, neutral: Tensor) -> Tensor:
    """What each expression at 1 adds to the vertices of one head [52, N, 3], metres: the model's, but blinks shut its eyes.

    neutral [N, 3]: that head at rest. All along the lids the blink's way is as long as the eye is open there.
    """
    basis = model.expression_basis.clone()
    for eye, blink in _EYES.items():
        way = basis[EXPRESSION_INDEX[blink]]
        moved = way.any(-1)
        share = _shares(model, neutral.cpu(), eye, way.cpu())(neutral[moved, 0].cpu())
        way[moved] *= share.to(way)[:, None]
    return basis


def _shares(model: HeadModel, neutral: Tensor, eye: str, way: Tensor) -> Callable[[Tensor], Tensor]:
    """Which share of a blink's way [N, 3] shuts the lids at each place across [P] (metres); 1 if the eye is not open."""
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
    # The ball, the height of what is seen and how far a blink lowers it.
    seen = torch.stack([is_ball, neutral[:, 1], -way[:, 1]], dim=-1)
    ball_shown, height, drop = raster.interpolate(seen, faces[near]).unbind(-1)
    rows = torch.arange(_SIZE)[:, None]
    shown = ball_shown > 0.5
    upper = torch.where(shown, rows, _SIZE).amin(0) - 1
    lower = torch.where(shown, rows, -1).amax(0) + 1
    open_at = (shown.any(0) & (upper >= 0) & (lower < _SIZE)).nonzero()[:, 0]
    if len(open_at) == 0:
        return torch.ones_like
    above, below = (upper[open_at], open_at), (lower[open_at], open_at)
    gap = height[above] - height[below] + _OVERLAP
    closing = (drop[above] - drop[below]).clamp(min=0)
    columns = middle[0] + (open_at + 0.5 - _SIZE / 2) * (_WIDTH / _SIZE)

    def share(across: Tensor) -> Tensor:
        # Beyond the corners the last one: there is hardly any way.
        place = across.clamp(columns.amin(), columns.amax())
        nearby = torch.exp(-0.5 * ((place[:, None] - columns) / _SMOOTH).square())
        best = (nearby @ (gap * closing)) / (nearby @ closing.square()).clamp(min=1e-12)
        return best.clamp(*_SHARE)

    return share
