"""Hair behind that is longer than the photo lets it be: long hair would show beside the neck, and none does."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.diffusion.tones.around import Around, Ground
from avatarcli.diffusion.tones.coarse import enlarged
from avatarcli.diffusion.tones.matching import Tones, hair_in, like_skin, tint_likeness
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.colors import log_colors, without_light
from avatarcli.geometry.fill import blur, halved, pull_push, ramp
from avatarcli.geometry.mesh import rasterize_mesh
from avatarcli.reproject.shell import CLEARANCE

# Of a ray's direction: of what lies farther in front the photo itself tells, and of what lies less behind on the shoulders.
_BEHIND, _BACK = 0.25, -0.25
_TOLD = (0.25, 0.5)  # so far to the front or the back the photo's outline tells what stands off, and no more
_RAISED = (0.02, 0.03)  # metres off the neck there: it is not bare, however little hair is about
# Metres off the bare head: what a bare neck may seem to stand; clothes at least and at most, and beside that; hair above the nape
# beside what the outline tells; hair on a bald head.
_SKIN, _CLOTHES, _LOOSE, _HAIR, _STUBBLE = 0.004, (0.015, 0.03), 0.012, 0.005, 0.006
_TAPER = 0.09  # metres above the nape where hair is as thick as elsewhere
_MASS = (0.022, 0.032)  # metres: how thick hair is that tapers, and that does not
_CROWN = 0.010  # metres that hair behind the skull may stand off farther than beside it: it is often cut longer there
_TOP = (0.6, 0.9)  # of a ray's direction: how far up it points where the outline itself tells how high hair stands
_WORN = 0.04  # metres off the bare head up to which glasses, earrings and headphones are
_OUTSIDE = 0.5  # of a thing that stands off there: with less it is no glasses or earring
_FAR = 0.15  # metres off the bare head: so far hair that is too long is looked for
_OPENS = 0.04  # metres of height over which nothing is cut any more, above and below
_NECK = 0.05  # metres of height of a neck whose collar is not known
_COLLAR, _STANDS = 0.01, 0.05  # metres of height in which clothes begin, and in which they come to stand off the neck
_FADE = (-0.012, 0.018)  # metres above the nape where hair gives way to skin
_SHOULDERS = 0.08  # metres below the collar: so low the back is the clothes' own affair
_ALIKE, _STRANDS = 0.35, 0.5  # logarithms: how far colors of one cloth and of one head of hair are from each other
_SHADE = 0.6  # a logarithm: how much darker than its middle hair may be
_SHADED = 0.82  # of the photo's skin: how bright a nape is at most
# Of a picture's skin: the quantile of its brightness that stands for it; shares of that where hair is mixed in, and none is.
_MOSTLY, _DIMMED = 0.7, (0.55, 0.8)
_PURE = (0.55, 0.95)  # of the way from hair to skin: a mixture becomes skin, and skin stays. Napes are smooth
# Logarithms: by how much the tints of hair and skin must differ, and how far apart their light may be, for skin in the dark to be
# known from hair by its tint. The tint of hair mixed with much lighter skin is skin's.
_TINTED, _AS_LIGHT = (0.08, 0.15), (0.5, 1.0)
_DARK = 0.4  # of the skin's color: hair of somebody bald, of which nothing else is known
_SOFT = 0.8  # pixels of half the size: softness of a cut
_STUMP = 1 / 9  # of the picture's width: what is thinner and stands off a bald head is the stump of a tail
_EDGE = 1 / 48  # of the picture's width: how wide the edge of hair is, where skin or what is behind shines through
_SOLID = 0.9  # alpha of pixels whose color is the person's alone
_TOLD_APART = 0.2  # of clothes that hair does not look like: with less, both cannot be told apart
_SURELY = 0.7  # how surely something is hair that is cut off before clothes
_FEW = 20  # pixels: fewer of a material do not tell its color


class _Place(NamedTuple):
    """What a camera sees of a `Nape` [H, W]. bare, clothed: see there. Where behind, and no glasses are, something is (bool)
    off_head: off the bare head; off_person: farther off than `outer`; beyond: farther off than `wide`; on_hair: on the scalp or
    off the head, and not before clothes."""

    bare: Tensor
    clothed: Tensor
    off_head: Tensor
    off_person: Tensor
    beyond: Tensor
    on_hair: Tensor


@dataclass(frozen=True)
class Nape:
    """Where a person's hair must end behind.

    outer [N, 3]: the vertices of a shell as far as hair and clothes should stand off, metres; wide [N, 3]: as far as both may, for
    clothes on the back stand off as they like; faces [F, 3]: the triangles of both; beyond [N, 3]: vertices farther out, and cut
    [G, 3]: triangles on them before which there can only be clothes and hair that is too long; bare, clothed [N]: how far there
    must be bare skin, and clothes, rather than hair; worn [N, 3]: as far off as glasses and earrings are, and before [H, 3]:
    triangles where there may be some; short: whether hair is too short for thin things to stand off the head.
    """

    outer: Tensor
    wide: Tensor
    faces: Tensor
    beyond: Tensor
    cut: Tensor
    bare: Tensor
    clothed: Tensor
    before: Tensor
    worn: Tensor
    short: bool

    @classmethod
    def of(cls, around: Around, *, bald: bool) -> Nape | None:
        """Where hair must end by what a photo tells of it; None where it may hang down behind, for all that is known."""
        if not (math.isfinite(around.hair_ends) and around.hair_ends > around.collar):
            return None
        shell = around.shell
        above, thickness = shell.vertices[:, 1] - around.hair_ends, shell.thickness.reshape(-1)
        forward = shell.directions[:, 2]
        collar = around.collar if math.isfinite(around.collar) else around.hair_ends - _NECK
        below = collar - shell.vertices[:, 1]
        clothed = ramp(below, -0.5 * _COLLAR, 0.5 * _COLLAR)
        stands = ramp(below, 0.0, _STANDS)
        room = torch.lerp(torch.full_like(above, _SKIN), thickness.clamp(*_CLOTHES), stands)
        # Short hair tapers to the neck, a mass of it hangs over: the outline at the height of the ears tells. Below them a raised
        # collar widens the outline: short hair is no thicker there than above.
        lower, upper = (
            thickness[(forward < _BEHIND) & (above > low) & (above < low + _TAPER)].median() for low in (0.0, _TAPER)
        )
        volume = float(lower)
        mass = float(ramp(lower, *_MASS))
        hair = torch.lerp(thickness.minimum(upper), thickness, ramp(above, _TAPER, _TAPER + _OPENS).clamp(min=mass))
        hair = torch.full_like(above, _STUBBLE) if bald else hair + _HAIR
        room = (
            room
            + ramp(above, 0.0, _TAPER * (1 - mass) + _OPENS * mass) * hair
            + mass * ramp(above, -_OPENS, 0.0) * volume
        )
        # Beside the neck the photo shows what stands off far: a raised collar.
        raised = (1 - ramp(forward.abs(), *_TOLD)) * ramp(thickness, *_RAISED)
        room = torch.maximum(room, raised * thickness)
        # A mass of hair may stand as far off as it likes, and a hat's brim; how high hair stands is the photo's to tell.
        sides = (forward < _BEHIND) & (above > _TAPER) & (shell.directions[:, 1] < _TOP[0])
        widest = _widest(thickness, sides.view(shell.thickness.shape))
        bulk = float(ramp(torch.maximum(lower, widest), *_MASS))
        if not bald:
            crown = ramp(above, _TAPER, _TAPER + _OPENS)
            room = room + crown * (_CROWN + _FAR * bulk) + _FAR * ramp(shell.directions[:, 1], *_TOP)
        near = (forward < _BEHIND) & ((forward < _BACK) | (clothed < 0.5))
        ahead = (forward > 0) & (above > 0)
        bare_head = shell.vertices - (thickness + CLEARANCE)[:, None] * shell.directions
        behind = (forward < _BEHIND).float()
        # No step where what is cut whatever its color ends.
        loose = room + _LOOSE * stands + _FAR * ramp(below, _SHOULDERS, _SHOULDERS + _OPENS)
        return cls(
            outer=bare_head + room[:, None] * shell.directions,
            wide=bare_head + loose[:, None] * shell.directions,
            faces=shell.faces,
            beyond=bare_head + _FAR * shell.directions,
            cut=shell.faces[near[shell.faces].all(-1)],
            bare=behind * (1 - ramp(above, *_FADE)) * (1 - clothed) * (1 - raised),
            clothed=behind * clothed,
            before=shell.faces[ahead[shell.faces].all(-1)],
            worn=bare_head + _WORN * shell.directions,
            short=bulk < 0.5,
        )

    def shortened(self, picture: Tensor, camera: Camera, ground: Ground, head: Tensor, tones: Tones) -> Tensor:
        """A premultiplied RGBA picture [H, W, 4] without the hair that is too long: skin, clothes or nothing in its place.

        ground: what the fitted person has there; head [H, W]: 1 where the bare head is.
        """
        # What is changed is smooth: half the size tells it as well, in a quarter of the time.
        small, ground = halved(picture), ground.halved()
        camera = camera.resized(camera.width // 2, camera.height // 2)
        alpha = small[..., 3]
        place = self._seen(camera, halved(head[..., None])[..., 0], ground.scalp, alpha)
        bare, clothed = place.bare, place.clothed
        if not ((place.off_head | (bare + clothed > 0)) & (alpha > 0)).any():
            return picture
        color = small[..., :3] / alpha[..., None].clamp(min=0.02)
        skin_like, solid = like_skin(color, tones.skin), (alpha > _SOLID).float()
        # What is left of a tail, or a bun, is thin; so are ears.
        slim = (skin_like < 0.5) | (alpha < _SOLID)
        reach = place.beyond
        if self.short:
            reach = reach | (place.on_hair & slim & _thin(torch.where(reach, 0.0, alpha)))
        # What hangs off has its own color, and whoever is bald no other hair.
        hair = None if tones.bald else hair_in(color, alpha, ground.scalp, tones.skin)
        too_long = color[reach & place.on_hair & (solid > 0) & (color.mean(-1) < _SHADED * tones.skin.mean())]
        if len(too_long) >= _FEW:
            hair = too_long.median(0).values
            if tones.bald:
                reach = reach | (place.on_hair & _rest(place.beyond, color, hair, (ground.scalp > 0.5) & (solid > 0)))
        elif hair is None:
            hair = tones.skin * _DARK
        # The picture's own skin and clothes go on where its hair was: skin in the shade too, where it can be told from hair.
        tint = tint_likeness(color, tones.skin)
        like_hair = _likeness(color, hair, _STRANDS)
        shade = tint * (1 - like_hair)
        known = torch.maximum(skin_like, torch.where(bare > 0, shade, tint) if tones.bald else shade)
        known = known * ground.skin * solid * (1 - clothed)
        known = known * _bright(color.mean(-1), known)
        # At its edge hair is mixed with skin: that is neither's color. Where there is no other, it has to do.
        pure = known if tones.bald else known * (1 - _widened(like_hair * solid))
        skin = _continued(color, known if pure.sum() < _FEW else pure, tones.skin)
        skin = skin * (_SHADED * tones.skin.mean() / skin.mean(-1, keepdim=True).clamp(min=0.05)).clamp(max=1)
        cloth, on_skin, on_cloth = _shares(color, skin, hair, clothed * solid * (1 - skin_like))
        # Behind clothes nothing but their own color tells how far off they stand.
        strands = _widened((on_cloth > _SURELY).float()) * (on_cloth > 1 - _SURELY)
        reach = reach | (place.off_person & (strands > 0))
        reach = reach | (place.off_person & slim & _thin(torch.where(reach, 0.0, alpha)))
        on_skin = torch.maximum(on_skin, _widened(on_skin * like_hair * solid))
        on_skin, on_cloth = bare * on_skin, clothed * on_cloth
        paint = (on_skin * (1 - on_cloth))[..., None] * skin + on_cloth[..., None] * cloth
        kept = (1 - on_skin) * (1 - on_cloth)
        # A soft edge, of which nothing reaches into what stays.
        cut = (2 * blur(reach.float()[..., None], _SOFT)[..., 0] - 1).clamp(min=0)
        layers = torch.cat([paint, torch.stack([kept, 1 - cut], dim=-1)], dim=-1)
        paint, kept, whole = enlarged(layers, picture.shape[:2]).split([3, 1, 1], dim=-1)
        alpha = picture[..., 3:] * whole
        return torch.cat([whole * kept * picture[..., :3] + alpha * paint, alpha], dim=-1)

    def _seen(self, camera: Camera, head: Tensor, scalp: Tensor, alpha: Tensor) -> _Place:
        """head, scalp [H, W]: 1 where a camera sees the bare head, and its scalp; alpha [H, W]: the picture's."""
        raster = rasterize_mesh(self.outer, self.faces, camera)
        bare, clothed = raster.interpolate(torch.stack([self.bare, self.clothed], dim=-1), self.faces).unbind(-1)
        free = rasterize_mesh(self.beyond, self.cut, camera).covered
        loose = free & (head == 0) & ~rasterize_mesh(self.wide, self.faces, camera).covered
        free &= ~_apart(rasterize_mesh(self.worn, self.before, camera).covered, loose & (alpha > 1 - _SOLID))
        off_head = free & (head == 0)
        return _Place(
            bare=bare,
            clothed=clothed,
            off_head=off_head,
            off_person=off_head & ~raster.covered,
            beyond=off_head & loose,
            # The fitted skull may be larger than the picture's.
            on_hair=(off_head | (free & (scalp > 0.5))) & (clothed < 0.5),
        )


