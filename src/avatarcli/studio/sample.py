"""One training sample: what the model is shown of a subject, and what it should make of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.diffusion.autoencoder import VideoAutoencoder
from avatarcli.diffusion.conditioning import Conditioner, FrameMaps
from avatarcli.diffusion.packing import PIXELS_PER_LATENT, pack_frames
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.kept import constant
from avatarcli.geometry.mesh import MeshRaster
from avatarcli.head.model import REGIONS, HeadModel
from avatarcli.head.track import HeadParameters
from avatarcli.studio.raster import rasterize
from avatarcli.studio.scene import REGION_NAMES

# How much an error counts where the fitted head shows a region, beside hair, clothes and background. People look at faces, and
# there at eyes and mouths, which are small.
_IMPORTANCE = {"face": 2.5, "nose": 3.0, "ear": 2.0, "eyelid": 4.0, "lip": 4.0, "eye": 4.0, "teeth": 4.0, "tongue": 3.0}


@dataclass(frozen=True)
class StudioSample:
    """V views × F frames of one subject, and R reference photos with a fit each; T latents of F frames, S pixels, s = S / 8 cells.

    video uint8 [V, F, 4, S, S]: premultiplied RGBA; hint uint8 [R, V, F, 5, S, S]: the photo carried through the misfit head (RGB,
    visibility, facing ratio); maps float16 [R, V, T, 204, s, s]: packed conditioning maps of the misfit head; weight float16
    [V, T, 1, s, s]: how much errors count; photo uint8 [R, 4, S, S], photo_hint uint8 [R, 5, S, S] and photo_maps float16
    [R, 204, s, s]: the same for the photos. number: the subject.
    """

    number: int
    video: Tensor
    hint: Tensor
    maps: Tensor
    weight: Tensor
    photo: Tensor
    photo_hint: Tensor
    photo_maps: Tensor

    def tensors(self) -> dict[str, Tensor]:
        """By their names."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    def to(self, device: torch.device | str) -> StudioSample:
        """The sample on another device."""
        return StudioSample(self.number, **{name: value.to(device) for name, value in self.tensors().items()})

    def videos(self) -> list[dict[str, Tensor]]:
        """Samples for `avatar train autoencoder`, one a view (see `training.data.draw_videos`); photos take turns."""
        return [
            {"video": video, "hint": self.hint[view % len(self.hint), view]} for view, video in enumerate(self.video)
        ]

    @torch.inference_mode()
    def scene(self, autoencoder: VideoAutoencoder) -> dict[str, Tensor]:
        """A sample for `avatar train mmvdm` (see `training.data.draw_scenes`), float16: the pictures as an autoencoder's latents.

        View by view, so that memory does not grow with V. The autoencoder must be where the sample is.
        """

        def encode(video: Tensor) -> Tensor:
            """Latents [T, 16, s, s] of a video uint8 [F, C, S, S], whose first four channels are RGBA."""
            return autoencoder.encode(video[None, :, :4].float() / 255)[0].half()

        def conditioning(maps: Tensor, hint: Tensor) -> Tensor:
            """All channels [V, T, 220, s, s] of views' maps [V, T, 204, s, s] and hints [V, F, 5, S, S]."""
            return torch.stack([torch.cat([m, encode(h)], dim=1) for m, h in zip(maps, hint, strict=True)])

        return {
            "photo": torch.cat([encode(photo[None]) for photo in self.photo]),
            "photo_conditioning": conditioning(self.photo_maps[:, None], self.photo_hint[:, None])[:, 0],
            "latents": torch.stack([encode(video) for video in self.video]),
            "conditioning": torch.stack(
                [conditioning(*of_photo) for of_photo in zip(self.maps, self.hint, strict=True)]
            ),
            "weight": self.weight,
        }


def condition_photo(conditioner: Conditioner, size: int) -> tuple[Tensor, FrameMaps]:
    """The reference's picture [4, S, S] and maps, as the pipeline makes them at `size` pixels."""
    view = conditioner.reference.resized(size)
    raster = rasterize(conditioner.posed[None], conditioner.head.model.faces, batch_of_one(view.camera))
    maps = conditioner.of_view(view.parameters, batch_of_one(view.camera), raster=raster, inside=view.inside)
    return view.picture.permute(2, 0, 1), maps


def condition_views(
    conditioner: Conditioner, parameters: HeadParameters, cameras: Camera, heads: Tensor
) -> tuple[FrameMaps, MeshRaster]:
    """The maps of V cameras × F frames, and what they see of the misfit head; a leading V · F. heads [F, N, 3]: its
    vertices in the world."""
    views, frames = len(cameras), len(parameters)
    vertices = heads.repeat(views, 1, 1)
    every = Camera(
        cameras.world_to_camera.repeat_interleave(frames, 0),
        cameras.K.repeat_interleave(frames, 0),
        cameras.width,
        cameras.height,
    )
    raster = rasterize(vertices, conditioner.head.model.faces, every)
    repeated = parameters[torch.arange(views * frames, device=vertices.device) % frames]
    return conditioner.of_view(repeated, every, raster=raster), raster


def loss_weight(model: HeadModel, raster: MeshRaster, regions: Tensor) -> Tensor:
    """How much errors count [V, T, 1, s, s], from what is seen of the misfit head (V · F) and of REGION_NAMES [V, F, S, S, 4].

    What hair or clothes cover counts as they do.
    """
    of_face = _importance(regions.device)[model.region[model.faces[:, 0]]]
    head = torch.where(raster.covered, of_face[raster.face.clamp(min=0)], 1.0).view(regions.shape[:-1])
    covered = regions[..., REGION_NAMES.index("hair")] + regions[..., REGION_NAMES.index("clothes")]
    weight = 1 + (head - 1) * (1 - covered).clamp(0, 1)
    cells = functional.avg_pool2d(weight, PIXELS_PER_LATENT)[:, :, None]
    return pack_frames(cells).mean(2, keepdim=True)


@constant
def _importance(device: torch.device) -> Tensor:
    """Of each of REGIONS."""
    return torch.tensor([_IMPORTANCE.get(name, 1.0) for name in REGIONS], device=device)


def as_bytes(picture: Tensor) -> Tensor:
    """[0, 1] as uint8."""
    return (picture.clamp(0, 1) * 255).round().byte()


def batch_of_one(camera: Camera) -> Camera:
    """A single camera as a batch."""
    return Camera(camera.world_to_camera[None], camera.K[None], camera.width, camera.height)
