"""Light from one side, evened out where a photo sees little: a face that is lit from one side has a dark one, and seen from there
all of the person would be as dark as the photo's last few pixels.

Only the difference between both sides of one person is measured, place by place against its mirror image: how dark skin is by
itself does not count, nor do brows, lips, glasses and beards, which both sides have.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.capture.portrait import Label, Portrait
from avatarcli.capture.preprocessed import Preprocessed
from avatarcli.geometry.colors import from_log_colors, log_colors
from avatarcli.geometry.fill import blur, pull_push, ramp, resized
from avatarcli.geometry.mesh import MeshRaster, rasterize_mesh, sample_image, vertex_normals, visible_points
from avatarcli.head.model import HeadModel, PersonalHead
from avatarcli.reproject.shading import neighbour_mean

_SIZE = 256  # pixels along each side: light is coarse
_COARSE = 1 / 80  # of the photo's width: finer than this are wrinkles and hairs
_SMOOTHING = 12  # steps: a nose's side is no side of the head
_DEPTH_TOLERANCE = 0.004  # metres
_SQUARELY = (0.15, 0.4)  # cosines: what the photo sees more obliquely tells no light
_FEWEST = 150  # vertices that are seen on both sides, of some 1100: fewer tell nothing
_RIDGE = (0.004, 0.02, 0.02)  # of the samples' weight, of each of the three shapes
_ROUNDS, _ODD = 6, 0.15  # of the robust fit; a logarithm: what is farther off the fit is a shadow or something worn
# Logarithms between both sides of a head, 60° from its front: less is ordinary light (of 82 people in a studio's even light .2 at
# most, of 40 in another's .41), with more it clearly comes from one side.
_ONE_SIDED = (0.4, 0.65)
_SIDE = (0.866, 0.0, 0.5)
# Of the difference, at most: light from one side stays light from one side. With 0.55, and none up to a cosine of 0.65, strongly
# lit faces stayed dark beside the scalp behind them (docs/photos.md has both).
_EVENED = 0.8
_TURNED = (-0.3, 0.85)  # cosines to the camera: all of it where the photo sees nothing, none where it sees well
_BARE = ("face", "nose", "ear", "neck", "lip")
_HAIR, _CLOTHES = 0.3, 0.1  # as much as skin


@dataclass(frozen=True)
class SideLight:
    """shapes [3, 3]: how much more light, as logarithms of colors, falls on a place than on its mirror image, as coefficients of x,
    xy and xz of its normal: the second-order spherical harmonics that differ in sign between both sides."""

    shapes: Tensor

    @classmethod
    def fit(cls, lead: Tensor, normals: Tensor, weight: Tensor) -> SideLight:
        """lead [N, 3]: by how much places are lighter than their mirror images; unit normals [N, 3], +x a side; weight [N]."""
        basis, ridge = _odd_shapes(normals), torch.diag(torch.tensor(_RIDGE)) * weight.sum().clamp(min=1e-6)
        trust = weight
        shapes = torch.zeros(3, 3)
        for _ in range(_ROUNDS):
            weighted = basis * trust[:, None]
            shapes = torch.linalg.solve(weighted.T @ basis + ridge, weighted.T @ lead)
            off = (lead - basis @ shapes).mean(-1)
            trust = weight / (1 + (off / _ODD).square())
        return cls(shapes)

    @classmethod
    def none(cls) -> SideLight:
        return cls(torch.zeros(3, 3))

    def lead(self, normals: Tensor) -> Tensor:
        """By how much [..., 3] places with unit normals [..., 3] are lighter than their mirror images."""
        return _odd_shapes(normals) @ self.shapes

    @property
    def clear(self) -> float:
        """How clearly the light comes from one side: in [0, 1], 0 of ordinary light."""
        return float(ramp(self.lead(torch.tensor(_SIDE)).mean().abs(), *_ONE_SIDED))


def _odd_shapes(normals: Tensor) -> Tensor:
    x, y, z = normals.unbind(-1)
    return 2 * torch.stack([x, x * y, x * z], dim=-1)


def find_side_light(model: HeadModel, photo: Preprocessed) -> SideLight:
    """How a photo is lit from the sides; none where it shows too little of both."""
    small = photo.portrait.resized(_SIZE)
    head = PersonalHead.of(model, photo.track)
    posed = head.posed(photo.track.parameters())[0]
    camera = photo.track.camera.resized(_SIZE, _SIZE)
    raster = rasterize_mesh(posed, model.faces, camera)
    pixels, facing, visible = visible_points(
        posed, vertex_normals(posed, model.faces), camera, raster.depth, tolerance=_DEPTH_TOLERANCE
    )
    soft = blur(small.rgba(), _COARSE * _SIZE)
    skin = small.region(Label.SKIN)
    skin = torch.ones_like(small.matte) if skin is None else skin
    layers = [log_colors(soft[..., :3] / soft[..., 3:].clamp(min=0.02)), (small.matte * small.inside * skin)[..., None]]
    told = sample_image(torch.cat(layers, dim=-1), pixels)
    light, bare = told[:, :3], ramp(told[:, 3], 0.8, 1.0)
    usable = visible * ramp(facing, *_SQUARELY) * bare * model.in_regions("face", "nose")
    both = usable * usable[model.mirror]
    if (both > 0.3).sum() < _FEWEST:
        return SideLight.none()
    return SideLight.fit(light - light[model.mirror], _even_normals(model, head), both)


def side_lift(model: HeadModel, photo: Preprocessed) -> Tensor:
    """How much lighter a photo's dark side is made at the head's vertices [N, 3], as logarithms of colors.

    Nothing where the photo sees well, and ever more the more a place turns from the camera; nothing at all in ordinary light.
    """
    light = find_side_light(model, photo)
    if light.clear == 0:
        return torch.zeros_like(model.mean)
    head = PersonalHead.of(model, photo.track)
    posed = head.posed(photo.track.parameters())[0]
    normals = _smooth(model, vertex_normals(posed, model.faces))
    facing = (functional.normalize(photo.track.camera.centre - posed, dim=-1) * normals).sum(-1, keepdim=True)
    share = light.clear * _EVENED * (1 - ramp(facing, *_TURNED))
    return share * -light.lead(_even_normals(model, head)).clamp(max=0)


def softened(model: HeadModel, photo: Preprocessed, lift: Tensor) -> Preprocessed:
    """A photo with the dark side of the person made lighter. lift [N, 3]: see `side_lift`."""
    if not lift.any():
        return photo
    portrait, camera = photo.portrait, photo.track.camera.resized(_SIZE, _SIZE)
    posed = PersonalHead.of(model, photo.track).posed(photo.track.parameters())[0]
    raster = rasterize_mesh(posed, model.faces, camera)
    # Eyes and teeth look their own ways.
    change = pull_push(raster.interpolate(lift, model.faces), model.shows(raster, *_BARE, "scalp", "torso"))
    change = _by_kind(model, portrait.resized(_SIZE), raster, change)
    change = resized(change, portrait.size, portrait.size)
    picture, foreground = (
        from_log_colors(log_colors(colors) + change) for colors in (portrait.photo, portrait.foreground)
    )
    return replace(photo, portrait=replace(portrait, photo=picture, foreground=foreground))


def _by_kind(model: HeadModel, portrait: Portrait, raster: MeshRaster, lift: Tensor) -> Tensor:
    """A lift of skin [S, S, 3], less of it, and none of its tint, on hair and clothes. portrait, raster: of that size.

    Labels alone do not tell: in the dark they take a cheek for hair. Beside the face's own outline it is some.
    """
    bare, clothes = model.shows(raster, *_BARE), portrait.region(Label.CLOTHES)
    clothes = model.shows(raster, "torso") if clothes is None else clothes
    bare = bare * (1 - clothes)
    share = torch.lerp(torch.lerp(torch.tensor(_HAIR), torch.tensor(1.0), bare), torch.tensor(_CLOTHES), clothes)
    person = (portrait.matte > 0.5).float()
    layers = blur(torch.stack([person * share, person * bare, person], dim=-1), _COARSE * len(lift))
    share, bare = (layers[..., :2] / layers[..., 2:].clamp(min=1e-3)).split(1, dim=-1)
    return share * torch.lerp(lift.mean(-1, keepdim=True), lift, bare)


def _even_normals(model: HeadModel, head: PersonalHead) -> Tensor:
    """Smooth unit normals [N, 3] of a head at rest, of partners each other's mirror images."""
    normals = _smooth(model, vertex_normals(head.neutral, model.faces))
    mirrored = normals[model.mirror] * torch.tensor([-1.0, 1.0, 1.0])
    return functional.normalize(normals + mirrored, dim=-1)


def _smooth(model: HeadModel, normals: Tensor) -> Tensor:
    for _ in range(_SMOOTHING):
        normals = neighbour_mean(model, normals)
    return functional.normalize(normals, dim=-1)