def _apart(worn: Tensor, loose: Tensor) -> Tensor:
    """Where something may be worn [H, W] (bool), without the ends of things that lie mostly where nothing is worn: tails.

    loose [H, W] (bool): what stands off farther than hair and clothes may.
    """
    count, things = cv2.connectedComponents(loose.numpy().astype(np.uint8))
    total, inside = (np.bincount(things[where.numpy()], minlength=count) for where in (loose, loose & worn))
    ends = (inside < _OUTSIDE * total) & (np.arange(count) > 0)
    return worn & ~torch.from_numpy(ends[things])


def _widest(thickness: Tensor, where: Tensor) -> Tensor:
    """The largest of the medians [] of a shell's rows of thickness [R·C], each where it counts [R, C] (bool)."""
    medians = torch.where(where, thickness.view(where.shape), torch.nan).nanmedian(1).values
    return medians.nan_to_num().amax()


def _widened(where: Tensor) -> Tensor:
    """Values [H, W] with the edge that hair has around them."""
    reach = max(1, round(_EDGE * where.shape[1]))
    return functional.max_pool2d(where[None], 2 * reach + 1, stride=1, padding=reach)[0]


def _rest(reach: Tensor, color: Tensor, hair: Tensor, scalp: Tensor) -> Tensor:
    """Which pixels [H, W] (bool) beside what is cut off [H, W] (bool) are still of its color [3] rather than the scalp's.

    scalp [H, W] (bool): what surely covers it.
    """
    cap = color[scalp & ~reach]
    if len(cap) < _FEW:
        return torch.zeros_like(reach)
    logs, own, other = log_colors(color), log_colors(cap.median(0).values), log_colors(hair)
    if (own - other).norm() < _STRANDS:
        return torch.zeros_like(reach)
    return (_widened(reach.float()) > 0) & ((logs - other).norm(dim=-1) < (logs - own).norm(dim=-1))


