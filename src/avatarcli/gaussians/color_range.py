"""Colors that Gaussians may take: those that the pictures agree on at their place.

A fit paints whatever lowers the error of one picture. Where views contradict each other, a neck gets specks of the hair that one
of them lets hang there; and what hardly shows drifts far from every picture's color, for Adam follows the faintest pull as far as a
strong one. Seen from aside that is dirt on skin. So each place has the color that most of those see who look at it squarely. A
photo that does decides alone, but is no leave to drift: a chin that is fitted lower hides what it shows, until the mouth opens.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from avatarcli.gaussians.avatar import SH_C0
from avatarcli.geometry.space import neighbours

_MARGIN = 0.05  # of a color: what light, and the mixture with what stands behind, may add to what is agreed on
_DETAIL = 0.1  # of a color: so much more than that a photo's detail is, which is finer than starts are
_TOLD = 0.3  # of a picture that sees a place wholly and squarely: with less it is told by its neighbours
_AROUND = 10  # places that tell what a place shows: borders may move by as much


class ColorRange(NamedTuple):
    """Color coefficients, as `Avatar` has them, between which Gaussians stay: low, high [G, 3]."""

    low: Tensor
    high: Tensor

    @classmethod
    def free(cls, points: Tensor) -> ColorRange:
        """None that holds Gaussians at points [G, 3]."""
        return cls(torch.full_like(points, -torch.inf), torch.full_like(points, torch.inf))

    def part(self, source: Tensor) -> ColorRange:
        """The rows `source` [G'] of it."""
        return ColorRange(self.low[source], self.high[source])

    def to(self, device: torch.device | str) -> ColorRange:
        return ColorRange(self.low.to(device), self.high.to(device))

    @torch.no_grad()
    def hold(self, sh: Tensor, chosen: Tensor | None) -> None:
        """Bring coefficients [G, 1, 3] of chosen Gaussians [G] (bool) back, in place; None: of all."""
        if chosen is None:
            sh[:, 0].clamp_(self.low, self.high)
        else:
            sh[:, 0] = torch.where(chosen[:, None], sh[:, 0].clamp(self.low, self.high), sh[:, 0])


def agreed_colors(points: Tensor, shown: Tensor, weights: Tensor, held: Tensor, decided: Tensor) -> ColorRange:
    """What V pictures agree on about places.

    points [G, 3]: metres; shown [V, G, 3]: their color in each picture; weights [V, G]: how well it sees them; held [G] (bool):
    which are held to that, the others are free; decided [G] (bool): those whose weights are of photos alone, which need no vote.
    """
    bounds = ColorRange.free(points)
    told = (weights.sum(0) > _TOLD).nonzero()[:, 0]
    of = held.nonzero()[:, 0]
    if not (len(told) and len(of)):
        return bounds
    own = middle_colors(shown[:, told], weights[:, told])
    # Where pictures disagree, of two places beside each other each could follow another of them.
    _, near = neighbours(points[told], points[told], _AROUND)
    own = torch.where(decided[told, None], own, middle_colors(own[near.T], torch.ones(near.T.shape)))
    _, near = neighbours(points[told], points[of], _AROUND)
    around = own[near]
    margin = torch.where(decided[of, None], _DETAIL, _MARGIN)
    bounds.low[of] = (around.amin(1) - margin - 0.5) / SH_C0
    bounds.high[of] = (around.amax(1) + margin - 0.5) / SH_C0
    return bounds


def middle_colors(colors: Tensor, weights: Tensor) -> Tensor:
    """Of colors [V, N, 3] with weights [V, N] the one [N, 3] that is nearest to all: a median, for a mean of two is neither."""
    cost = torch.stack([(weights * (colors - own).norm(dim=-1)).sum(0) for own in colors])
    chosen = cost.masked_fill(weights <= 0, torch.inf).argmin(0)
    return colors.gather(0, chosen[None, :, None].expand(1, -1, 3))[0]
