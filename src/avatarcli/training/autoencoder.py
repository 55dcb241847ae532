"""Training of the small video autoencoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from avatarcli.diffusion.conditioning import HINT_CHANNELS

_SCALES = 3  # of the edge loss: full, half and quarter size


@dataclass(frozen=True)
class VideoBatch:
    """video [B, F, 4, H, W]: premultiplied RGBA in [0, 1]; hint [B, F, 5, H, W]: the warped photo, or None."""

    video: Tensor
    hint: Tensor | None = None

    def to(self, device: torch.device | str) -> VideoBatch:
        return VideoBatch(self.video.to(device), None if self.hint is None else self.hint.to(device))


def autoencoder_loss(
    model: nn.Module, batch: VideoBatch, *, hide_hint: float = 0.5, latent_noise: float = 0.08
) -> Tensor:
    """L1, edges at three scales and squared error of the round trip.

    hide_hint: share of the steps without the hint, so that the latents must carry the picture; latent_noise: standard deviation
    of what is added to the latents, so that the decoder forgives the transformer's errors.
    """
    shown = batch.hint is not None and float(torch.rand(())) >= hide_hint
    # Nothing to see is as good as no hint, and keeps all parameters in the graph, as DistributedDataParallel wants.
    hint = batch.hint if shown else torch.zeros_like(batch.video[:, :, :1]).repeat(1, 1, HINT_CHANNELS, 1, 1)
    error = model(batch.video, hint, latent_noise).float() - batch.video
    return error.abs().mean() + 0.5 * edge_loss(error) + 2 * error.square().mean()


def edge_loss(error: Tensor) -> Tensor:
    """Mean absolute gradient of an error [..., H, W], over three scales: blurred edges cost more than a wrong tone."""
    error = error.flatten(0, -4)
    total = error.new_zeros(())
    for scale in range(_SCALES):
        if scale:
            error = functional.avg_pool2d(error, 2)
        total = total + error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return total
