"""How well an avatar shows the pictures it is made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from avatarcli.gaussians.avatar import Avatar
from avatarcli.gaussians.losses import psnr, ssim
from avatarcli.gaussians.pictures import TrainingPicture

_GREY = 0.5  # of the background: neither light nor dark hair vanishes before it
_SOLID = 0.5  # alpha from which a pixel counts as the person


@dataclass(frozen=True)
class FitQuality:
    """Means over `pictures` pictures, where they are trusted, over grey: psnr in dB, ssim (Wang et al. 2004) at most 1, alpha_iou:
    intersection over union of the outlines."""

    pictures: int
    psnr: float
    ssim: float
    alpha_iou: float


@torch.no_grad()
def fit_quality(avatar: Avatar, pictures: Iterable[TrainingPicture]) -> FitQuality:
    """Compare pictures, at least one, with what the avatar shows in their place."""
    rig, device = avatar.rig(), avatar.means.device
    scores = []
    for picture in pictures:
        wanted = picture.to(str(device))
        background = torch.full((3,), _GREY, device=device)
        drawn = avatar.render(rig, wanted.parameters, wanted.camera, background)
        target = wanted.color + (1 - wanted.alpha)[..., None] * background
        trust = wanted.trust[..., None]
        color = (drawn.color * trust + target * (1 - trust)).clamp(0, 1)
        ours, theirs = ((alpha * wanted.trust > _SOLID) for alpha in (drawn.alpha, wanted.alpha))
        overlap = float((ours & theirs).sum()) / max(float((ours | theirs).sum()), 1.0)
        scores.append((psnr(color, target), float(ssim(color, target)), overlap))
    means = torch.tensor(scores, dtype=torch.float64).mean(0).tolist()
    return FitQuality(len(scores), *(round(mean, 4) for mean in means))
