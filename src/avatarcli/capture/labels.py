"""Skin, hair, hat, clothes and background: one label a pixel of a tracked portrait."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from avatarcli.capture.backdrop import without_backdrop
from avatarcli.capture.cover import color_overlap, cover_map
from avatarcli.capture.portrait import Label, Portrait
from avatarcli.geometry.colors import log_colors
from avatarcli.geometry.fill import blur, resized
from avatarcli.geometry.mesh import rasterize_mesh
from avatarcli.head.face_points import CHIN, FOREHEAD
from avatarcli.head.model import HeadModel, PersonalHead
from avatarcli.head.photo_fit import PhotoFit

_BROWS = (66, 296)  # MediaPipe's points
_NO_HAIR = 0.1  # of the hair network: below it there is none
# A hat is what fills at least so much of the uppermost part of the head, which is so much of what lies above the brows.
_HAT, _TOP = 0.5, 0.35
_THIN = 0.008  # of the picture's width: narrower strips along the face and the neck are its own edge, no clothes
# Hair and background are compared so near each other, of the width, and where the matte is so clear (or, for hair, so full).
_BESIDE, _CLEAR = 0.05, 0.05
# Hair hangs where a disc of so many picture widths fits into it, lower than so much of the way from the chin to the brows. Where
# none does, what the network finds there are earrings, the rim of an ear and the dark edges of collars: discs of .006 at most fit
# into those of five portraits, one of .010 into the strip that a tail behind the neck shows.
_HANGS, _LOW = 0.009, 0.35
_FEW = 200  # pixels: fewer tell no colors
_SIZE = 512  # pixels at most, of the picture whose colors are sorted into skin and cover
# A scalp is bare where the network finds hair on less of it than the first, and what its colors alone say to cover it has skin's
# tint, is hardly darker (logarithms, for a scalp lies in more or less shade), and has no more grain than the face.
_BARE, _TINT, _DARKER, _GRAIN = 0.5, 0.08, 1.0, 1.1
_FEW_BARE = 40  # pixels of that smaller picture
_FINE = 1 / 270  # of the picture's width: the blur below which grain lies
# A cheek that light from the other side leaves dark looks like hair to the network. How far below the brows it begins, as a share
# of the way to the chin; the fewest pixels of one; and tint, darkness and grain up to which it is skin. The network finds hair
# there in 11 of 144 portraits: the grain is 1.0 to 1.8 where it is skin, 2.3 to 6.9 where it is hair (3.1 on one dark jaw).
_CHEEK, _FEW_OF_CHEEK = 0.25, 60
_SHADED_TINT, _SHADED, _SHADED_GRAIN = 0.08, 1.6, 2.0
_AS_DARK = 0.35  # logarithms: how far from the cheek's color that of an ear or a neck is, as a whole


def labelled(portrait: Portrait, hair: Tensor, track: PhotoFit, model: HeadModel) -> Portrait:
    """A portrait with its labels, and without backdrop that they show its matte to have. hair [S, S]: `find_hair` of its crop."""
    return without_backdrop(replace(portrait, labels=label_portrait(portrait, hair, track, model)))


def label_portrait(portrait: Portrait, hair: Tensor, track: PhotoFit, model: HeadModel) -> Tensor:
    """The labels (uint8 [S, S]) of a portrait. hair [S, S]: `find_hair` of its crop."""
    posed = PersonalHead.of(model, track).posed(track.parameters())[0]
    size = min(portrait.size, _SIZE)
    small, ratio = portrait.resized(size), size / portrait.size
    raster = rasterize_mesh(posed, model.faces, track.camera.resized(size, size))
    little, landmarks = resized(hair, size, size), track.landmarks * ratio
    scalp, face = model.shows(raster, "scalp"), model.shows(raster, "face", "nose")
    lit = ~shaded_side(small, little, landmarks, face)
    little = little * lit
    cover = cover_map(small.foreground, small.matte, raster, model, landmarks, little) * lit
    bare = has_bare_scalp(small, little, cover, scalp, face)
    cover, lit = (resized(part, portrait.size, portrait.size) for part in (cover, lit.float()))
    return label_pixels(portrait.matte, hair * lit, cover, track.landmarks, bare=bare)


def shaded_side(portrait: Portrait, hair: Tensor, landmarks: Tensor, face: Tensor) -> Tensor:
    """Where [S, S] (bool) the network took a face's dark side for hair: it is as smooth as the lit skin and of its tint.

    hair [S, S]: as for `label_pixels`; landmarks [478, 2] pixels; face [S, S]: 1 where the fitted head shows it.
    """
    brows, chin = landmarks[list(_BROWS), 1].mean(), landmarks[CHIN, 1]
    low = ((torch.arange(portrait.size) + 0.5)[:, None] > torch.lerp(brows, chin, _CHEEK)) & (hair > _NO_HAIR)
    inner, face = _inner(portrait), face > 0.5
    lit = inner & (hair < 0.5) & face
    cheek = inner & low & (hair > 0.5) & face
    if int(cheek.sum()) < _FEW_OF_CHEEK or int(lit.sum()) < _FEW_BARE:
        return torch.zeros_like(low)
    logs = log_colors(portrait.foreground)
    grain = _grain(logs)
    dark, light = logs[cheek].median(0).values, logs[lit].median(0).values
    if not (
        grain[cheek].median() < _SHADED_GRAIN * grain[lit].median()
        and _tint_difference(portrait.foreground, cheek, lit) < _SHADED_TINT
        and (light - dark).norm() < _SHADED
    ):
        return torch.zeros_like(low)
    # Ear and neck, on the fitted head or beside it, have more grain at their edges, but the color of the cheek. A tail has not.
    shaded, beside = low & face, low & ~face
    pieces, count = ndimage.label((beside & (hair > 0.5)).numpy())
    alike = torch.zeros(count + 1, dtype=torch.bool)
    for number in range(1, count + 1):
        piece = inner & torch.from_numpy(pieces == number)
        alike[number] = piece.any() and (logs[piece].median(0).values - dark).norm() < _AS_DARK
    if alike.any():
        # The soft rim of a piece goes with it.
        nearest = ndimage.distance_transform_edt(pieces == 0, return_distances=False, return_indices=True)
        shaded |= beside & alike[torch.from_numpy(pieces[tuple(nearest)]).long()]
    return shaded


def has_bare_scalp(portrait: Portrait, hair: Tensor, cover: Tensor, scalp: Tensor, face: Tensor) -> bool:
    """Whether what covers a scalp by its colors alone is skin too: darker at a bald head's outline, in grain and tint the same.

    hair, cover [S, S]: as for `label_pixels`; scalp, face [S, S]: 1 where the fitted head shows them.
    """
    if (hair * scalp).sum() > _BARE * scalp.sum():
        return False
    inner = _inner(portrait)
    doubtful, skin = (
        inner & (hair < 0.5) & where for where in ((cover > 0.5) & (scalp > 0.5), (cover < 0.5) & (face > 0.5))
    )
    if min(int(doubtful.sum()), int(skin.sum())) < _FEW_BARE:
        return False
    logs = log_colors(portrait.foreground)
    grain = _grain(logs)
    if grain[doubtful].mean() > _GRAIN * grain[skin].mean():
        return False
    darker = (logs[skin].median(0).values - logs[doubtful].median(0).values).norm()
    return bool(_tint_difference(portrait.foreground, doubtful, skin) < _TINT) and bool(darker < _DARKER)


def _inner(portrait: Portrait) -> Tensor:
    """Where [S, S] (bool) a person is, away from the outline, where the background shines in."""
    return -functional.max_pool2d(-(portrait.matte > 0.95).float()[None], 5, stride=1, padding=2)[0] > 0.5


def _grain(logs: Tensor) -> Tensor:
    """How far single pixels of a picture [S, S, 3] (logarithms of colors) are lighter or darker than what is around them [S, S]."""
    light = logs.mean(-1, keepdim=True)
    return (light - blur(light, _FINE * len(logs))).abs()[..., 0]


def _tint_difference(image: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """How far apart [] the typical tints of two sets of pixels [S, S] (bool) of a picture [S, S, 3] are."""
    first, second = (image[where].median(0).values for where in (one, other))
    return (first / first.sum() - second / second.sum()).norm()


def label_pixels(matte: Tensor, hair: Tensor, cover: Tensor, landmarks: Tensor, *, bare: bool = False) -> Tensor:
    """Labels (uint8 [H, W]) of what is known of each pixel.

    matte [H, W]; hair [H, W]: from the hair network; cover [H, W]: `cover_map`; all in [0, 1]. landmarks [478, 2] pixels.
    bare: what covers the head beside the network's hair is skin, unless it is a hat (`has_bare_scalp`).
    """
    person = matte > 0.5
    if not person.any():
        return torch.zeros_like(person, dtype=torch.uint8)
    is_hair = person & (hair > 0.5)
    rest = person & ~is_hair & (cover > 0.5)
    rows, columns = torch.meshgrid(*(torch.arange(side) + 0.5 for side in matte.shape), indexing="ij")
    up = landmarks[FOREHEAD] - landmarks[CHIN]
    height = (torch.stack([columns, rows], dim=-1) - landmarks[CHIN]) @ up
    brows = (landmarks[list(_BROWS)].mean(0) - landmarks[CHIN]) @ up
    above = height > brows
    top = person & above & (height > height[person].amax() * _TOP + brows * (1 - _TOP))

    labels = torch.where(person, int(Label.SKIN), int(Label.BACKGROUND)).to(torch.uint8)
    hat = bool((rest & top).sum() > _HAT * top.sum())
    bare &= not hat
    missed = rest & (above | (hair > _NO_HAIR)) & (not bare)
    low, hairy = height < _LOW * brows, is_hair | missed
    hangs = torch.from_numpy(_opened(hairy.numpy(), _HANGS * matte.shape[1]))
    if not (hangs & low).any():
        # It is taken for whatever is around.
        rest, missed, hairy = rest | (hairy & low), missed & ~low, hairy & ~low
    labels[hairy] = Label.HAIR
    if hat:
        labels[rest & above] = Label.HAT
    # Beside the face there may be a hat's flaps, or hair that the network missed; what hangs together with the body is clothes.
    lower = rest & ~above & ~missed
    broad = torch.from_numpy(_opened(lower.numpy(), _THIN * matte.shape[1]))
    pieces, _ = ndimage.label(broad.numpy())
    on_body = torch.from_numpy(np.isin(pieces, np.unique(pieces[(broad & (height < 0)).numpy()])))
    clothes = broad & on_body
    labels[clothes] = Label.CLOTHES
    unknown = lower & ~clothes
    if unknown.any():
        nearest = ndimage.distance_transform_edt(
            (unknown | ~person).numpy(), return_distances=False, return_indices=True
        )
        row, column = torch.from_numpy(nearest).long()
        labels[unknown] = labels[row, column][unknown]
    return labels


def hair_before_backdrop(portrait: Portrait) -> float:
    """How alike hair (or a hat) and the background beside it look, 0 to 1; 0 where either is missing or nothing is known.

    Near 1 nothing in the photo's colors says where the hair ends.
    """
    hair = portrait.region(Label.HAIR, Label.HAT)
    if hair is None:
        return 0.0
    reach = _BESIDE * portrait.size
    hair = hair > 0
    behind = (portrait.matte < _CLEAR) & (portrait.inside > 0.5)
    from_hair, from_behind = (
        torch.from_numpy(ndimage.distance_transform_edt((~where).numpy())) for where in (hair, behind)
    )
    hair, behind = hair & (portrait.matte > 1 - _CLEAR) & (from_behind < reach), behind & (from_hair < reach)
    if min(int(hair.sum()), int(behind.sum())) < _FEW:
        return 0.0
    return color_overlap(portrait.photo, hair, behind)


def _opened(mask: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    """What of a mask [H, W] a disc of `radius` pixels covers without reaching out of it; beyond the picture it goes on."""
    padded = np.pad(mask, math.ceil(radius) + 1, mode="edge")
    core = ndimage.distance_transform_edt(padded) > radius
    opened = ndimage.distance_transform_edt(~core) <= radius if core.any() else core
    margin = math.ceil(radius) + 1
    return np.asarray(opened[margin:-margin, margin:-margin] & mask)