def _thin(alpha: Tensor) -> Tensor:
    """Which pixels [H, W] (bool) of a shape with this alpha no disc of the width of a stump fits around."""
    radius = max(1, round(_STUMP * alpha.shape[1] / 2))
    shape = (alpha > 0.5).numpy().astype(np.uint8)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    thick = cv2.morphologyEx(shape, cv2.MORPH_OPEN, disc)
    # A pixel more, for a disc of pixels does not fit into every round outline, and another one for soft edges.
    more, soft = (cv2.dilate(thick, np.ones((size, size), np.uint8)) for size in (3, 5))
    return torch.from_numpy((more < shape) | (soft == 0)) & (alpha > 0)


def _bright(brightness: Tensor, known: Tensor) -> Tensor:
    """How likely [H, W] skin of this brightness [H, W] has no hair mixed in: it is about as bright as most that is known [H, W]."""
    sure = brightness[known > 0.5]
    if len(sure) < _FEW:
        return torch.ones_like(brightness)
    return ramp(brightness / sure.quantile(_MOSTLY).clamp(min=0.02), *_DIMMED)


def _continued(color: Tensor, known: Tensor, typical: Tensor) -> Tensor:
    """Colors [H, W, 3] spread from where they are known [H, W]; the typical one [3] where that is hardly anywhere."""
    sure = ramp(known, 0.3, 0.8)
    return pull_push(color, sure) if sure.sum() >= _FEW else typical.expand_as(color)


