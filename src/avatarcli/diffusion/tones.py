"""The photo's tones in imagined pictures: what a diffusion model makes of unseen sides drifts to other colours than the photo's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import binary_dilation, label
from torch import Tensor

from avatarcli.geometry.fill import blur, ramp
from avatarcli.reproject.skin_texture import PhotoView

# Ratios are taken of colours plus this, so that black does not decide.
_FLOOR = 0.04
_MOST = 0.4  # a logarithm: tones are changed by half as much again at most
_DISAGREE = 0.7  # a logarithm: where picture and photo differ by more, they show different things
# Shares of the picture's width: how coarse a tone is, and how far beyond what the photo sees its correction goes on.
_COARSE, _FAR = 1 / 20, 1 / 8
_SOLID = 0.95  # alpha of pixels whose colour is the person's alone
_TINT = 0.07  # distance of tints up to which a colour may be the skin's in more or less light
_CHROMA = 0.8  # how far the tint of unseen skin is brought to the photo's
# Heads of synthetic people are lit from the front, and the model has learnt it: behind, it makes hair half as bright as in
# the photo (log -0.7 at 180°), where real people's (London set, photo to profile) loses a tenth. Logarithms,
# and the share made good.
_BEHIND, _HAIR, _MOST_HAIR = -0.12, 0.75, 0.9
_HAIR_LIKE = 0.7  # a logarithm: how far colours of one head of hair are from its middle
_FEWEST = 1 / 400  # share of the picture that hair must fill for its colour to count
_ISLAND = 0.05  # of the largest part's area: smaller ones that stand apart are slips
_SOFT = 4  # pixels: width of soft edges
# Of the photo's detail: radians from its direction up to which it is wholly taken, and not at all; share of the width that is fine
# (two pixels of 256); metres that an expression may move skin before its detail does not fit.
_BEFORE, _BESIDE, _DETAIL, _MOVED = 0.5, 0.9, 1 / 128, (0.001, 0.004)
SKIN_REGIONS = ("face", "nose", "ear", "neck", "lip", "eyelid")


@dataclass(frozen=True)
class Tones:
    """What the photo says of the person's colours. skin [3]: the typical one; bald: whether the scalp is skin too; hair [3]: the
    middle one of what grows there, None where little is seen of it."""

    skin: Tensor
    bald: bool
    hair: Tensor | None = None

    @property
    def bare_regions(self) -> tuple[str, ...]:
        """Regions of the head that are skin unless something covers them."""
        return (*SKIN_REGIONS, "scalp") if self.bald else SKIN_REGIONS

    @classmethod
    def of(cls, photo: PhotoView, scalp: Tensor) -> Tones:
        """scalp [H, W]: 1 where the fitted head shows its scalp in the photo."""
        bald = bool((photo.hair_color - photo.skin_color).norm() < 0.08)
        hair = _hair_in(photo.image, photo.matte, scalp, photo.skin_color)
        return cls(photo.skin_color, bald, hair)

    def matched(self, picture: Tensor, hint: Tensor, skin: Tensor, scalp: Tensor) -> Tensor:
        """A premultiplied RGBA picture [H, W, 4] in the photo's tones.

        hint [H, W, 5]: the photo carried into this view (premultiplied RGB, visibility, facing ratio). skin, scalp [H, W]: 1 where
        the fitted head shows skin, if nothing covers it, and its scalp.
        """
        alpha = picture[..., 3:]
        color = picture[..., :3] / alpha.clamp(min=0.02)
        photo = hint[..., :3] / hint[..., 3:4].clamp(min=0.02)
        ratio = ((photo + _FLOOR) / (color + _FLOOR)).log()
        likely = _like_skin(color, self.skin)
        solid = (alpha[..., 0] > _SOLID) & (hint[..., 3] > _SOLID) & (ratio.abs().amax(-1) < _DISAGREE)
        seen = solid * ramp(hint[..., 4], 0.25, 0.6)
        change, known = _spread(ratio, seen, likely)
        unseen = (1 - known) * likely * skin * (alpha[..., 0] > _SOLID)
        change = known[..., None] * change + self._skin_change(color, unseen)
        change = change.clamp(-_MOST, _MOST) + self._hair_change(color, alpha[..., 0], scalp, 1 - known)
        return torch.cat([((color + _FLOOR) * change.exp() - _FLOOR).clamp(0, 1) * alpha, alpha], -1)

    def _hair_change(self, color: Tensor, alpha: Tensor, scalp: Tensor, unseen: Tensor) -> Tensor:
        """Change of hair's colour, as logarithms [H, W, 3], that brings what the photo does not see of it near to what it sees."""
        found = _hair_in(color, alpha, scalp, self.skin)
        if self.hair is None or found is None:
            return torch.zeros_like(color)
        size = color.shape[1]
        middle = (found + _FLOOR).log()
        logs = (color + _FLOOR).log()
        alike = torch.exp(-((logs - middle).norm(dim=-1) / _HAIR_LIKE).square())
        # Hair is on the head and beside it; clothes of its colour are farther off.
        near = ramp(blur(scalp[..., None], size / 10)[..., 0], 0.02, 0.2)
        where = (alike * near * (1 - _like_skin(color, self.skin)))[..., None]
        layers = blur(torch.cat([logs * where, where], dim=-1), size * _FAR)
        coarse = layers[..., :3] / layers[..., 3:].clamp(min=1e-3)
        change = ((self.hair + _FLOOR).log() + _BEHIND - coarse).clamp(-_MOST_HAIR, _MOST_HAIR)
        return _HAIR * change * blur(where * unseen[..., None], size / 100)

    def _skin_change(self, color: Tensor, where: Tensor) -> Tensor:
        """Change of tint, as logarithms [H, W, 3], that brings skin nearer to the photo's. where [H, W]: how much it is wanted."""
        size = color.shape[1]
        logs = (color + _FLOOR).log()
        layers = blur(torch.cat([logs * where[..., None], where[..., None]], dim=-1), size * _COARSE)
        coarse = layers[..., :3] / layers[..., 3:].clamp(min=1e-3)
        wanted = (self.skin + _FLOOR).log()
        tint = (wanted - wanted.mean()) - (coarse - coarse.mean(-1, keepdim=True))
        return _CHROMA * tint * blur(where[..., None], size / 100)


