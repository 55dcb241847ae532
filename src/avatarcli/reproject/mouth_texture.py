"""The inside of a mouth, painted: single teeth, gums, tongue and the dark behind them. A photo shows a piece of it at best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.nn import functional

from avatarcli.geometry.fill import ramp
from avatarcli.head.model import PARTS, PersonalHead

# sRGB colors in full light.
_CAVITY, _TONGUE, _GUM, _TOOTH = (0.34, 0.14, 0.14), (0.59, 0.34, 0.34), (0.62, 0.35, 0.35), (0.90, 0.84, 0.77)
# Metres as far as light falls in freely, and by which it then falls to a third: between cheeks, from the lips; on teeth, from the
# foremost; along the tongue from its tip.
_CAVITY_LIGHT, _TEETH_LIGHT, _TONGUE_LIGHT = (0.014, 0.016), (0.004, 0.018), (0.004, 0.013)
_INNER = 0.55  # how much darker the side of teeth is that faces the tongue
# Light of teeth beside the white of the eyes (1.1 to 1.4 in photos that show both), and how much less or more than in full light
# is believed.
_BESIDE_WHITE, _EXPOSURE = 1.15, (0.5, 1.05)
_WHITEST, _FEW = (
    0.9,
    100,
)  # quantile of an eye's light that its white has; texels of teeth that do not tell their color
# Of half a tooth's width: where it turns away to the gap beside it; how dark and how brown that is.
_TURN, _GAP, _GAP_TINT = (0.7, 1.0), 0.5, (1.0, 0.92, 0.86)
# Of a tooth's height from the gum: as far it is warmer, from where it is a little clear.
_NECK, _NECK_TINT, _CLEAR, _CLEAR_SHADE = 0.35, (1.0, 0.95, 0.86), 0.85, 0.94
_GROOVE, _GROOVE_SHADE = 0.002, 0.12  # of the tongue: deviation of its width in metres, how dark it is
_UNDER = 0.35  # how much darker the tongue is below


def exposure(eyes: Sequence[Tensor]) -> float:
    """How light full light is in a photo, by its eyes' colors [T, 3]: what is white in them tells it for the mouth too."""
    white = sum(float(eye.mean(-1).quantile(_WHITEST)) for eye in eyes) / len(eyes)
    low, high = _EXPOSURE
    return min(max(_BESIDE_WHITE * white / (sum(_TOOTH) / 3), low), high)


def tooth_color(shown: Tensor, light: float) -> Tensor:
    """The color [3] of teeth: by what a photo shows of them [T, 3], or, where that is little, as teeth are in its light."""
    return shown.median(0).values if len(shown) > _FEW else light * torch.tensor(_TOOTH)


def paint_cavity(head: PersonalHead, points: Tensor) -> Tensor:
    """Colors [T, 3] of points [T, 3] at rest between the cheeks."""
    lips = head.neutral[head.model.in_regions("lip"), 2].amax()
    return torch.tensor(_CAVITY) * _light(lips - points[:, 2], *_CAVITY_LIGHT)


def paint_tongue(head: PersonalHead, points: Tensor, normals: Tensor) -> Tensor:
    """Colors [T, 3] of points [T, 3] at rest on the tongue; normals [T, 3] outwards.

    Bright by its distance from the tip, for a tongue that is put out takes its light along.
    """
    tip = head.neutral[head.model.part("tongue"), 2].amax()
    groove = 1 - _GROOVE_SHADE * torch.exp(-(points[:, 0] / _GROOVE).square()) * (normals[:, 1] > 0)
    below = 1 - _UNDER * ramp(-normals[:, 1], -0.2, 0.8)
    return torch.tensor(_TONGUE) * _light(tip - points[:, 2], *_TONGUE_LIGHT) * (groove * below)[:, None]


