"""Beards that hang off the chin: which points of the hull belong to one, and which triangles carry them.

A point far off the skin has no triangle of its own. The nearest one would be of the moving chin for one hair and of the still chest
for the next, and the beard would tear between them as soon as the mouth opens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.gaussians.rig import Rig
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.mesh import rasterize_mesh, sample_image
from avatarcli.geometry.space import neighbours
from avatarcli.head.expressions import EXPRESSION_INDEX
from avatarcli.head.face_points import BELOW_NOSE
from avatarcli.head.model import PARTS, PersonalHead, still_head
from avatarcli.reproject.skin_texture import PhotoView, skin_likeness

_JAW_ANGLES = (172, 397)  # MediaPipe's points where the jaw turns up to the ears
_CHIN = 0.6  # of the farthest that an opening jaw takes skin: the chin and what is around it
_FULL = 0.9  # of the matte: hair at the outline shows the background
_FEW = 30  # pixels: fewer do not tell a color
# Likeness of the chin to the face's skin below which it wears a beard. Shaven chins have 0.7 and more, bearded ones up to 0.57.
_BEARDED = 0.65
# Likeness to the chin's color from which a point is surely of the beard, and from which it is if others around it surely are.
_LIKE, _MIXED = 0.5, 0.1
_NEIGHBOURS, _SHARE = 16, 0.25  # points around, and how many of them must be of the beard
_ALIKE = 0.005  # metres apart when the mouth is wide open: skin that goes no farther from the bone goes with it
_EDGE = 0.01  # of the photo's width: by so much the hull may stand out of what the photo shows


@dataclass(frozen=True)
class Beard:
    """What tells a beard's points from a collar's and a neck's.

    color, skin [3]; shown [H, W]: 1 where the photo shows neither clothes nor the head's hair nor background; camera: the photo's.
    """

    color: Tensor
    skin: Tensor
    shown: Tensor
    camera: Camera

    def holds(self, head: PersonalHead, points: Tensor, colors: Tensor) -> Tensor:
        """Which points [P, 3] of colors [P, 3] are of the beard [P] (bool): below the nose, before the angles of the jaw, in the
        beard's color, and where the photo shows it or the face before it.

        At the edges of the surface colors are mixed: there the points around one count too.
        """
        if not len(points):
            return torch.zeros(0, dtype=torch.bool)
        landmarks = head.model.landmarks(head.neutral)
        before = (points[:, 1] < landmarks[BELOW_NOSE, 1]) & (points[:, 2] > landmarks[list(_JAW_ANGLES), 2].amin())
        pixels, _ = self.camera.project(points)
        may_be = before & (sample_image(self.shown[..., None], pixels)[:, 0] > 0.5)
        likeness = skin_likeness(colors, self.color)
        surely = may_be & (likeness > _LIKE) & (likeness > skin_likeness(colors, self.skin))
        _, around = neighbours(points, points, _NEIGHBOURS)
        share = surely[around].float().mean(1)
        return may_be & (share > _SHARE) & (surely | (likeness > _MIXED))


def find_beard(head: PersonalHead, posed: Tensor, photo: PhotoView, shown: Tensor | None) -> Beard | None:
    """The beard of a photo, where the chin has another color than the face; None where it is shaven or cannot be judged.

    posed [N, 3]: the head's vertices as they are in the photo; shown [H, W]: see `Beard`; None when that is not known.
    """
    if shown is None:
        return None
    model = head.model
    raster = rasterize_mesh(posed, model.faces, photo.camera)
    drop = model.expression_basis[EXPRESSION_INDEX["jawOpen"]].norm(dim=-1) * model.in_regions("face")
    chin = (drop > _CHIN * drop.amax())[model.faces].all(-1)
    pixels = raster.covered & chin[raster.face.clamp(min=0)] & (photo.matte > _FULL) & (shown > 0.5)
    if int(pixels.sum()) < _FEW:
        return None
    color = photo.image[pixels].median(0).values
    if float(skin_likeness(color, photo.skin_color)) > _BEARDED:
        return None
    reach = 2 * round(_EDGE * shown.shape[1]) + 1
    wider = functional.max_pool2d(shown[None], reach, stride=1, padding=reach // 2)[0]
    return Beard(color, photo.skin_color, wider, photo.camera)


def carry_beard(head: PersonalHead, nearest: Tensor) -> Tensor:
    """The moving triangles [P] that carry a beard: of each point the nearest one of the face, or one that goes with the jaw's bone.

    nearest [P]: triangles of the skin. Where none of the face is near, and where the skin goes with the bone anyway, the bone
    carries them all alike: triangles of the skin are stretched, and hair that stands off them would scatter.
    """
    model = head.model
    teeth = (model.face_part == PARTS.index("teeth_lower")).nonzero()[:, 0]
    open_mouth = still_head({"jawOpen": 1.0})
    turns = Rig.create(head, teeth).motion(open_mouth)
    # The lower teeth turn as the bone does, but for some that deform a little.
    bone = (turns.affine - turns.affine.median(0).values).square().sum((-2, -1)).argmin()
    rest = head.neutral[model.faces[nearest]].mean(1)
    skin = head.posed(open_mouth)[0][model.faces[nearest]].mean(1)
    apart = (rest @ turns.affine[bone].T + turns.shift[bone] - skin).norm(dim=-1)
    on_face = model.in_regions("face")[model.faces[nearest]].any(-1)
    return torch.where(on_face & (apart > _ALIKE), nearest, teeth[bone])
