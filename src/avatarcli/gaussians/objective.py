"""What a fit minimises: Gaussians posed as one picture shows them, how far their picture is from it, and what keeps them sane.

Whatever changes from step to step is a tensor, and nothing here waits for a value: so a GPU can record both functions once and
replay them, which takes a tenth of the time that Python needs to ask for all their small steps.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from avatarcli.gaussians import _objective_rules as rules
from avatarcli.gaussians.avatar import SH_C0, Correctives, Splats
from avatarcli.gaussians.losses import detail_loss, ssim
from avatarcli.gaussians.rig import Motion, lengths
from avatarcli.geometry.fill import halved
from avatarcli.geometry.rotations import axis_angle_to_matrix


class Bounds(NamedTuple):
    """What holds Gaussians back. moving [G]: whether they follow the expression; start [G, 3]: where they started, reach [G]: how
    far they may go from there (metres)."""

    moving: Tensor
    start: Tensor
    reach: Tensor


class Shot(NamedTuple):
    """What one picture shows. affine [G, 3, 3], shift [G, 3], turn [G, 4]: a `Motion`; expression [52]; row [P]: 1 at the
    picture's place in the table of nudges and tints, all 0 for a picture that has none."""

    affine: Tensor
    shift: Tensor
    turn: Tensor
    expression: Tensor
    row: Tensor


class Wanted(NamedTuple):
    """The picture itself: color [H, W, 3] (premultiplied), alpha [H, W], trust [H, W], and a background [3] behind it."""

    color: Tensor
    alpha: Tensor
    trust: Tensor
    background: Tensor


class Row(NamedTuple):
    """A picture's row of the table of nudges and tints. rotation [3, 3], shift [3] metres: how it moves all Gaussians; tint [3]: by
    how much it brightens them; price []: what that costs."""

    rotation: Tensor
    shift: Tensor
    tint: Tensor
    price: Tensor


def table_row(parameters: dict[str, Tensor], shot: Shot) -> Row:
    """What the table says about a picture."""
    nudge, tint = shot.row @ parameters["nudge"], shot.row @ parameters["tint"]
    price = rules.NUDGE * nudge.square().sum() + rules.TINT * tint.square().sum()
    return Row(axis_angle_to_matrix(nudge[:3]), nudge[3:], tint, price)


def pose(parameters: dict[str, Tensor], bounds: Bounds, shot: Shot) -> tuple[Splats, Tensor]:
    """The Gaussians in the world as the picture should show them, and the regularisers' sum."""
    p = parameters
    correctives = Correctives(p["hidden_weight"], p["hidden_bias"], p["output_weight"], p["basis"])
    offsets = correctives.offsets(shot.expression) * bounds.moving[:, None]
    scales = p["log_scales"].exp()
    means, quaternions, stretched = Motion(shot.affine, shot.shift, shot.turn).place(
        p["means"] + offsets, p["quaternions"], scales
    )
    row = table_row(p, shot)
    means = means @ row.rotation.T + row.shift
    colors = (0.5 + SH_C0 * p["sh"][:, 0]).clamp(min=0) * (1 + row.tint)
    splats = Splats(means, quaternions, stretched, p["opacity_logits"].sigmoid(), colors)

    strayed = (lengths(p["means"] - bounds.start) - bounds.reach).clamp(min=0).mean()
    big = (scales - rules.BIG_FREE).clamp(min=0).mean()
    ordered = p["log_scales"].sort(dim=-1).values
    needle = (ordered[:, 2] - ordered[:, 1] - rules.NEEDLE_FREE).clamp(min=0).mean()
    shape = rules.STRAY * strayed + rules.BIG * big + rules.NEEDLE * needle
    return splats, shape + rules.CORRECTIVE * lengths(offsets).mean() + row.price


def picture_loss(color: Tensor, alpha: Tensor, wanted: Wanted) -> Tensor:
    """How far a drawn picture (color [H, W, 3], premultiplied, and alpha [H, W]) is from the wanted one, where that is trusted."""
    target = wanted.color + (1 - wanted.alpha)[..., None] * wanted.background
    trust = wanted.trust
    color = color + (1 - alpha)[..., None] * wanted.background
    color = color * trust[..., None] + target * (1 - trust)[..., None]
    # Structure is compared at half the size, at a quarter of the cost: detail has a term of its own.
    return (
        rules.L1 * (color - target).abs().mean()
        + rules.SSIM * (1 - ssim(halved(color), halved(target)))
        + rules.DETAIL * detail_loss(color, target, rules.DETAIL_LEVELS)
        + rules.ALPHA * ((alpha - wanted.alpha).abs() * trust).mean()
    )
