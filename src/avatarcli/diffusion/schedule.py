"""The noise schedule, and the loop that walks down it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from avatarcli.config import NOISE_LEVELS, check_steps
from avatarcli.diffusion.conditioning import MAP_CHANNELS
from avatarcli.diffusion.light_diffusers import CogVideoXDDIMScheduler
from avatarcli.diffusion.packing import FRAMES_PER_LATENT
from avatarcli.diffusion.transformer import CONDITIONING_CHANNELS, MultiViewVideoTransformer


def make_scheduler() -> CogVideoXDDIMScheduler:
    """CogVideoX-2B's schedule, for both sizes: velocities, zero signal at the last step, SNR shifted down by 3.

    The shift spends more steps where the whole picture is decided; many views tell the model more than one, so less shift
    would leave too little to decide (arXiv 2301.11093 for larger pictures).
    """
    return CogVideoXDDIMScheduler(
        num_train_timesteps=NOISE_LEVELS,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        snr_shift_scale=3.0,
        timestep_spacing="trailing",
        clip_sample=False,
    )


@dataclass(frozen=True)
class LatentScene:
    """N latents and what is known of them. Latent 0 is the photo's.

    latents [B, N, 16, h, w]: right where given, elsewhere what a second look begins with; given [B, N] (bool); time_index [N];
    conditioning [B, N, 220, h, w].
    """

    latents: Tensor
    given: Tensor
    time_index: Tensor
    conditioning: Tensor

    def without_photo(self, hidden: Tensor) -> LatentScene:
        """The same with the photo, and all that was warped from it, hidden in the samples that `hidden` [B] (bool) names."""
        shape = (-1, 1, 1, 1, 1)
        shown = (~hidden).view(shape).to(self.latents)
        latents, given = self.latents.clone(), self.given.clone()
        latents[:, :1] *= shown
        given[:, 0] &= ~hidden
        from_photo = _channels_from_photo().to(self.conditioning).view(1, 1, -1, 1, 1)
        conditioning = self.conditioning * (1 - from_photo * (1 - shown))
        conditioning[:, :1] *= shown
        return replace(self, latents=latents, given=given, conditioning=conditioning)


def _channels_from_photo() -> Tensor:
    """Which of the conditioning channels [220] were warped from the photo: the last two maps of each frame, and the latent."""
    channels = torch.ones(CONDITIONING_CHANNELS)
    channels[: FRAMES_PER_LATENT * MAP_CHANNELS].unflatten(0, (FRAMES_PER_LATENT, -1))[:, :-2] = 0
    return channels


def denoise(
    model: MultiViewVideoTransformer,
    scene: LatentScene,
    noise: Tensor,
    *,
    steps: int,
    guidance: float = 1.0,
    again: int = 0,
    advance: Callable[[int], None] = lambda steps: None,
) -> Tensor:
    """Latents [B, N, 16, h, w]: the given ones untouched, the others sampled from `noise` of the same shape.

    guidance: 1 follows the photo as trained; more exaggerates what the photo changes, at twice the cost (arXiv 2207.12598).
    again: walk only so many steps, the last ones, from the scene's own latents and as much noise as is left there (arXiv
    2108.01073): they keep their shape and get new detail. 0: all steps, from noise alone.
    """
    check_steps(steps)
    scheduler = make_scheduler()
    scheduler.set_timesteps(steps, device=noise.device)
    # The photo is always clean, even where guidance hides it.
    clean = scene.given.clone()
    clean[:, 0] = True
    keep = clean[:, :, None, None, None]
    everyone = torch.ones(len(noise), dtype=torch.bool, device=noise.device)
    blind = scene.without_photo(everyone) if guidance != 1 else None
    walked = scheduler.timesteps[-again:]
    begun = scheduler.add_noise(scene.latents, noise, walked[:1]) if again else noise
    x = torch.where(keep, scene.latents, begun)
    for step in walked:
        timestep = torch.where(clean, torch.zeros_like(step), step)
        velocity = _predict(model, scene, x, timestep)
        if blind is not None:
            hidden = torch.where(keep, blind.latents, x)
            unguided = _predict(model, blind, hidden, timestep)
            velocity = unguided + guidance * (velocity - unguided)
        x = torch.where(keep, scene.latents, scheduler.step(velocity, int(step), x).prev_sample)
        advance(1)
    return x


def _predict(model: MultiViewVideoTransformer, scene: LatentScene, x: Tensor, timestep: Tensor) -> Tensor:
    dtype = model.dtype
    velocity = model(x.to(dtype), timestep, scene.time_index, scene.given, scene.conditioning.to(dtype))
    return cast(Tensor, velocity).to(x.dtype)
