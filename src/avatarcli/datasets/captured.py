"""Training samples from pictures of real people: the studio's tensors, with the tracker's own fits in place of drawn errors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatarcli.arrays import Pixels
from avatarcli.capture.cover import cover_map
from avatarcli.capture.face_crop import FaceCrop
from avatarcli.capture.landmarks import FaceLandmarks, detect_face
from avatarcli.capture.photo import head_crop
from avatarcli.capture.portrait import Portrait
from avatarcli.capture.preprocessed import Preprocessed
from avatarcli.diffusion.conditioning import Conditioner, Reference
from avatarcli.diffusion.packing import pack_frames
from avatarcli.errors import PhotoError, UsageError, VideoError
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.mesh import rasterize_mesh
from avatarcli.head.model import HeadModel, PersonalHead
from avatarcli.head.parameters import HeadParameters
from avatarcli.head.photo_fit import PhotoFit
from avatarcli.multiview.framing import Framing
from avatarcli.studio.dataset import CELL
from avatarcli.studio.raster import rasterize
from avatarcli.studio.sample import StudioSample, as_bytes, condition_photo, loss_weight
from avatarcli.studio.scene import REGION_NAMES
from avatarcli.tracking.fit import fit_photo

Matte = NDArray[np.float32]

# The photo has twice the views' pixels on a side, as in the studio. The tracker sees no fewer than it would in use.
_PHOTO_SCALE, _SMALLEST_CROP = 2, 512
_ABOVE_SHOULDERS = -0.1  # metres: what the framing counts as head


@dataclass(frozen=True)
class FittedPhoto:
    """One photo of a person as a reference: the head that was fitted to it, and where that head stands in V × F views.

    cameras: V · F; parameters: V · F frames, view by view.
    """

    head: PersonalHead
    reference: Reference
    cameras: Camera
    parameters: HeadParameters


class CapturedSamples(ABC):
    """Samples of the people of a folder, in the interface of the studio: `StudioDataset(CapturedSamples)` works.

    names: who there is, in order; settings: what decides the samples, for a file beside them.
    """

    names: tuple[str, ...]
    views: int
    settings: dict[str, object]

    @abstractmethod
    def read(self, index: int) -> StudioSample:
        """The sample of `names[index]`. Raises AvatarError when their pictures cannot be used."""

    def sample(self, index: int) -> StudioSample:
        """A sample for any index: people come again and again, and who cannot be used is passed over.

        Raises:
            PhotoError: nobody can be used.
        """
        for step in range(len(self.names)):
            with suppress(PhotoError, VideoError):
                return self.read((index + step) % len(self.names))
        raise PhotoError("no sample can be made of any of the pictures")


def check_size(size: int) -> None:
    """Raises UsageError unless pictures of `size` pixels are whole patches of the model."""
    if size < CELL or size % CELL:
        raise UsageError(f"--size {size}: pictures are a multiple of {CELL} pixels wide")


def fit_reference(
    model: HeadModel, picture: Pixels, size: int, matte: Matte | None = None, face: FaceLandmarks | None = None
) -> tuple[Reference, PhotoFit, Camera]:
    """What `avatar preprocess` makes of a photo, for views of `size` pixels: the reference, its track, and the camera
    of the whole picture.

    matte: of the whole picture, if it is known; face: found in the whole picture, if it was looked for already.

    Raises:
        PhotoError: there is no usable face.
    """
    found = detect_face(picture) if face is None else face
    seen = FaceCrop.of(picture, max(_SMALLEST_CROP, _PHOTO_SCALE * size), found)
    crop, face = seen.crop, seen.face
    if matte is None:
        portrait = Portrait.cut_out(crop.image, crop.inside)
    else:
        part = head_crop((matte * 255).round().astype(np.uint8)[..., None].repeat(3, -1), found.points, len(crop.image))
        portrait = cut_out(
            crop.image, part.image[..., 0].astype(np.float32) / np.float32(255) * crop.inside, crop.inside
        )
    track = fit_photo(model, face.points, face.scores, portrait.size, portrait.size, matte=portrait.matte.numpy())
    reference = Reference.of(Preprocessed(portrait, track))
    whole = crop.place.whole_camera(track.camera)
    return reference.resized(min(portrait.size, _PHOTO_SCALE * size)), track, whole


def cut_out(image: Pixels, matte: Matte, inside: Matte | None = None) -> Portrait:
    """A portrait whose matte [S, S] is known already."""
    from avatarcli.capture.matte import foreground_colors

    inside = np.ones_like(matte) if inside is None else inside
    return Portrait(
        photo=torch.tensor(image).float() / 255,
        foreground=torch.tensor(foreground_colors(image, matte)).float() / 255,
        matte=torch.tensor(matte),
        inside=torch.tensor(inside),
    )


def framing_of(head: PersonalHead, reference: Reference) -> Framing:
    """How `avatar generate` would frame the person: the fitted bald head, and the hair that the photo's matte shows."""
    camera = reference.camera
    rows, columns = (reference.picture[..., 3] > 0.5).nonzero().T
    pixels = torch.stack([columns, rows], dim=-1) + 0.5
    middle = camera.to_camera(torch.zeros(1, 3))[0, 2]
    seen = camera.unproject(pixels, middle.expand(len(pixels)))
    return Framing.of(torch.cat([head.neutral, seen[seen[:, 1] > _ABOVE_SHOULDERS]]))


