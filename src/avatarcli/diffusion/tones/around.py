"""What the photo tells of clothes and hanging hair all around the person, on the shell that its matte was explained by."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.fill import blur, halved, pull_push, ramp, spread_nearest
from avatarcli.geometry.mesh import rasterize_mesh, sample_image, vertex_normals, visible_points
from avatarcli.head.model import PersonalHead
from avatarcli.reproject.shell import COLUMNS, DEPTH_TOLERANCE, ROWS_ABOVE, Shell, nearest_skin
from avatarcli.reproject.skin_texture import PhotoView, without_skin

_FACING = 0.2  # cosine: what the photo sees more obliquely is the outline, where the background shines in
_BESIDE = 1 / 100  # of the photo's width: how far from the border of its clothes they are believed
_FEWEST_CELLS = 40  # of some 10,000 on the chest and the back: less cloth tells nothing
_OUTLINE = (-2, -1, 1, 2)  # columns beside the end of what is seen
_FEW_IN_ROW = 6  # cells of a row that tell its colors
_BELOW = 25.0  # rows of 3 mm: how far below and above the cloth that is seen its colors fade out
_LONGER = 15  # rows that hair may reach lower behind than beside the neck
# Cells around bare skin that may be bare too, and from where on all is taken for dressed, as a back is.
_NECKLINE = (5.0, 15.0)
_SOFTNESS = 0.3  # cells of blur a cell of distance from what is seen
_ASIDE = 0.4  # of a ray's direction: how far to the side it points
_HAIRY_ROW = 0.3  # of a side's cells in a row: with more hair among them it hangs there
_CHECKED = 0.02  # metres below the ears and below all hair that the photo must show, for hair to be known to end
_FEWEST_PIXELS = 0.01  # of a photo's width: fewer pixels of a row are single hairs
_CUT = 0.02  # of a photo's width, above its lower border: hair that reaches so far goes on below it
_REACHES = 3.0  # how far hair reaches below the nape behind, by how far it reaches below the ears beside the neck


@dataclass(frozen=True)
class Ground:
    """What the fitted person has at each pixel of a view, [H, W] in [0, 1]. skin: what is bare unless something covers it;
    neck; scalp; cloth [H, W, 4]: the photo's clothes carried there, and how sure they are; dressed: how likely there are clothes;
    hairy: how likely hair hangs beside the neck at that height; hanging: whether any may hang down to there; lift: by how much, a
    logarithm, the photo's dark side was made lighter there."""

    skin: Tensor
    neck: Tensor
    scalp: Tensor
    cloth: Tensor
    dressed: Tensor
    hairy: Tensor
    hanging: Tensor
    lift: Tensor

    def halved(self) -> Ground:
        """The same in pictures of half the size."""
        layers = (self.skin, self.neck, self.scalp, self.dressed, self.hairy, self.hanging, self.lift)
        skin, neck, scalp, *others = halved(torch.stack(layers, dim=-1)).unbind(-1)
        return Ground(skin, neck, scalp, halved(self.cloth), *others)


