"""Training of the diffusion model: what is given, what is noisy, and the loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import CogVideoXDDIMScheduler
from torch import Tensor, nn

from avatarcli.config import NOISE_LEVELS
from avatarcli.diffusion.schedule import LatentScene

# How often each kind of task is practised, where the sample has the views and latents for it.
_PHOTO_ONLY, _WHOLE_VIEWS, _FIRST_LATENTS = 0.5, 0.2, 0.2  # the rest: any latents


@dataclass(frozen=True)
class MultiViewBatch:
    """B samples of V views × T latents. One view and one latent: a picture; one view: a clip; T = 1: multi-view pictures.

    photo [B, 16, h, w] and photo_conditioning [B, 220, h, w]; latents [B, V, T, 16, h, w]; conditioning [B, V, T, 220, h, w];
    weight [B, V, T, 1, h, w]: how much each cell's error counts (faces more), or None.
    """

    photo: Tensor
    photo_conditioning: Tensor
    latents: Tensor
    conditioning: Tensor
    weight: Tensor | None = None

    def to(self, device: torch.device | str) -> MultiViewBatch:
        parts = (self.photo, self.photo_conditioning, self.latents, self.conditioning, self.weight)
        return MultiViewBatch(*(part if part is None else part.to(device) for part in parts))  # type: ignore[arg-type]

    def scene(self, given: Tensor) -> LatentScene:
        """All latents as a list with the photo first; given [B, V, T] (bool)."""
        times = torch.arange(self.latents.shape[2], device=self.photo.device)
        first = torch.ones(len(self.photo), 1, dtype=torch.bool, device=self.photo.device)
        return LatentScene(
            latents=torch.cat([self.photo[:, None], self.latents.flatten(1, 2)], dim=1),
            given=torch.cat([first, given.flatten(1).to(first.device)], dim=1),
            time_index=torch.cat([times[:1], times.repeat(self.latents.shape[1])]),
            conditioning=torch.cat([self.photo_conditioning[:, None], self.conditioning.flatten(1, 2)], dim=1),
        )


def choose_given(samples: int, views: int, latents: int) -> Tensor:
    """Which latents [B, V, T] (bool) each sample is given beside the photo; never all of them."""
    given = torch.zeros(samples, views, latents, dtype=torch.bool)
    for sample in given:
        kind = float(torch.rand(()))
        if kind < _PHOTO_ONLY or views * latents == 1:
            continue
        if kind < _PHOTO_ONLY + _WHOLE_VIEWS and views > 1:
            sample[torch.randperm(views)[: int(torch.randint(1, views, ()))]] = True
        elif kind < _PHOTO_ONLY + _WHOLE_VIEWS + _FIRST_LATENTS and latents > 1:
            sample[:, : int(torch.randint(1, latents, ()))] = True
        else:
            count = int(torch.randint(1, views * latents, ()))
            sample.view(-1)[torch.randperm(views * latents)[:count]] = True
    return given


def diffusion_loss(
    model: nn.Module, batch: MultiViewBatch, scheduler: CogVideoXDDIMScheduler, *, hide_photo: float = 0.1
) -> Tensor:
    """Squared error of the velocities of the latents that are not given, with every sample at a noise level of its own.

    hide_photo: share of the samples that are trained without the photo, for guidance.
    """
    samples, views, latents = batch.latents.shape[:3]
    device = batch.latents.device
    scene = batch.scene(choose_given(samples, views, latents))
    given = scene.given
    target_weight = (~given).float()
    if batch.weight is not None:
        cells = torch.cat(
            [batch.weight.new_ones(samples, 1, *batch.weight.shape[3:]), batch.weight.flatten(1, 2)], dim=1
        )
        target_weight = target_weight[:, :, None, None, None] * cells
    else:
        target_weight = target_weight[:, :, None, None, None]
    level = torch.randint(0, NOISE_LEVELS, (samples,), device=device)
    noise = torch.randn_like(scene.latents)
    noisy = scheduler.add_noise(scene.latents, noise, level)
    target = scheduler.get_velocity(scene.latents, noise, level)
    scene = scene.without_photo(torch.rand(samples, device=device) < hide_photo)
    x = torch.where(given[:, :, None, None, None], scene.latents, noisy)
    timestep = torch.where(given, 0, level[:, None])
    velocity = model(x, timestep, scene.time_index, scene.given, scene.conditioning)
    error = (velocity.float() - target).square().mean(2, keepdim=True) * target_weight
    return error.sum() / target_weight.expand_as(error).sum()
