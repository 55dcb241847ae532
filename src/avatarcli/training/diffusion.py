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
    level = torch.randint(0, NOISE_LEVELS, (samples,), device=device)
    noise = torch.randn_like(scene.latents)
    hidden = torch.rand(samples, device=device) < hide_photo
    errors, weights = velocity_errors(model, scene, batch.weight, scheduler, level, noise, hidden=hidden)
    return errors.sum() / weights.sum()


def velocity_errors(
    model: nn.Module,
    scene: LatentScene,
    weight: Tensor | None,
    scheduler: CogVideoXDDIMScheduler,
    level: Tensor,
    noise: Tensor,
    *,
    hidden: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Squared errors [B, N, 1, h, w] of the velocities, times what they count, and what they count: 0 where a latent is given.

    weight [B, V, T, 1, h, w]: of the latents beside the photo's; level [B] and noise [B, N, 16, h, w]: how noisy they are made;
    hidden [B] (bool): samples whose photo the model does not see.
    """
    given = scene.given
    counts = (~given)[:, :, None, None, None].float()
    if weight is not None:
        counts = counts * torch.cat([torch.ones_like(weight[:, 0, :1]), weight.flatten(1, 2)], dim=1)
    noisy = scheduler.add_noise(scene.latents, noise, level)
    target = scheduler.get_velocity(scene.latents, noise, level)
    if hidden is not None:
        scene = scene.without_photo(hidden)
    x = torch.where(given[:, :, None, None, None], scene.latents, noisy)
    timestep = torch.where(given, 0, level[:, None])
    velocity = model(x, timestep, scene.time_index, scene.given, scene.conditioning)
    errors = (velocity.float() - target).square().mean(2, keepdim=True) * counts
    return errors, counts.expand_as(errors)