@dataclass(frozen=True)
class Around:
    """Values on the shell's vertices [N]. cloth [N, 4]: the color that clothes have there, and how sure that is; neck, dressed,
    hairy, hanging: as in `Ground`. hair_ends, collar: heights (metres) at which hair ends behind, and clothes beside the neck;
    -inf where that is not known."""

    shell: Shell
    cloth: Tensor
    neck: Tensor
    dressed: Tensor
    hairy: Tensor
    hanging: Tensor
    hair_ends: float = -math.inf
    collar: float = -math.inf

    @classmethod
    def of(
        cls,
        head: PersonalHead,
        shell: Shell,
        photo: PhotoView,
        clothes: Tensor | None,
        hair: Tensor | None,
        hair_shown: float = math.inf,
    ) -> Around:
        """clothes, hair [H, W]: 1 where the photo shows them; None where that is not known. hair_shown: the height (metres) down to
        which other photos show hair."""
        vertices = shell.vertices
        depth = rasterize_mesh(vertices, shell.faces, photo.camera).depth
        normals = vertex_normals(vertices, shell.faces)
        pixels, facing, visible = visible_points(vertices, normals, photo.camera, depth, tolerance=DEPTH_TOLERANCE)
        # Hair that hides the ears may hang behind, and what has the skin's color at its edge is none.
        told_of_hair = hair is not None and bool(photo.bare_ears.amax() > 0.5)
        off_skin, off_hair = ((photo.image - color).square().sum(-1) for color in (photo.skin_color, photo.hair_color))
        # Unknown clothes are none, and unknown hair may hang everywhere.
        clothes = (
            torch.zeros_like(photo.matte) if clothes is None else without_skin(clothes, photo.image, photo.skin_color)
        )
        hair = torch.ones_like(photo.matte) if hair is None else hair
        soft = blur(torch.stack([clothes * photo.matte, hair, photo.matte], dim=-1), _BESIDE * photo.camera.width)
        # The mean of the clothes around, for single threads and stripes tell no tone.
        mean = blur(photo.image * clothes[..., None], _BESIDE * photo.camera.width) / soft[..., :1].clamp(min=1e-3)
        surely = hair * (off_hair < off_skin)
        layers = torch.cat([mean, soft, torch.stack([photo.inside, surely], dim=-1)], dim=-1)
        grid = (shell.rows, COLUMNS)
        told = sample_image(layers, pixels).view(*grid, 8)
        shown = (visible & (facing > _FACING)).view(grid) * ramp(told[..., 6], 0.9, 1.0)
        near = nearest_skin(head.model, head.neutral, vertices)
        torso, neck = (head.model.in_regions(name)[near].float().view(grid) for name in ("torso", "neck"))
        solid = (shown > 0.5) & (told[..., 5] > 0.95)
        worn, bare = (
            solid & (part > 0.5) & (where > 0.7)
            for part, where in ((torso + neck, told[..., 3]), (torso, 1 - told[..., 3] - told[..., 4]))
        )
        cloth = _carried(told[..., :3], worn)
        # Where a neckline is shows in front, whether hair hangs beside the neck.
        covers = shown * torch.maximum(torso, neck) * ramp(told[..., 5], 0.4, 0.8)
        across = shell.directions[:, 0].view(grid)
        aside = across.abs() > _ASIDE
        collar = _by_height(told[..., 3], covers * ~aside).cummax(0).values
        hairy = _by_height(told[..., 4], covers * aside)
        covered = torch.ones_like(torso)
        if bare.any() and worn.any():
            known, ahead = worn | bare, (shell.directions[:, 2] > 0).view(grid)
            nearest = spread_nearest(worn.float()[..., None], known, _SOFTNESS)[..., 0]
            far = ramp(torch.from_numpy(distance_transform_edt(~known.numpy())).float(), *_NECKLINE)
            covered = torch.where(ahead, torch.maximum(nearest, far), covered)
        dressed = blur((torso * covered + neck * collar[:, None])[..., None], 1.5)
        hairy = hairy.flip(0).cummax(0).values.flip(0)[:, None].expand(grid)
        heights = vertices[:, 1].view(grid).mean(1)
        beside = (shown > 0.5) & (torso + neck > 0.5)
        sides = [(told[..., 7] > 0.5, beside & (across * side > _ASIDE)) for side in (1, -1)]
        ends = _hair_ends(head, heights, sides) if told_of_hair else -math.inf
        # Behind it may reach lower than any that the photo shows, but not where it is known to end.
        lowest = ((shown > 0.5) & (told[..., 4] > 0.5)).sum(1) >= _FEW_IN_ROW
        hanging = lowest.flip(0).cummax(0).values.flip(0).float()
        hanging = torch.cat([hanging[:1].expand(_LONGER), hanging])[: len(hairy), None].expand(grid)
        hanging = torch.where((heights > ends)[:, None], hanging, hanging.minimum(hairy))
        # A tail behind that only a profile shows would be bleached like the clothes before it.
        hanging = torch.where((heights > hair_shown)[:, None], 1.0, hanging)
        clad = heights[((told[..., 3] > 0.5) & beside & aside).sum(1) > _FEW_IN_ROW]
        top = float(clad.amax()) if len(clad) else -math.inf
        neck, dressed, hairy, hanging = (part.reshape(-1) for part in (neck, dressed, hairy, hanging))
        return cls(shell, cloth.view(-1, 4), neck, dressed, hairy, hanging, ends, top)

    def seen_by(self, camera: Camera, skin: Tensor, neck: Tensor, scalp: Tensor, lift: Tensor) -> Ground:
        """The values as a camera sees them, continued beyond the shell. skin, neck, scalp, lift [H, W]: see `Ground`."""
        raster = rasterize_mesh(self.shell.vertices, self.shell.faces, camera)
        values = torch.cat([self.cloth, torch.stack([self.dressed, self.hairy, self.hanging], dim=-1)], dim=-1)
        seen = pull_push(raster.interpolate(values, self.shell.faces), raster.covered.float())
        dressed, hairy, hanging = seen[..., 4:].unbind(-1)
        return Ground(skin, neck, scalp, seen[..., :4], dressed, hairy, hanging, lift)


