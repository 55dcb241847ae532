"""Backdrop that a matte took for part of the person: a flag or a curtain that shows beside the hair."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from avatarcli.capture.portrait import Label, Portrait
from avatarcli.geometry.colors import COLOR_FLOOR, log_colors

_LEAST = 1 / 4000  # of the picture: smaller pieces are left alone
_BESIDE = 1 / 100  # of the picture's width: so near a piece the backdrop and the person tell what it is
_BORDER = 0.3  # of a piece's surroundings that must be backdrop
# Up to which distances of tints and logarithms of light a piece has the backdrop's color, and from which logarithms on not that of
# the other clothes. Of 19 loose pieces of clothes in 152 portraits one is backdrop: .05 and .1 from it; of the others that are
# unlike the clothes, necks in the shade are .13 and .1, or .05 and .6.
_TINT, _LIGHT, _OTHER = 0.06, 0.3, 0.6


def without_backdrop(portrait: Portrait) -> Portrait:
    """A labelled portrait whose matte and labels lack pieces of backdrop that they took for clothes.

    Such a piece hangs together with no other clothes, borders on the backdrop, and has its color rather than theirs.
    """
    clothes = portrait.region(Label.CLOTHES)
    if clothes is None or portrait.labels is None or not clothes.any():
        return portrait
    pieces, count = ndimage.label(clothes.numpy())
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    largest = int(sizes.argmax())
    found = np.zeros(pieces.shape, bool)
    for piece in range(1, count + 1):
        if piece != largest and sizes[piece] > _LEAST * pieces.size:
            where = pieces == piece
            if _is_backdrop(portrait, where, pieces == largest):
                found |= where
    if not found.any():
        return portrait
    # Its soft edge goes with it: what is nearer to it than to the rest of the person.
    known = (portrait.labels > 0).numpy()
    row, column = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    gone = torch.from_numpy(found[row, column])
    return replace(
        portrait, matte=portrait.matte.masked_fill(gone, 0), labels=portrait.labels.masked_fill(gone, Label.BACKGROUND)
    )


def _is_backdrop(portrait: Portrait, where: NDArray[np.bool_], clothes: NDArray[np.bool_]) -> bool:
    """where, clothes [S, S]: a piece, and the clothes."""
    around = ndimage.distance_transform_edt(~where) < _BESIDE * portrait.size
    around &= ~where
    behind = around & ((portrait.matte < 0.5) & (portrait.inside > 0.5)).numpy()
    if behind.sum() <= _BORDER * around.sum():
        return False
    own, other, worn = (_color(portrait, part) for part in (where, behind, clothes))
    alike = (own / own.sum() - other / other.sum()).norm() < _TINT and (own.mean() / other.mean()).log().abs() < _LIGHT
    return bool(alike and (log_colors(own) - log_colors(worn)).norm() > _OTHER)


def _color(portrait: Portrait, where: NDArray[np.bool_]) -> Tensor:
    """The middle color [3] of pixels [S, S] of a photo."""
    return portrait.photo[torch.from_numpy(where)].median(0).values.clamp(min=COLOR_FLOOR)
