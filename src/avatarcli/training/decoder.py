"""Training of the autoencoder's decoder alone, so that it makes use of the warped photo.

Latents of true pictures hold all that there is to see, and a decoder that is trained on them has no need of a photo. What the
transformer makes of them lacks the fine detail, which the photo has.
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
# logarithms of the gain of all colors and of each.
_DISTURBED_SHARE = 0.75
_SHIFT, _SWAY, _SCALE = 1.6, 1.0, 0.006
_GAIN, _BALANCE = 0.05, 0.02
_SWAYS = 8  # places along each side that sway by themselves
_WRONG, _WRONG_PLACES = 0.25, 6  # share of a hint that is carried by the fitted head; patches along each side
_CELL, _AROUND = 16, 3  # pixels, and cells along each side of a square: how far around a place the photo counts as near
_BEYOND = 1.0  # how much more errors count where the photo is near
_LOOKED_AT = 144  # pixels: side of the part of the pictures that a network compares


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

    imagined [B] (bool): latents that were imagined wholly. They lie beside the truth by some pixels, as the hint does, which the
    fitted head carries: whoever compares with the truth learns to blur, and not to look at the hint. So near the hint nothing is
    asked of them, and elsewhere `plain`, what the decoder made of them before. All others lie where the truth does. Their hints
    show mostly the truth itself where the photo would show something: one that is off by no more than `disturbed` makes it.
    hide_hint: share of the samples without a hint.
    """
    of_truth = ~imagined.to(hint.device).view(-1, 1, 1, 1)
    hidden = torch.rand(len(hint), generator=generator) < hide_hint
    hint = hint * (~hidden).to(hint).view(-1, 1, 1, 1)
    near = near_photo(hint)
    carried = patches(len(hint), hint.shape[-1], generator).to(hint.device)
    ideal = torch.cat([truth[:, :3] * hint[:, 3:4], hint[:, 3:]], dim=1)
    shown = torch.where(of_truth & ~carried, ideal, hint)
    return DecoderBatch(
        latents=latents[:, None],
        hint=disturbed(shown, generator)[:, None],
        target=torch.where(of_truth, truth, plain)[:, None],
        weight=torch.where(of_truth, 1 + _BEYOND * near, 1 - near)[:, None],
    )


def patches(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Random smooth patches [count, 1, size, size] (bool) of pictures."""
    coarse = torch.randn(count, 1, _WRONG_PLACES, _WRONG_PLACES, generator=generator)
    limit = coarse.flatten(1).quantile(1 - _WRONG, dim=1).view(-1, 1, 1, 1)
    return functional.interpolate(coarse, (size, size), mode="bilinear", align_corners=False) > limit


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
    """L1, edges at three scales, and how different a part of the pictures looks to a network, if there is one."""
    difference = decoder(batch.latents, batch.hint).float() - batch.target
    error = difference * batch.weight
    total = error.abs().mean() + edges * edge_loss(error)
    if network is None or not perceptual:
        return total
    made = batch.target + difference * batch.weight.clamp(max=1)  # what nothing is asked of is as it should be
    grey = torch.rand(len(made), 1, 1, 1, 1, device=made.device)
    row, column = (int(torch.randint(max(1, side - _LOOKED_AT + 1), ())) for side in made.shape[-2:])
    shown, wanted = (
        (p[:, :, :3] + (1 - p[:, :, 3:]) * grey)[..., row : row + _LOOKED_AT, column : column + _LOOKED_AT].flatten(
            0, 1
        )
        for p in (made, batch.target)
    )
    return total + perceptual * network.distances(shown, wanted).mean()


def without_hint(latents: Tensor, size: int) -> Tensor:
    """Hints [B, 1, 5, H, W] that show nothing, for latents [B, 1, 16, h, w]."""
    return latents.new_zeros(len(latents), 1, HINT_CHANNELS, size, size)