def paint_teeth(head: PersonalHead, points: Tensor, normals: Tensor, face: Tensor, name: str, tooth: Tensor) -> Tensor:
    """Colors [T, 3] of points [T, 3] at rest on one row of teeth and its gums: teeth with dark gaps between them, in the shade of
    the cheeks towards the back and of themselves towards the tongue.

    normals [T, 3] outwards; face [T]: the triangles they lie on; name: the row among PARTS; tooth [3]: the person's.
    """
    color = tooth.expand(len(points), 3).clone()
    pieces, gum = _pieces(head, name)
    piece = pieces[head.model.faces[face, 0]]
    for index, along in _along_the_arch(head, pieces, gum).items():
        here, whole = piece == index, head.neutral[pieces == index]
        color[here] *= _tooth_shade(points[here], whole, along, upper=name == "teeth_upper")
    color[piece == gum] = torch.tensor(_GUM) * (tooth.mean() / (sum(_TOOTH) / 3))
    row = head.neutral[head.model.part(name)]
    middle = (row.amin(0) + row.amax(0)) / 2
    outward = functional.normalize((points - middle) * torch.tensor([1.0, 0.0, 1.0]), dim=-1)
    inner = ramp(-(normals * outward).sum(-1), 0.0, 0.7)[:, None]
    return color * (1 - _INNER * inner) * _light(row[:, 2].amax() - points[:, 2], *_TEETH_LIGHT)


def _tooth_shade(points: Tensor, whole: Tensor, along: Tensor, *, upper: bool) -> Tensor:
    """What to multiply the color of points [T, 3] on one tooth with, [T, 3]. whole [K, 3]: its vertices; along [3]: towards its
    neighbour."""
    low, high = (whole @ along).amin(), (whole @ along).amax()
    aside = ((points @ along - low) / (high - low) * 2 - 1).abs()
    gap = ramp(aside, *_TURN)[:, None]
    bottom, top = whole[:, 1].amin(), whole[:, 1].amax()
    out = (points[:, 1] - bottom) / (top - bottom)
    out = (1 - out if upper else out)[:, None]
    neck, clear = 1 - ramp(out, 0.0, _NECK), ramp(out, _CLEAR, 1.0)
    shade = torch.lerp(torch.ones(3), torch.tensor(_NECK_TINT), neck) * torch.lerp(
        torch.ones(3), torch.tensor(_GAP_TINT), gap
    )
    return shade * (1 - _GAP * gap) * (1 - (1 - _CLEAR_SHADE) * clear)


def _pieces(head: PersonalHead, name: str) -> tuple[Tensor, int]:
    """Which piece of the mesh each vertex [N] belongs to, −1 beside the row, and which piece is its gum. Every tooth is a small
    piece, the gum is the largest."""
    model = head.model
    faces = model.faces[model.face_part == PARTS.index(name)].numpy()
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    shape = (model.vertex_count, model.vertex_count)
    _, label = connected_components(coo_matrix((np.ones(len(edges)), edges.T), shape=shape), directed=False)
    row = np.zeros(model.vertex_count, bool)
    row[faces] = True
    return torch.from_numpy(np.where(row, label, -1)), int(np.bincount(label[faces[:, 0]]).argmax())


def _along_the_arch(head: PersonalHead, pieces: Tensor, gum: int) -> dict[int, Tensor]:
    """For each tooth of a row the level direction [3] from its one neighbour to its other."""
    teeth = [int(index) for index in pieces.unique() if index not in (-1, gum)]
    centres = torch.stack([head.neutral[pieces == index].mean(0) for index in teeth])
    middle = (centres[:, 2].amin() + centres[:, 2].amax()) / 2
    order = torch.atan2(centres[:, 0], centres[:, 2] - middle).argsort()
    level = centres[order] * torch.tensor([1.0, 0.0, 1.0])
    step = torch.cat([level[1:2] - level[:1], level[2:] - level[:-2], level[-1:] - level[-2:-1]])
    directions = functional.normalize(step, dim=-1)
    return {teeth[int(place)]: direction for place, direction in zip(order, directions, strict=True)}


def _light(depth: Tensor, free: float, length: float) -> Tensor:
    """How much light [T, 1] is left at depths [T], metres: all as far as it falls in freely, a third after a length more."""
    return torch.exp(-(depth - free).clamp(min=0) / length)[:, None]
