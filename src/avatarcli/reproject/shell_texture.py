"""The shell's picture: colors and coverage of hair and clothes all the way round."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.geometry.fill import blur, borrow, ramp, spread_nearest
from avatarcli.head.face_points import CHIN
from avatarcli.head.model import PersonalHead
from avatarcli.reproject.shading import lit, tint_distance
from avatarcli.reproject.shell import Shell
from avatarcli.reproject.shell_cover import shell_cover
from avatarcli.reproject.shell_view import ShellView, Zone, by_rows, view_shell
from avatarcli.reproject.skin_texture import PhotoView, skin_likeness

# Strands of combed hair run from the crown down; noise that is this much longer along them than across looks like it.
_STRANDS_AROUND, _STRANDS_DOWN = 480, 8
_CONTRAST = 0.6  # of invented strands beside those seen, whose contrast holds the shadows between locks, too
_SURE = 0.8  # trust above which a texel's color is carried on
_FAR = 14.0  # texels, about 1.4 cm: how far beyond the photo's reach its colors go on
_WIDTH = (0.09, 0.12)  # metres from the middle: hair hangs down behind, it does not lie on the shoulders
_WHORL = (0.0, 0.87, -0.5)  # direction of the crown's whorl from the middle of the skull


def paint_shell(
    head: PersonalHead, shell: Shell, posed: Tensor, photo: PhotoView, generator: torch.Generator
) -> Tensor:
    """RGBA picture [R·k, C·k, 4] over the shell's grid.

    posed [N, 3]: the bare head in the photo; generator: seeds the strands of hair that no photo shows.
    """
    view = view_shell(head, shell, posed, photo)
    light = lit(photo.light, view.normals.reshape(-1, 3), photo.skin_color).view(view.points.shape)
    skin, hair = photo.skin_color * light, photo.hair_color * light.mean(-1, keepdim=True)
    hanging = _hanging(view, photo.hair_color)
    below_chin = (view.points[..., 1:2] < head.model.landmarks(posed)[CHIN, 1]).to(skin)
    nape = _nape(view, skin, hair, hanging, below_chin)
    hanging = hanging * (1 - ramp(view.points[..., :1].abs(), *_WIDTH))
    picture = _colors(view, photo, nape, hair, hanging, generator)
    # The grown rim of what covers the neck runs over the cheek.
    cheek = view.below_ears * view.within(Zone.FACE, Zone.EAR) * (1 - view.seen) * (1 - view.hairline)
    picture = torch.lerp(picture, skin, cheek[..., None])
    return torch.cat([picture, shell_cover(view, head, posed)[..., None]], dim=-1)


def _hanging(view: ShellView, hair: Tensor) -> Tensor:
    """How far down hair hangs: per row [H, 1, 1], 1 down to where the sides show it without a gap, 0 from there on.

    hair [3]: its typical color.
    """
    sides = view.seen * view.aside * view.within(Zone.EAR, Zone.NECK, Zone.TORSO)
    rows = len(sides)
    lowest = torch.arange(rows)[:, None] > 0.85 * rows
    clothes = view.color[(sides * view.covered > 0.5) & lowest & (view.zone == Zone.TORSO)]
    cloth = clothes.median(0).values if len(clothes) else 1 - hair
    to_hair, to_cloth = (tint_distance(view.color, typical) for typical in (hair, cloth))
    hairy = view.covered * torch.exp(-(to_hair / 0.2).square()) * ramp(to_cloth - to_hair, -0.05, 0.05)
    share = blur(by_rows(hairy[..., None], sides), 6)[:, :1]
    neck = int((view.zone == Zone.NECK).any(1).int().argmax())
    share = torch.cat([torch.ones_like(share[:neck]), share[neck:]])
    return ramp(share, 0.2, 0.5).cummin(0).values * (1 - view.bare.mean())


def _nape(view: ShellView, skin: Tensor, hair: Tensor, hanging: Tensor, below_chin: Tensor) -> Tensor:
    """Colors [H, W, 3] of the back of the neck: row by row what its sides show, skin where nothing covers them.

    skin, hair [H, W, 3]: their colors in the light that falls there; hanging [H, 1, 1]: 1 where hair is;
    below_chin [H, W, 1]: where there may be a collar.
    """
    sides = view.seen * view.aside * view.within(Zone.NECK)
    share = by_rows(view.covered[..., None], sides)
    shown = by_rows(view.color, sides * ramp(view.covered, 0.75, 0.98))
    soft = blur(torch.cat([share, shown], dim=-1), 6)
    # Rows run downwards: a collar is whole from the chest up to where it ends.
    dressed = ramp(soft[..., :1], 0.35, 0.65) * (1 - hanging)
    collar = blur(dressed.flip(0).cummin(0).values.flip(0) * below_chin, 3)
    return torch.lerp(torch.lerp(skin, soft[..., 1:], collar), hair, hanging)


def _colors(
    view: ShellView, photo: PhotoView, nape: Tensor, hair: Tensor, hanging: Tensor, generator: torch.Generator
) -> Tensor:
    """Colors [H, W, 3]: the photo's where trusted, else the other side's, else what the zone's surroundings say; the scalp far
    from the photo takes the hair's own typical color, and unseen hair gets strands.

    nape [H, W, 3]: colors of the back of the neck; hair [H, W, 3]: typical of unseen hair; hanging [H, W, 1]: 1 where it hangs.
    """
    color, trust = view.color, view.trust
    # At the rim light shines through hair, or what stands behind it does; shade is hair's own.
    rim = torch.exp(-(tint_distance(color, photo.hair_color) / 0.12).square())
    scalp, neck, torso = view.within(Zone.SCALP, Zone.FACE, Zone.EAR), view.within(Zone.NECK), view.within(Zone.TORSO)
    known = trust * scalp * torch.maximum(rim, ramp(view.facing, 0.5, 0.75))
    filled = torch.zeros_like(color)
    for here, weight in ((scalp, known), (neck, trust * neck)):
        filled = filled + here[..., None] * borrow(color, weight, color.flip(1), weight.flip(1), wrap=True)
    cloth = trust * torso * (1 - 0.95 * skin_likeness(color, photo.skin_color))
    filled = filled + torso[..., None] * _clothes(color, cloth, view.pictured)
    unseen = 1 - ramp(torch.maximum(trust, trust.flip(1)), 0.3, 0.8)
    filled = torch.lerp(filled, nape, (neck * unseen)[..., None])
    # Long hair hides the back as far down as it hangs beside the neck.
    down = (torso * unseen * ramp(-view.rest[..., 2], -0.3, 0.0))[..., None] * hanging
    filled = torch.lerp(filled, hair, down)
    # Near what the photo shows its colors go on; far from it single edge pixels would decide, so the middle of all hair does.
    near = (4 * blur(torch.maximum(known, known.flip(1))[..., None], _FAR)).clamp(0, 1)
    filled = torch.lerp(filled, hair, scalp[..., None] * (1 - near))
    invented = torch.maximum(
        (scalp * (1 - ramp(known, 0.2, 0.8)))[..., None], torch.maximum(down, neck[..., None] * hanging)
    )
    gray = color.mean(-1, keepdim=True)
    detail = (gray - blur(gray, 6))[..., 0]
    contrast = (detail.square() * known).sum().div(known.sum().clamp(min=1e-6)).sqrt()
    strands = (_CONTRAST * contrast * _strands(view.rest, generator))[..., None]
    textured = filled * (1 + (strands / filled.mean(-1, keepdim=True).clamp(min=0.04)).clamp(-0.5, 0.8))
    return torch.lerp(filled, textured.clamp(0, 1), invented)


def _clothes(color: Tensor, cloth: Tensor, pictured: Tensor) -> Tensor:
    """Colors [H, W, 3] of the torso: the photo's where it is `pictured` [H, W], else the nearest that is surely `cloth`."""
    sure = cloth > _SURE
    if not sure.any():
        return borrow(color, cloth, color.flip(1), cloth.flip(1), wrap=True)
    return torch.lerp(spread_nearest(color, sure, 0.3), color, pictured[..., None])


