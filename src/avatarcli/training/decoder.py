"""Training of the autoencoder's decoder alone, so that it makes use of the warped photo: from latents that the transformer has
imagined, and the photo, to true pictures.

Latents of true pictures hold all that there is to see, and a decoder that is trained on them has no need of a photo. Imagined ones
lack the fine detail, which the photo has, moved by the fitted head's errors.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from avatarcli.diffusion.conditioning import HINT_CHANNELS
from avatarcli.training.autoencoder import edge_loss
from avatarcli.weights.lpips import Lpips

# How hints are disturbed: share of them; spreads of a shift and of a smooth motion (pixels of 256), of scale and turn, and of the
# logarithms of the gain of all colors and of each. A tracked head is off by 1 to 2 pixels in front.
_DISTURBED_SHARE = 0.5
_SHIFT, _SWAY, _SCALE = 1.2, 0.8, 0.006
_GAIN, _BALANCE = 0.05, 0.02
_SWAYS = 8  # places along each side that sway by themselves
_CELL, _AROUND = 16, 3  # pixels, and cells along each side of a square: how far around a place the photo counts as near
_BEYOND = 1.0  # how much more errors count where the photo is near


@dataclass(frozen=True)
class DecoderBatch:
    """B single pictures: latents [B, 1, 16, h, w], hint [B, 1, 5, H, W] and target [B, 1, 4, H, W].

    weight [B, 1, 1, H, W]: how much errors count.
    """

    latents: Tensor
    hint: Tensor
    target: Tensor
    weight: Tensor


def decoder_batch(
    latents: Tensor,
    hint: Tensor,
    truth: Tensor,
    plain: Tensor,
    imagined: Tensor,
    generator: torch.Generator,
    *,
    hide_hint: float = 0.1,
) -> DecoderBatch:
    """A batch of pictures [B, C, H, W] in [0, 1] and latents [B, 16, h, w].

    imagined [B] (bool): latents that were imagined wholly, and show a back of another kind than the truth does. What the photo
    does not show cannot be learnt from those: there the target is `plain`, what the decoder made of them before. hide_hint:
    share of the samples without a hint.
    """
    hidden = torch.rand(len(hint), generator=generator) < hide_hint
    hint = hint * (~hidden).to(hint).view(-1, 1, 1, 1)
    near = near_photo(hint)
    known = torch.maximum(near, (~imagined).to(near).view(-1, 1, 1, 1))
    return DecoderBatch(
        latents=latents[:, None],
        hint=disturbed(hint, generator)[:, None],
        target=(plain + known * (truth - plain))[:, None],
        weight=(1 + _BEYOND * near)[:, None],
    )


def near_photo(hint: Tensor) -> Tensor:
    """Where hints [B, 5, H, W] show something, and, falling to 0, around that: [B, 1, H, W]."""
    cells = functional.max_pool2d(hint[:, 3:4], _CELL, ceil_mode=True)
    cells = functional.max_pool2d(cells, _AROUND, stride=1, padding=_AROUND // 2)
    return functional.interpolate(cells, hint.shape[-2:], mode="bilinear", align_corners=False)


def disturbed(hint: Tensor, generator: torch.Generator) -> Tensor:
    """Hints [B, 5, H, W], half of them moved and with other colors, as a head that fits worse would carry them."""
    count, _, height, width = hint.shape

    def spread(*shape: int) -> Tensor:
        return torch.randn(count, *shape, generator=generator)

    scale, turn = 1 + _SCALE * spread(), _SCALE * spread()
    shift = 2 * _SHIFT / 256 * spread(2)
    linear = torch.stack([torch.stack([scale, -turn], -1), torch.stack([turn, scale], -1)], -2)
    places = functional.affine_grid(torch.cat([linear, shift[..., None]], -1).to(hint), [*hint.shape], False)
    sway = 2 * _SWAY / 256 * spread(2, _SWAYS, _SWAYS).to(hint)
    sway = functional.interpolate(sway, (height, width), mode="bicubic", align_corners=False)
    moved = functional.grid_sample(hint, places + sway.movedim(1, -1), align_corners=False)
    gain = (_GAIN * spread(1) + _BALANCE * spread(3)).exp().to(hint)[..., None, None]
    color = torch.minimum(moved[:, :3] * gain, moved[:, 3:4])
    chosen = (torch.rand(count, generator=generator) < _DISTURBED_SHARE).to(hint.device).view(-1, 1, 1, 1)
    return torch.where(chosen, torch.cat([color, moved[:, 3:]], dim=1), hint)


def decoder_loss(
    decoder: nn.Module, batch: DecoderBatch, network: Lpips | None, *, edges: float = 0.5, perceptual: float = 0.25
) -> Tensor:
    """L1, edges at three scales, and how different the pictures look to a network, if there is one, in front of some grey."""
    made = decoder(batch.latents, batch.hint).float()
    error = (made - batch.target) * batch.weight
    total = error.abs().mean() + edges * edge_loss(error)
    if network is None or not perceptual:
        return total
    grey = torch.rand(len(made), 1, 1, 1, 1, device=made.device)
    shown, wanted = ((p[:, :, :3] + (1 - p[:, :, 3:]) * grey).flatten(0, 1) for p in (made, batch.target))
    return total + perceptual * network.distances(shown, wanted).mean()


def without_hint(latents: Tensor, size: int) -> Tensor:
    """Hints [B, 1, 5, H, W] that show nothing, for latents [B, 1, 16, h, w]."""
    return latents.new_zeros(len(latents), 1, HINT_CHANNELS, size, size)
