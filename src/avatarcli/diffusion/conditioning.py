"""What the diffusion model is told about every picture: where the fitted head is, how it moves, and what the photo shows of it.

All maps come from the tracked, bald and slightly wrong head model, in training as in use, so that the model learns to repair
it. The channels follow CAP4D (arXiv 2412.12093), the published predecessor of MVP4D; the warped reference is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.capture.photo import photo_window
from avatarcli.capture.preprocessed import Preprocessed
from avatarcli.diffusion.packing import PIXELS_PER_LATENT, pack_frames
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.fill import blur, ramp, resized
from avatarcli.geometry.mesh import MeshRaster, rasterize_mesh, sample_image, vertex_normals, visible_points
from avatarcli.head.model import PersonalHead
from avatarcli.head.parameters import HeadParameters
from avatarcli.multiview.framing import Framing, Window

OCTAVES = 7
# Pose code, expression offset, ray, crop mask, how much of the cell the photo shows, and how squarely.
MAP_CHANNELS = 6 * OCTAVES + 3 + 3 + 1 + 1 + 1
# The warped photo in full resolution: premultiplied RGB, visibility, facing ratio.
HINT_CHANNELS = 5

# Metres. The head spans about ±0.15, so the lowest octave tells every point of it (and of the shoulders) from every other.
_POSITION_SCALE = 0.15
# Metres: a wide open jaw moves the chin by a few of these, so offsets are of about unit size.
_EXPRESSION_SCALE = 0.01
# Metres that a point may lie behind the photo's depth buffer and still be seen. Twice that of the texture: here a hole costs
# more than a smear, which the model can repair.
_DEPTH_TOLERANCE = 0.006
# How much a photo's direction counts beside how squarely it sees a place: from its own it decides alone, where others look from 40°
# beside it or more (1 / sin 20°). With less, a face from in front had a cheek and the side of its nose from a three-quarter photo,
# whose fit is a millimetre or two off.
_SAME_WAY = 3.0
_PASSING = 1 / 50  # of a view's width: how softly photos pass into each other
_GRAZING = 0.05  # cosine: a surface seen more obliquely than this in the photo has no usable pixels


@dataclass(frozen=True)
class Reference:
    """The photo as the model sees it.

    picture [S, S, 4]: premultiplied RGBA; inside [S, S]: 1 where the crop shows the photo; camera: a single one with pictures
    of that size; parameters: the single frame of head parameters that was fitted to it. exact: whether they fit well enough to
    carry its pixels into other views; a profile laid along its outline is some millimetres off, and only given as a view.
    """

    picture: Tensor
    inside: Tensor
    camera: Camera
    parameters: HeadParameters
    exact: bool = True

    @classmethod
    def of(cls, photo: Preprocessed) -> Reference:
        portrait, track = photo.portrait, photo.track
        return cls(portrait.rgba(), portrait.inside, track.camera, track.parameters(), photo.exact)

    def resized(self, size: int) -> Reference:
        """The same photo as `size` × `size` pixels."""
        layers = resized(torch.cat([self.picture, self.inside[..., None]], dim=-1), size, size).clamp(0, 1)
        camera = self.camera.resized(size, size)
        return replace(self, picture=layers[..., :4], inside=layers[..., 4], camera=camera)

    def framed(self, framing: Framing, size: int) -> Reference:
        """The photo as a view of `size` × `size` pixels would show it, as far as it reaches."""
        inside = self.inside.cpu().numpy()
        rows, columns = photo_window(inside)
        left, top = columns.start, rows.start
        width, height = columns.stop - left, rows.stop - top
        window = Window.framing(framing, self.camera.cropped(left, top, width, height))
        window = Window(left + window.left, top + window.top, window.side)
        part = replace(
            self,
            picture=self.picture[window.part],
            inside=self.inside[window.part],
            camera=self.camera.cropped(window.left, window.top, window.side, window.side),
        )
        return part.resized(size)

    def to(self, device: torch.device | str) -> Reference:
        return replace(
            self,
            picture=self.picture.to(device),
            inside=self.inside.to(device),
            camera=self.camera.to(device),
            parameters=self.parameters.to(device),
        )


@dataclass(frozen=True)
class FrameMaps:
    """Conditioning of F pictures of H × W pixels.

    maps [F, 51, H/8, W/8]: per latent cell; hint [F, 5, H, W]: the warped photo.
    """

    maps: Tensor
    hint: Tensor

    @property
    def warp(self) -> Tensor:
        """The warped photo as premultiplied RGBA [F, 4, H, W], ready to be encoded like any video."""
        return self.hint[:, :4]

    def packed(self) -> Tensor:
        """The maps per latent [T, 204, H/8, W/8]; F must be 1 + 4 k."""
        return pack_frames(self.maps)


def fourier_code(position: Tensor) -> Tensor:
    """Positions [..., 3] in units of the position scale as sines and cosines [..., 42] of seven octaves.

    The lowest octave has a period of 4, so that it is unambiguous within ±2; the highest tells points 0.5 mm apart.
    """
    octaves = 2.0 ** torch.arange(OCTAVES, device=position.device, dtype=position.dtype) * (torch.pi / 2)
    angles = (position[..., None, :] * octaves[:, None]).flatten(-2)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def rasterize_frames(vertices: Tensor, faces: Tensor, camera: Camera) -> MeshRaster:
    """What F pictures see of F poses of one mesh: a MeshRaster whose tensors have a leading F. Computed on the CPU.

    vertices [F, N, 3]; faces [T, 3]; camera: a single one, or one per frame.
    """
    rasters = [rasterize_mesh(v, faces, _of_frame(camera, frame)) for frame, v in enumerate(vertices)]
    return MeshRaster(*(torch.stack([getattr(r, name) for r in rasters]) for name in ("face", "weights", "depth")))


class Conditioner:
    """Makes the maps of one person and one photo, on the device where `head` and `reference` are.

    posed [N, 3]: the head's vertices in the photo.
    """

    def __init__(self, head: PersonalHead, reference: Reference, further: Sequence[Reference] = ()) -> None:
        """further: other photos of the person, from which the warp takes what they see better, where they are exact."""
        self.head = head
        self.reference = reference
        self.further = tuple(further)
        self._faces = head.model.faces
        self._sources = [_Source.of(head, photo) for photo in (reference, *further) if photo.exact]
        self.posed = self._sources[0].posed

    def of_reference(self, size: int) -> FrameMaps:
        """The maps of the photo itself, as a single frame of `size` × `size` pixels."""
        view = self.reference.resized(size)
        return self.of_view(view.parameters, view.camera, inside=view.inside)

    def of_view(
        self,
        parameters: HeadParameters,
        camera: Camera,
        *,
        raster: MeshRaster | None = None,
        inside: Tensor | None = None,
    ) -> FrameMaps:
        """The maps of F frames seen by one camera, or by one camera per frame.

        raster: what `rasterize_frames` gives, when the caller has it already (on a GPU, say). inside [H, W]: 1 within the
        source's frame, default everywhere.
        """
        if raster is None:
            raster = rasterize_frames(self.head.in_world(parameters), self._faces, camera)
        model = self.head.model
        offset = self.head.moved(parameters.expression) / _EXPRESSION_SCALE
        position = raster.interpolate(model.mean / _POSITION_SCALE, self._faces)
        hint = self._warp(raster, camera)
        layers = [position, _interpolate_each(raster, offset, self._faces), raster.covered[..., None], hint[..., 3:]]
        cells = _pool(torch.cat([layer.to(position) for layer in layers], dim=-1))
        position, offset, coverage, seen = cells.split([3, 3, 1, 2], dim=-1)
        pose = fourier_code(position / coverage.clamp(min=1e-6)) * coverage
        crop = torch.ones_like(coverage) if inside is None else _pool(inside[None, ..., None]).expand_as(coverage)
        maps = torch.cat([pose, offset, self._rays(camera, coverage), crop, seen], dim=-1)
        return FrameMaps(maps.permute(0, 3, 1, 2).contiguous(), hint.permute(0, 3, 1, 2).contiguous())

    def _warp(self, raster: MeshRaster, camera: Camera) -> Tensor:
        """The photo carried through the mesh [F, H, W, 5]: premultiplied RGB, visibility, facing ratio.

        Of several photos, the one that sees a place squarely and from a direction near the view's.
        """
        warps = torch.stack([source.carried(raster, self._faces) for source in self._sources])
        if len(warps) == 1:
            return warps[0]
        scores = torch.stack([_closeness(*found, camera) for found in zip(warps, self._sources, strict=True)])
        return (_shares(warps, scores) * warps).sum(0)

    def _rays(self, camera: Camera, cells: Tensor) -> Tensor:
        """Unit viewing directions [F, h, w, 3] of the cells' centres in the reference camera's frame."""
        frames, height, width = cells.shape[:3]
        small = camera.resized(width, height)
        y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        pixels = torch.stack([x, y], dim=-1).flatten(0, 1).to(cells)
        ends = small.unproject(pixels, torch.ones_like(pixels[:, 0]))
        directions = functional.normalize(ends - small.centre[..., None, :], dim=-1)
        rotation = self.reference.camera.world_to_camera[:3, :3]
        return (directions @ rotation.T).reshape(-1, height, width, 3).expand(frames, -1, -1, -1)


@dataclass(frozen=True)
class _Source:
    """A photo to warp, with the head as it is there: posed, normals [N, 3], depth [S, S]."""

    photo: Reference
    posed: Tensor
    normals: Tensor
    depth: Tensor

    @classmethod
    def of(cls, head: PersonalHead, photo: Reference) -> _Source:
        faces = head.model.faces
        posed = head.in_world(photo.parameters)[0]
        return cls(photo, posed, vertex_normals(posed, faces), rasterize_mesh(posed, faces, photo.camera).depth)

    def carried(self, raster: MeshRaster, faces: Tensor) -> Tensor:
        """The photo [F, H, W, 5] in the pictures of `raster`, see `Conditioner`."""
        points = raster.interpolate(self.posed, faces)
        normals = functional.normalize(raster.interpolate(self.normals, faces), dim=-1)
        pixels, facing, visible = visible_points(
            points.flatten(0, 2), normals.flatten(0, 2), self.photo.camera, self.depth, tolerance=_DEPTH_TOLERANCE
        )
        usable = (visible & (facing > _GRAZING) & raster.covered.flatten()).to(points)[:, None]
        color = sample_image(self.photo.picture * self.photo.inside[..., None], pixels)
        return (torch.cat([color, facing[:, None]], dim=-1) * usable).reshape(*points.shape[:3], HINT_CHANNELS)


def _closeness(warp: Tensor, source: _Source, camera: Camera) -> Tensor:
    """How well a photo serves each pixel [F, H, W] of a view: 0 where it shows nothing there."""
    ways = [functional.normalize(c.centre, dim=-1) for c in (camera, source.photo.camera)]
    along = (ways[0] * ways[1]).sum(-1).reshape(-1, 1, 1)
    return (warp[..., 4] + _SAME_WAY * (1 + along)) * (warp[..., 3] > 0)


def _shares(warps: Tensor, scores: Tensor) -> Tensor:
    """How much each of several photos counts [P, F, H, W, 1] in a view, by how well it serves it [P, F, H, W]; all together 1.

    The best one counts. But photos pass into each other, and fade out before they end: a seam would be taken for a detail of the
    person, and be drawn into the avatar as a line.
    """
    photos = len(scores)
    visible = (warps[..., 3] > 0).float()
    best = visible * (scores == scores.amax(0))
    sigma = _PASSING * scores.shape[-1]
    layers = torch.cat([best, visible, visible.amax(0, keepdim=True)])
    soft = blur(layers.flatten(0, 1).permute(1, 2, 0).cpu(), sigma).permute(2, 0, 1).to(warps).view_as(layers)
    # It ends where others go on; the head's outline is the end of all.
    whole = soft[photos:-1] / soft[-1].clamp(min=1e-6)
    shares = visible * (soft[:photos] * ramp(whole, 0.5, 1.0)).clamp(min=1e-4)
    return (shares / shares.sum(0).clamp(min=1e-6))[..., None]


def _of_frame(camera: Camera, frame: int) -> Camera:
    return camera[frame] if camera.world_to_camera.ndim == 3 else camera


def _interpolate_each(raster: MeshRaster, attributes: Tensor, faces: Tensor) -> Tensor:
    """As MeshRaster.interpolate, for attributes [F, N, C] that differ from frame to frame."""
    frames, count = attributes.shape[:2]
    first = torch.arange(frames, device=faces.device)[:, None, None, None] * count
    corners = attributes.flatten(0, 1)[faces[raster.face.clamp(min=0)] + first]
    return (corners * raster.weights[..., None]).sum(-2) * raster.covered[..., None]


def _pool(layers: Tensor) -> Tensor:
    """Means [F, H/8, W/8, C] over the latents' cells of pictures [F, H, W, C]."""
    return functional.avg_pool2d(layers.permute(0, 3, 1, 2), PIXELS_PER_LATENT).permute(0, 2, 3, 1)
