"""Studio samples as an autoencoder's latents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from avatarcli.diffusion.autoencoder import VideoAutoencoder
from avatarcli.diffusion.packing import pack_frames, unpack_frames
from avatarcli.studio.sample import StudioSample


@dataclass(frozen=True)
class EncodedSample:
    """A sample with one of its photos, float16; any number of dimensions may stand before.

    latents [V, T, 16, s, s], warp [V, T, 16, s, s] (the warped photo's), maps [V, F, 51, s, s] (of frames, not packed: a still's
    would be there four times), weight [V, T, 1, s, s], photo [16, s, s], photo_warp [16, s, s] and photo_maps [51, s, s].
    """

    latents: Tensor
    warp: Tensor
    maps: Tensor
    weight: Tensor
    photo: Tensor
    photo_warp: Tensor
    photo_maps: Tensor

    def tensors(self) -> dict[str, Tensor]:
        """By their names."""
        return dict(vars(self))

    def conditioning(self) -> Tensor:
        """All channels [V, T, 220, s, s] that the model is told of the views."""
        return torch.cat([pack_frames(self.maps), self.warp], dim=-3)

    def photo_conditioning(self) -> Tensor:
        """All channels [220, s, s] that the model is told of the photo."""
        packed = pack_frames(self.photo_maps.unsqueeze(-4)).squeeze(-4)
        return torch.cat([packed, self.photo_warp], dim=-3)


@torch.inference_mode()
def encode_sample(
    sample: StudioSample,
    autoencoder: VideoAutoencoder,
    *,
    at_once: int | None = None,
) -> Iterator[EncodedSample]:
    """A sample with each of its photos. The autoencoder must be where the sample is.

    at_once: views together, so that memory does not grow with V.
    """

    def encode(pictures: Tensor) -> Tensor:
        """Latents [n, T, 16, s, s] of pictures uint8 [n, F, C, S, S], whose first four channels are RGBA."""
        parts = pictures[:, :, :4].split(at_once or len(pictures))
        return torch.cat([autoencoder.encode(part.float() / 255).half() for part in parts])

    latents = encode(sample.video)
    for hint, maps, photo, photo_hint, photo_maps in zip(
        sample.hint, sample.maps, sample.photo, sample.photo_hint, sample.photo_maps, strict=True
    ):
        both = encode(torch.stack([photo, photo_hint[:4]])[:, None])[:, 0]
        yield EncodedSample(
            latents=latents,
            warp=encode(hint),
            maps=unpack_frames(maps).half(),
            weight=sample.weight.half(),
            photo=both[0],
            photo_warp=both[1],
            photo_maps=unpack_frames(photo_maps[None])[0].half(),
        )


def scene_of(sample: StudioSample, autoencoder: VideoAutoencoder) -> Mapping[str, Tensor]:
    """What `avatar train mmvdm` reads (see `training.data.draw_scenes`): all photos of a sample, view by view."""
    photos = list(encode_sample(sample, autoencoder, at_once=1))
    return {
        "photo": torch.stack([each.photo for each in photos]),
        "photo_conditioning": torch.stack([each.photo_conditioning() for each in photos]),
        "latents": photos[0].latents,
        "conditioning": torch.stack([each.conditioning() for each in photos]),
        "weight": photos[0].weight,
    }
