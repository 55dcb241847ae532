"""One training sample: what the model is shown of a subject, and what it should make of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional

from avatarcli.caching import constant
from avatarcli.diffusion.conditioning import Conditioner, FrameMaps
from avatarcli.diffusion.packing import PIXELS_PER_LATENT, pack_frames
from avatarcli.errors import UsageError
from avatarcli.files import write_atomically
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.mesh import MeshRaster
from avatarcli.head.model import REGIONS, HeadModel
from avatarcli.head.parameters import HeadParameters
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
        """Samples for `avatar train autoencoder`, one per view (see `training.data.draw_videos`); photos take turns."""
        return [
            {"video": video, "hint": self.hint[view % len(self.hint), view]} for view, video in enumerate(self.video)
        ]

    def save(self, path: Path) -> None:
        """Write all that is known, a whole file or none."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, sample_bytes(self.tensors(), self.number))

    @classmethod
    def load(cls, path: Path) -> StudioSample:
        """What `save` or `avatar data photos --pictures` wrote, on the CPU.

        Raises:
            UsageError: the file is damaged or holds something else.
        """
        wanted = [field.name for field in fields(cls)[1:]]
        try:
            with safe_open(str(path), framework="pt") as file:
                missing = [name for name in wanted if name not in file.keys()]  # noqa: SIM118 (no mapping)
                if missing:
                    raise UsageError(
                        f"{path} has no tensor {missing[0]}: samples of real people hold pictures, as "
                        "`avatar data photos --pictures` writes them"
                    )
                tensors: dict[str, Any] = {name: file.get_tensor(name) for name in wanted}
                number = int((file.metadata() or {}).get("subject", 0))
        except (OSError, SafetensorError, ValueError) as error:
            raise UsageError(f"cannot read the sample {path} ({error})") from error
        return cls(number, **tensors)


def sample_bytes(tensors: Mapping[str, Tensor], number: int) -> bytes:
    """A file's content. number: the subject, for its metadata."""
    content = {name: value.detach().to("cpu", copy=False).contiguous() for name, value in tensors.items()}
    return save(content, metadata={"subject": str(number)})


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
