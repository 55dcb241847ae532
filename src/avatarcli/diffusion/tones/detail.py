"""What is repaired in an imagined picture beside its tones: the photo's fine detail, and slips that float beside the person."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import binary_dilation, label
from torch import Tensor

from avatarcli.geometry.fill import blur, ramp

_ISLAND = 0.05  # of the largest part's area: smaller ones that stand apart are slips
_SOFT = 4  # pixels: width of soft edges
# Of the photo's detail: radians from its direction up to which it is wholly taken, and not at all; share of the width that is fine
# (two pixels of 256); metres that an expression may move skin before its detail does not fit.
_BEFORE, _BESIDE, _DETAIL, _MOVED = 0.5, 0.9, 1 / 128, (0.001, 0.004)


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