def _likeness(color: Tensor, other: Tensor, width: float) -> Tensor:
    """How alike colors [H, W, 3] and others are: 1 … 0 [H, W]. width: a logarithm, how far apart those of one material are."""
    return torch.exp(-((log_colors(color) - log_colors(other)).norm(dim=-1) / width).square())


def _shares(color: Tensor, skin: Tensor, hair: Tensor, cloth_at: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The clothes' color continued [H, W, 3], and how far colors [H, W, 3] are hair rather than skin, and rather than clothes.

    skin [H, W, 3], hair [3]: the colors of both; cloth_at [H, W]: how likely clothes are seen.
    """
    logs = log_colors(color)
    difference = logs - log_colors(hair)
    darker = difference.mean(-1, keepdim=True).clamp(-_SHADE, 0)
    off_hair = (difference - darker).norm(dim=-1)
    in_shade = torch.exp(-(off_hair / _STRANDS).square())
    known = cloth_at * (1 - _likeness(color, hair, _STRANDS))
    sure = logs[known > 0.5]
    if len(sure) > _TOLD_APART * cloth_at.sum():
        # A lock's darker strands are no cloth: most of it shows its color.
        known = known * ramp(off_hair - (logs - sure.median(0).values).norm(dim=-1), 0.0, _ALIKE)
    told = known.sum() > _TOLD_APART * cloth_at.sum()
    cloth = _continued(color, known, hair)
    like_cloth = _likeness(color, cloth, _ALIKE)
    way = log_colors(skin) - log_colors(hair)
    tint = without_light(way)
    tinted = ramp(tint.norm(dim=-1), *_TINTED) * (1 - ramp(way.mean(-1), *_AS_LIGHT))
    off_skin = 1 - torch.maximum(_along(difference, way), tinted * _along(without_light(difference), tint))
    return cloth, off_skin * (1 - like_cloth * (1 - in_shade)), told * in_shade * (1 - like_cloth)


def _along(difference: Tensor, way: Tensor) -> Tensor:
    """How surely [H, W] what is so far from hair [H, W, 3] has come all the way to skin [H, W, 3]."""
    return ramp((difference * way).sum(-1) / way.square().sum(-1).clamp(min=1e-3), *_PURE)
