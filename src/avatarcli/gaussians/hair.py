"""Hair: where the photo shows it, and which of an avatar's Gaussians are hair."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avatarcli.capture.portrait import Label, Portrait
from avatarcli.gaussians.avatar import SH_C0, Avatar
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.colors import log_colors
from avatarcli.geometry.mesh import sample_image
from avatarcli.geometry.space import neighbours
from avatarcli.head.face_points import CHIN
from avatarcli.head.model import HeadModel, is_region
from avatarcli.head.parameters import HeadParameters
from avatarcli.head.photo_fit import PhotoFit

_FULL = 0.95  # of the matte: hair at the outline shows the background
_FEW = 0.004  # share of the picture: less hair tells nothing of its strands
_HATTED = 0.003  # share of the picture from which a hat covers what would be hair
_LOWER = 0.02  # of the picture's height: how much lower than the photo shows hair may hang, where clothes could be taken for it
# A logarithm: clothes farther than that from the hair's color cannot be; times that hair must be nearer to its own color.
_UNLIKE, _NEARER = 1.0, 2.0
_SEEN = 0.6  # the photo's authority from which its labels decide
# What the labels leave open is decided by what is like it in color and near: metres that count as much as an e-fold of color,
# how many are asked, and how many around a Gaussian must be hair too.
_NEAR, _ASKED, _AROUND = 0.08, 15, 16


@dataclass(frozen=True)
class HairPhoto:
    """A photo of hair. camera, parameters: the photo's; logs [H, W, 3]: `log_colors` of the person; hair, bare [H, W]: 1 where
    surely hair, and where surely another part of the person; lowest: the row down to which there may be hair; middle, worn [3]: the
    middle colors (`log_colors`) of hair and of clothes, the latter None where they cannot be told from hair."""

    camera: Camera
    parameters: HeadParameters
    logs: Tensor
    hair: Tensor
    bare: Tensor
    lowest: float
    middle: Tensor
    worn: Tensor | None = None

    @classmethod
    def of(cls, portrait: Portrait, track: PhotoFit, size: int) -> HairPhoto | None:
        """What a portrait, looked at with at most `size` pixels, tells of hair; None where that is nothing: the labels are not
        known, the head is bald or wears a hat."""
        ratio = min(size, portrait.size) / portrait.size
        portrait = portrait.resized(min(size, portrait.size))
        hair, hat, skin = (portrait.region(label) for label in (Label.HAIR, Label.HAT, Label.SKIN))
        if hair is None or hat is None or skin is None or hat.mean() > _HATTED:
            return None
        full = (portrait.matte > _FULL) * portrait.inside
        if (hair * full).mean() < _FEW or (skin * full).mean() < _FEW:
            return None
        logs = log_colors(portrait.foreground)
        # Ears and temples between the hair are often labelled as hair.
        middles = [logs[(part * full) > 0.5].median(0).values for part in (hair, skin)]
        to_hair, to_skin = ((logs - middle).norm(dim=-1) for middle in middles)
        sure = hair * full * (to_hair < to_skin)
        if sure.mean() < _FEW:
            return None
        rows = sure.nonzero()[:, 0].float()
        lowest = max(float(rows.quantile(0.98)), float(track.landmarks[CHIN, 1]) * ratio)
        camera = track.camera.resized(portrait.size, portrait.size)
        bare = (1 - hair) * full
        middle, worn = middles[0], _middle_of_clothes(portrait, full, logs)
        if worn is not None and (worn - middle).norm() < _UNLIKE:
            worn = None
        return cls(camera, track.parameters(), logs, sure, bare, lowest + _LOWER * portrait.size, middle, worn)


def _middle_of_clothes(portrait: Portrait, full: Tensor, logs: Tensor) -> Tensor | None:
    """The middle color [3] of clothes; None where hardly any are seen.

    full [H, W]: 1 where nothing shines through; logs [H, W, 3]: the person's `log_colors`.
    """
    clothes = portrait.region(Label.CLOTHES)
    if clothes is None or (clothes * full).mean() < _FEW:
        return None
    return logs[(clothes * full) > 0.5].median(0).values


def splat_log_colors(avatar: Avatar) -> Tensor:
    """The `log_colors` of an avatar's Gaussians [G, 3]."""
    return log_colors(0.5 + SH_C0 * avatar.sh[:, 0])


def find_hair(avatar: Avatar, photo: HairPhoto, authority: Tensor) -> tuple[Tensor, Tensor]:
    """Which Gaussians are hair: their indices [P], and how many of those around each are hair too [P], 0.5 … 1.

    What covers the scalp is hair, and so is what the photo labels as hair where it decides (authority [G], see
    `photo_authority`); skin that moves is none. The rest, stubble on the scalp and what covers ears, face and neck, is what most
    of those are that have its color and place.
    """
    model = avatar.head.model
    pixels, _ = photo.camera.project(avatar.splats(avatar.rig(), photo.parameters).means)
    shown, bare = sample_image(torch.stack([photo.hair, photo.bare], dim=-1), pixels).unbind(-1)
    seen = authority > _SEEN
    cover = avatar.binding >= len(model.faces)
    scalp, low = _in_regions(model, avatar.binding, "scalp"), _in_regions(model, avatar.binding, "neck", "torso")
    hanging = cover & low & (pixels[:, 1] > photo.lowest)
    colors = splat_log_colors(avatar)
    lock = torch.zeros_like(hanging)
    if photo.worn is not None:
        # Imagined hair may be longer than the photo's. Its color tells it from the clothes below.
        off_hair, off_clothes = ((colors - middle).norm(dim=-1) for middle in (photo.middle, photo.worn))
        lock = hanging & ~seen & (_NEARER * off_hair < off_clothes)
    no = (~cover & ~scalp) | (seen & (bare > 0.5)) | (hanging & ~lock)
    yes = (cover & (scalp | (seen & (shown > 0.5))) & ~no) | lock
    solid = avatar.opacity_logits.sigmoid()

    def share_of_hair(points: Tensor, of: Tensor, among: Tensor, count: int) -> Tensor:
        _, found = neighbours(points[among], points[of], count)
        around = among[found]
        return (solid[around] * yes[around]).sum(1) / solid[around].sum(1).clamp(min=1e-6)

    open_, known = (~yes & ~no).nonzero()[:, 0], (yes | no).nonzero()[:, 0]
    if len(open_) and len(known):
        features = torch.cat([colors, avatar.means / _NEAR], dim=-1)
        yes[open_] = share_of_hair(features, open_, known, _ASKED) > 0.5
    hair = yes.nonzero()[:, 0]
    if not len(hair):
        return hair, torch.zeros(0)
    share = share_of_hair(avatar.means, hair, torch.arange(avatar.count), _AROUND)
    return hair[share > 0.5], share[share > 0.5]


def _in_regions(model: HeadModel, binding: Tensor, *names: str) -> Tensor:
    """Which Gaussians [G] (bool) are carried by triangles that touch one of the regions and no later one of `REGIONS`."""
    region = model.region[model.faces[binding % len(model.faces)]].amax(1)
    return is_region(region, *names)