def with_detail(picture: Tensor, hint: Tensor, moved: Tensor, angle: float) -> Tensor:
    """A premultiplied RGBA picture [H, W, 4] with the photo's fine detail where that is seen well.

    hint [H, W, 5]: as in `Tones.matched`; moved [H, W]: metres between the surface in the photo and here, by expression; angle:
    radians between the directions of the photo's camera and this one. On eight real people's other views the plain rule (all that
    is seen, up to 60°) lowered LPIPS from .080 to .064 in front and from .141 to .139 at three-quarter; on synthetic people it
    raised it beyond 60°, where the fitted head's errors show.
    """
    near = float(ramp(torch.tensor(_BESIDE - angle), 0.0, _BESIDE - _BEFORE))
    if near == 0:
        return picture
    seen = (hint[..., 3] > 0.5) * ramp(hint[..., 4], 0.3, 0.5) * (1 - ramp(moved, *_MOVED))
    sigma = _DETAIL * picture.shape[1]
    difference = hint[..., :3] - picture[..., :3]
    layers = blur(torch.cat([difference * seen[..., None], seen[..., None]], dim=-1), sigma)
    coarse = layers[..., :3] / layers[..., 3:].clamp(min=1e-3)
    weight = near * seen * ramp(layers[..., 3], 0.5, 0.9)
    color = picture[..., :3] + weight[..., None] * (difference - coarse)
    return torch.cat([color.clamp(min=0).minimum(picture[..., 3:]), picture[..., 3:]], dim=-1)


def without_islands(picture: Tensor) -> Tensor:
    """A premultiplied RGBA picture [H, W, 4] without small things that float beside the person."""
    parts, count = label((picture[..., 3] > 0.1).numpy())
    if count < 2:
        return picture
    areas = np.bincount(parts.ravel())[1:]
    kept = np.flatnonzero(areas >= _ISLAND * areas.max()) + 1
    # Soft edges are fainter than what counts as a part.
    around = binary_dilation(np.isin(parts, kept), iterations=_SOFT)
    return picture * torch.from_numpy(around)[..., None]


def tone_error(picture: Tensor, hint: Tensor) -> float:
    """How far a picture's coarse colours are from the photo's where both show the same: mean absolute difference in [0, 1]."""
    alpha = picture[..., 3:]
    seen = ((alpha[..., 0] > _SOLID) & (hint[..., 3] > _SOLID)) * ramp(hint[..., 4], 0.25, 0.6)
    difference = (picture[..., :3] - hint[..., :3]) * seen[..., None]
    layers = blur(torch.cat([difference, seen[..., None]], dim=-1), picture.shape[1] * _COARSE)
    coarse = (layers[..., :3] / layers[..., 3:].clamp(min=1e-3)).abs().mean(-1)
    return float((coarse * seen).sum() / seen.sum().clamp(min=1))


def _hair_in(color: Tensor, alpha: Tensor, scalp: Tensor, skin: Tensor) -> Tensor | None:
    """The median colour [3] of what covers the scalp in a picture [H, W, 3]; None where that is little."""
    hair = color[(scalp > 0.5) & (alpha > _SOLID) & (_like_skin(color, skin) < 0.5)]
    return hair.median(0).values if len(hair) > _FEWEST * scalp.numel() else None


def _like_skin(color: Tensor, skin: Tensor) -> Tensor:
    """How much colours [H, W, 3] may be a skin [3] in any light: 1 … 0 [H, W]."""
    tint = color / color.sum(-1, keepdim=True).clamp(min=0.05) - skin / skin.sum()
    dark = color.mean(-1) < 0.35 * skin.mean()
    return torch.exp(-(tint.norm(dim=-1) / _TINT).square()) * ~dark


def _spread(ratio: Tensor, seen: Tensor, likely: Tensor) -> tuple[Tensor, Tensor]:
    """A coarse picture of logarithms [H, W, 3] known where `seen` [H, W], and how far it is known elsewhere [H, W].

    Skin (`likely` [H, W]) and what is not skin do not tell each other's tones.
    """
    size = ratio.shape[1]
    total = torch.zeros_like(ratio)
    known = torch.zeros_like(seen)
    for share in (likely, 1 - likely):
        weight = (seen * share)[..., None]
        layers = torch.cat([ratio * weight, weight], dim=-1)
        # Near what is seen the tone of that very place, farther off that of the surroundings.
        near, far = blur(layers, size * _COARSE), blur(layers, size * _FAR)
        mixed = near + 0.1 * far
        total += share[..., None] * mixed[..., :3] / mixed[..., 3:].clamp(min=1e-4)
        known += share * ramp(far[..., 3], 0.0, 0.15)
    return total, known
