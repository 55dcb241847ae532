"""Samples as latents, and changes of a whole person's colors."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avatarcli.diffusion.autoencoder import VideoAutoencoder
from avatarcli.studio.encoding import EncodedSample, encode_sample
from avatarcli.studio.sample import StudioSample, as_bytes

# Spreads of the logarithms of exposure, of each channel's gain and of gamma; range of saturation, and share of grey people.
_EXPOSURE, _BALANCE, _GAMMA = 0.10, 0.05, 0.12
_SATURATION, _GREY_SHARE = (0.6, 1.25), 0.04
_LUMA = (0.299, 0.587, 0.114)
_LEAST_ALPHA = 1e-3  # where less of the person is seen, its color is not known


@dataclass(frozen=True)
class Tone:
    """A change of colors: gain of each channel, saturation (0 is grey) and gamma."""

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
        color = picture[..., :3, :, :] / alpha.clamp(min=_LEAST_ALPHA)
        grey = (color * color.new_tensor(_LUMA).view(3, 1, 1)).sum(-3, keepdim=True)
        color = (grey + self.saturation * (color - grey)).clamp(0, 1).pow(self.gamma)
        color = (color * color.new_tensor(self.gain).view(3, 1, 1)).clamp(0, 1)
        return torch.cat([color * alpha, picture[..., 3:, :, :]], dim=-3)

    def recolored(self, sample: StudioSample) -> StudioSample:
        """The same person in the tone: all pictures, none of the maps."""
        names = ("video", "hint", "photo", "photo_hint")
        changed = {name: as_bytes(self.apply(sample.tensors()[name].float() / 255)) for name in names}
        return StudioSample(sample.number, **{**sample.tensors(), **changed})


def encode(sample: StudioSample, autoencoder: VideoAutoencoder) -> Iterator[EncodedSample]:
    """As `encode_sample`, in reduced precision on a GPU."""
    with _reduced_precision(sample.video.device):
        yield from encode_sample(sample, autoencoder)


def _reduced_precision(device: torch.device) -> AbstractContextManager[object]:
    return torch.autocast("cuda", dtype=torch.bfloat16) if device.type == "cuda" else nullcontext()
