"""How correctives begin, and what each may answer to: eyes and brows move what is around them, the mouth what is around it.

One network for the whole face would learn from few pictures that a wide eye comes with an open mouth, and lips would swim whenever
somebody looks up. So some of the coefficients listen to eyes and brows alone, the others to everything else, and a Gaussian follows
only those whose expressions move the skin below it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from avatarcli.gaussians.avatar import Correctives
from avatarcli.head.expressions import EXPRESSION_NAMES
from avatarcli.head.model import HeadModel

_HIDDEN = 32  # width of the network
_AT_ONCE = 4  # expressions that a face shows at a time, about
_UPPER, _UPPER_SHARE = ("brow", "eye"), 3 / 8  # names of the upper face's expressions; their share of all directions
_SHOWN = 0.1  # strength from which a picture shows an expression
_MOVES = 0.0003  # metres by which an expression moves what it may correct


def new_correctives(
    count: int, directions: int, generator: torch.Generator, shown: Tensor | None = None
) -> Correctives:
    """Correctives that do nothing yet, for `count` Gaussians and `directions` coefficients.

    shown [..., 52]: the expressions of the pictures that they will learn from; None: any. They never answer to others, about which
    they could only guess.
    """
    hidden = torch.randn(_HIDDEN, len(EXPRESSION_NAMES), generator=generator) / math.sqrt(_AT_ONCE)
    output = torch.randn(directions, _HIDDEN, generator=generator) / math.sqrt(_HIDDEN)
    units, answers = _upper_part(_HIDDEN), _upper_part(directions)
    hidden = hidden * (units[:, None] == _upper_expressions())
    if shown is not None:
        hidden = hidden * (shown.view(-1, len(EXPRESSION_NAMES)).amax(0) > _SHOWN)
    output = output * (answers[:, None] == units)
    return Correctives(hidden, torch.zeros(_HIDDEN), output, torch.zeros(count, directions, 3))


def may_follow(model: HeadModel, faces: Tensor, directions: int) -> Tensor:
    """Which coefficients [G, directions] (bool) move Gaussians on triangles `faces` [G]."""
    way = model.expression_basis.norm(dim=-1)[:, model.faces].mean(-1)
    upper = _upper_expressions().to(way.device)
    moved = torch.stack([way[~upper].amax(0) > _MOVES, way[upper].amax(0) > _MOVES])
    return moved[_upper_part(directions).long().to(way.device)][:, faces].T


def _upper_part(count: int) -> Tensor:
    """Which of `count` units or coefficients [count] (bool) belong to the upper face."""
    return torch.arange(count) < int(_UPPER_SHARE * count)


def _upper_expressions() -> Tensor:
    """Which expressions [52] (bool) are of eyes and brows."""
    return torch.tensor([name.startswith(_UPPER) for name in EXPRESSION_NAMES])