def show(portrait: Portrait, size: int) -> Tensor:
    """A view's picture [S, S, 4]: premultiplied RGBA."""
    return portrait.resized(size).rgba()


def covered_by_hair(rgba: Tensor, head: PersonalHead, parameters: HeadParameters, camera: Camera) -> Tensor:
    """How much of a pixel [S, S] of a view [S, S, 4] shows hair or clothes before the fitted head. A single frame."""
    posed = head.in_world(parameters)[0]
    raster = rasterize_mesh(posed, head.model.faces, camera)
    landmarks = camera.project(head.model.landmarks(posed))[0]
    matte = rgba[..., 3]
    cover = cover_map(rgba[..., :3] / matte.clamp(min=1e-3)[..., None], matte, raster, head.model, landmarks)
    return cover * matte


def build_sample(number: int, rgba: Tensor, covered: Tensor, fits: Sequence[FittedPhoto]) -> StudioSample:
    """The sample of V views × F frames [V, F, S, S, 4] with R photos; covered [V, F, S, S]: by hair or clothes."""
    views, frames, size = rgba.shape[:3]
    regions = covered.new_zeros(*covered.shape, len(REGION_NAMES))
    regions[..., REGION_NAMES.index("hair")] = covered
    weights: list[Tensor] = []
    hints, maps, photos = [], [], []
    for fit in fits:
        conditioner = Conditioner(fit.head, fit.reference)
        faces, of_views = conditioner.head.model.faces, []
        for view in range(views):
            rows = slice(view * frames, (view + 1) * frames)
            some, cameras = fit.parameters[rows], fit.cameras[rows]
            raster = rasterize(fit.head.in_world(some), faces, cameras)
            of_views.append(conditioner.of_view(some, cameras, raster=raster))
            if len(weights) < views:
                weights.append(loss_weight(fit.head.model, raster, regions[view : view + 1])[0])
        hints.append(torch.stack([as_bytes(made.hint) for made in of_views]))
        maps.append(torch.stack([pack_frames(made.maps).half() for made in of_views]))
        photos.append(condition_photo(conditioner, size))
    return StudioSample(
        number=number,
        video=as_bytes(rgba).permute(0, 1, 4, 2, 3).contiguous(),
        hint=torch.stack(hints),
        maps=torch.stack(maps),
        weight=torch.stack(weights).half(),
        photo=torch.stack([as_bytes(picture) for picture, _ in photos]),
        photo_hint=torch.stack([as_bytes(made.hint[0]) for _, made in photos]),
        photo_maps=torch.stack([made.packed()[0].half() for _, made in photos]),
    )


def stacked(cameras: Sequence[Camera]) -> Camera:
    """Single cameras as a batch."""
    return Camera(
        torch.stack([camera.world_to_camera for camera in cameras]),
        torch.stack([camera.K for camera in cameras]),
        cameras[0].width,
        cameras[0].height,
    )


def joined(parameters: Sequence[HeadParameters]) -> HeadParameters:
    """Frames one after another."""
    names = ("expression", "gaze", "neck", "head_pose")
    return HeadParameters(*(torch.cat([getattr(p, name) for p in parameters]) for name in names))
