"""What keeps clothes whole in a fit: their Gaussians cling to the surface that they start on, and what floats is found.

The photo and the views contradict each other about clothes. A fit that would please them all spreads Gaussians along their rays.
That looks right from where each was taken; from the side it is torn cloth, with shreds in the air.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.rotations import quaternion_to_matrix
from avatarcli.head.model import PersonalHead

_DRESSED = ("neck", "torso")  # regions that carry clothes; hair, which may fly about, is mostly carried by others
# Metres that a Gaussian may rise from its surface, and sink below it, for a hull is wider than most of its views; and that each of
# its axes may stand out of it.
_RISE, _SINK, THICK_CLOTHES = 0.003, 0.008, 0.0015
# Metres that clothes may stray where a photo shows them: it needs their colors, and what stands before or behind them would be
# seen from aside.
REACH_OF_SHOWN_CLOTHES = 0.006
_BACKGROUND = 0.2  # alpha below which a pixel and all around it show background
_MARGIN = 1 / 200  # of a picture's width: no outline is known more finely
_PERSON = 0.8  # alpha above which a photo shows the person
_ENOUGH = 2  # views that must object: a single one may be wrong, as for the hull


def dressed(head: PersonalHead, binding: Tensor) -> Tensor:
    """Which Gaussians [G] (bool) are carried by neck and shoulders. binding [G]: see `Rig.create`."""
    model = head.model
    return model.faces_in(*_DRESSED)[binding % len(model.faces)]


class Surface(NamedTuple):
    """Where K Gaussians must stay: chosen [K]: their indices; points, normals [K, 3]: of the surface that they start on; reach [K]:
    metres that each may sink at most; thick: metres that each of their axes may stand out of it."""

    chosen: Tensor
    points: Tensor
    normals: Tensor
    reach: Tensor
    thick: float = THICK_CLOTHES

    @torch.no_grad()
    def hold(self, means: Tensor, quaternions: Tensor, log_scales: Tensor) -> None:
        """Bring back, in place, what has left the surface or stands out of it.

        means [G, 3] metres, quaternions [G, 4] wxyz, log_scales [G, 3] of metres.
        """
        height = ((means[self.chosen] - self.points) * self.normals).sum(-1, keepdim=True)
        sink = (self.reach / 2).clamp(max=_SINK)[:, None]
        held = height.clamp(min=-sink).minimum(sink * (_RISE / _SINK))
        means.index_add_(0, self.chosen, (held - height) * self.normals)
        slope = (self.normals[:, None] @ quaternion_to_matrix(quaternions[self.chosen]))[:, 0].abs()
        longest = math.log(self.thick) - slope.clamp(min=1e-3).log()
        log_scales[self.chosen] = torch.minimum(log_scales[self.chosen], longest)


class Witness(NamedTuple):
    """A picture that knows where there is nothing.

    camera; alpha [H, W]; known [H, W] (bool): where it is believed; means [G, 3]: the Gaussians as the picture should show them, in
    the world; photo: whether it is one, whose word counts as much as two views'.
    """

    camera: Camera
    alpha: Tensor
    known: Tensor
    means: Tensor
    photo: bool


def find_strays(head: PersonalHead, binding: Tensor, witnesses: Iterable[Witness]) -> Tensor:
    """Which Gaussians [G] (bool) at neck and shoulders stand before background, as a photo or two views say.

    Where a photo shows the person, two views more must object. binding [G]: see `Rig.create`.
    """
    index = dressed(head, binding).nonzero()[:, 0]
    votes = torch.zeros(len(index), dtype=torch.long, device=binding.device)
    for witness in witnesses:
        empty, full = _shown(witness, witness.means[index])
        votes += _ENOUGH * (empty.long() - full.long()) if witness.photo else empty
    strays = torch.zeros(len(binding), dtype=torch.bool, device=binding.device)
    strays[index] = votes >= _ENOUGH
    return strays


def _shown(witness: Witness, points: Tensor) -> tuple[Tensor, Tensor]:
    """For which points [N] the witness shows clear background, and for which the person (bool). What lies beside its picture or
    where it is not believed is neither."""
    height, width = witness.alpha.shape
    reach = round(width * _MARGIN)
    widened = functional.max_pool2d(witness.alpha[None, None], 2 * reach + 1, stride=1, padding=reach)[0, 0]
    pixels, depth = witness.camera.project(points)
    column, row = pixels.floor().long().unbind(-1)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height) & (depth > 0)
    place = row.clamp(0, height - 1), column.clamp(0, width - 1)
    seen = inside & witness.known[place]
    return seen & (widened[place] < _BACKGROUND), seen & (witness.alpha[place] > _PERSON)