def lowest_hair(hair: Tensor | None, inside: Tensor, camera: Camera) -> float:
    """The height (metres, in the head's middle) down to which a photo shows hair [H, W]: -inf where its lower border cuts hair off,
    infinity where none is known. inside [H, W]: 1 where the photo is."""
    shown = torch.zeros(1, 1) if hair is None else hair
    few = _FEWEST_PIXELS * camera.width
    rows = torch.nonzero(shown.sum(1) > few)
    if not len(rows):
        return math.inf
    last = float(rows[-1])
    if last > float(torch.nonzero(inside.sum(1) > few)[-1]) - _CUT * camera.width:
        return -math.inf
    depth = camera.to_camera(torch.zeros(1, 3))[:, 2]
    return float(camera.unproject(torch.tensor([[camera.width / 2, last + 0.5]]), depth)[0, 1])


def _carried(color: Tensor, sure: Tensor) -> Tensor:
    """Colors [R, C, 3] of clothes where they are `sure` [R, C], carried on all around, and how sure they are there: [R, C, 4]."""
    if sure.sum() < _FEWEST_CELLS:
        return torch.zeros(*sure.shape, 4)
    known = sure.sum(1) >= _FEW_IN_ROW
    gap = (
        torch.from_numpy(distance_transform_edt(~known.numpy())).float()
        if known.any()
        else torch.full((len(known),), 1e3)
    )
    certain = torch.exp(-gap / _BELOW)[:, None, None].expand(*sure.shape, 1)
    # What is behind the person shines in at the outline: one such cell would color half of the back.
    inner = sure & torch.stack([sure.roll(step, 1) for step in _OUTLINE]).all(0)
    carried = spread_nearest(color, inner if inner.sum() >= _FEWEST_CELLS else sure, _SOFTNESS)
    return torch.cat([carried, certain], dim=-1)


def _hair_ends(head: PersonalHead, heights: Tensor, sides: list[tuple[Tensor, Tensor]]) -> float:
    """The height (metres) at which hair ends behind; -inf where the photo does not show that.

    heights [R] of the shell's rows; sides: of each, which cells [R, C] (bool) show hair, and which are seen of neck and shoulders.
    """
    model = head.model
    # Rows above the skull's middle are no heights.
    rows = slice(ROWS_ABOVE, None)
    seen = torch.stack([there[rows].sum(1) for _, there in sides])
    hairy = torch.stack([(hair & there)[rows].sum(1) for hair, there in sides]) > _HAIRY_ROW * seen
    known = seen > _FEW_IN_ROW
    lobes = float(head.neutral[model.in_regions("ear"), 1].amin())
    longest = float(heights[rows][(hairy & known).any(0)].amin()) if (hairy & known).any() else lobes
    longest = min(longest, lobes)
    if not known.any() or heights[rows][known.any(0)].amin() > longest - _CHECKED:
        return -math.inf
    nape = float(head.neutral[model.in_regions("scalp"), 1].amin())
    return nape - _REACHES * (lobes - longest)


def _by_height(values: Tensor, weight: Tensor) -> Tensor:
    """How far [R] the rows of values [R, K] are one rather than zero; of rows that tell little, the nearest. weight [R, K]."""
    total = weight.sum(1)
    known = total > _FEW_IN_ROW
    if not known.any():
        return torch.zeros(len(values))
    means = (values * weight).sum(1) / total.clamp(min=1e-6)
    nearest = distance_transform_edt(~known.numpy(), return_distances=False, return_indices=True)[0]
    return ramp(means[torch.from_numpy(nearest).long()], 0.15, 0.5)
