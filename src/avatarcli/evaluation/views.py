"""How like the truth a picture of the avatar is, pixel by pixel and perceptually."""

from __future__ import annotations

import torch

from avatarcli.capture.portrait import Portrait
from avatarcli.evaluation.metrics import masked_ssim, on_white, overlap
from avatarcli.evaluation.results import Comparison
from avatarcli.evaluation.sitter import SIZE, Instruments, Sitter
from avatarcli.gaussians.losses import psnr
from avatarcli.gaussians.rasterize import Rasterized


def photo_view(sitter: Sitter) -> tuple[Comparison, float]:
    """The avatar in the photo's own camera with the photo's expression; and the overlap of the silhouettes."""
    drawn = sitter.draw(sitter.photo.track.parameters(), sitter.photo.track.camera.resized(SIZE, SIZE))
    portrait = sitter.photo.portrait.resized(SIZE)
    everywhere = torch.ones(SIZE, SIZE)
    return compare("photo", portrait, drawn, everywhere), silhouette_overlap(portrait, drawn, everywhere)


def compare(name: str, truth: Portrait, drawn: Rasterized, region: torch.Tensor) -> Comparison:
    """Both pictures inside the matte and `region` [S, S], white elsewhere.

    What the avatar shows outside the matte is not seen here: `silhouette_overlap` is for that.
    """
    mask = truth.matte * truth.inside * region
    return Comparison(name, on_white(truth.foreground, mask), on_white(drawn.color, mask), mask)


def silhouette_overlap(truth: Portrait, drawn: Rasterized, region: torch.Tensor) -> float:
    """Intersection over union of matte and avatar inside the photo and `region` [S, S]."""
    return overlap(drawn.alpha, truth.matte, truth.inside * region)


def pixel_scores(comparison: Comparison) -> tuple[float, float]:
    """PSNR (dB) and SSIM inside the mask."""
    image, truth, mask = comparison.render, comparison.truth, comparison.mask
    return psnr(image, truth, mask), masked_ssim(image, truth, mask)


def perceptual_scores(comparison: Comparison, instruments: Instruments) -> tuple[float, float]:
    """LPIPS on AlexNet and on VGG16. Raises WeightsError."""
    image, truth = comparison.render, comparison.truth
    return instruments.lpips("alex", image, truth), instruments.lpips("vgg", image, truth)