def _strands(rest: Tensor, generator: torch.Generator) -> Tensor:
    """Noise [H, W] of unit variance that is stretched along the way from the whorl down."""
    whorl = functional.normalize(torch.tensor(_WHORL), dim=0)
    side = torch.tensor([1.0, 0.0, 0.0])
    back = torch.linalg.cross(whorl, side)
    around = torch.atan2((rest * side).sum(-1), (rest * back).sum(-1)) / (2 * math.pi) + 0.5
    down = torch.arccos((rest * whorl).sum(-1).clamp(-1, 1)) / math.pi
    total = torch.zeros_like(down)
    for octave, share in ((1, 0.4), (2, 0.4), (4, 0.3)):
        cells = torch.randn(1, 1, _STRANDS_DOWN * octave + 1, _STRANDS_AROUND // 4 * octave, generator=generator)
        cells = torch.cat([cells, cells[..., :1]], dim=-1)
        # Strands wander: the angle drifts a little on the way down.
        drift = 0.02 * torch.sin(down * 9 + around * 25)
        grid = torch.stack([((around + drift) % 1.0) * 2 - 1, down * 2 - 1], dim=-1)[None]
        noise = functional.grid_sample(cells, grid, mode="bilinear", padding_mode="border", align_corners=True)[0, 0]
        total = total + share * noise
    return total / total.std().clamp(min=1e-6)
