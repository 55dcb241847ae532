"""Samples as latents, with the colours of the whole person changed on the way."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avatarcli.diffusion.autoencoder import VideoAutoencoder
from avatarcli.diffusion.packing import unpack_frames
from avatarcli.studio.sample import StudioSample

# Spreads of the logarithms of exposure, of each channel's gain and of gamma; range of saturation, and share of grey people.
_EXPOSURE, _BALANCE, _GAMMA = 0.10, 0.05, 0.12
_SATURATION, _GREY_SHARE = (0.6, 1.25), 0.04
_LUMA = (0.299, 0.587, 0.114)
_LEAST_ALPHA = 1e-3  # where less of the person is seen, its colour is not known

Record = dict[str, Tensor]


@dataclass(frozen=True)
class Tone:
    """A change of colours: gain of each channel, saturation (0 is grey) and gamma."""

    gain: tuple[float, float, float]
    saturation: float
    gamma: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Tone:
        exposure = rng.normal(0, _EXPOSURE)
        red, green, blue = (math.exp(exposure + g) for g in rng.normal(0, _BALANCE, 3))
        saturation = 0.0 if rng.random() < _GREY_SHARE else rng.uniform(*_SATURATION)
        return cls((red, green, blue), saturation, math.exp(rng.normal(0, _GAMMA)))

    def apply(self, picture: Tensor) -> Tensor:
        """A picture [..., C, H, W] in [0, 1] whose first four channels are premultiplied RGBA; the others stay."""
        alpha = picture[..., 3:4, :, :]
        colour = picture[..., :3, :, :] / alpha.clamp(min=_LEAST_ALPHA)
        grey = (colour * colour.new_tensor(_LUMA).view(3, 1, 1)).sum(-3, keepdim=True)
        colour = (grey + self.saturation * (colour - grey)).clamp(0, 1).pow(self.gamma)
        colour = (colour * colour.new_tensor(self.gain).view(3, 1, 1)).clamp(0, 1)
        return torch.cat([colour * alpha, picture[..., 3:, :, :]], dim=-3)


@torch.inference_mode()
def encode_sample(sample: StudioSample, autoencoder: VideoAutoencoder, tone: Tone | None = None) -> Iterator[Record]:
    """One record a reference photo, in float16: what `LatentStore` keeps. The autoencoder must be where the sample is.

    latents [V, T, 16, s, s], warp [V, T, 16, s, s] (the warped photo's), maps [V, F, 51, s, s] (of frames, not packed), weight
    [V, T, 1, s, s], photo [16, s, s], photo_warp [16, s, s] and photo_maps [51, s, s].
    """

    def encode(pictures: Tensor) -> Tensor:
        """Latents [n, T, 16, s, s] of pictures uint8 [n, F, C, S, S]."""
        pictures = pictures[:, :, :4].float() / 255
        pictures = pictures if tone is None else tone.apply(pictures)
        with _reduced_precision(pictures.device):
            return autoencoder.encode(pictures).half()

    latents = encode(sample.video)
    for hint, maps, photo, photo_hint, photo_maps in zip(
        sample.hint, sample.maps, sample.photo, sample.photo_hint, sample.photo_maps, strict=True
    ):
        both = encode(torch.stack([photo, photo_hint[:4]])[:, None])[:, 0]
        yield {
            "latents": latents,
            "warp": encode(hint),
            "maps": unpack_frames(maps).half(),
            "weight": sample.weight.half(),
            "photo": both[0],
            "photo_warp": both[1],
            "photo_maps": unpack_frames(photo_maps[None])[0].half(),
        }


def _reduced_precision(device: torch.device) -> AbstractContextManager[object]:
    return torch.autocast("cuda", dtype=torch.bfloat16) if device.type == "cuda" else nullcontext()
