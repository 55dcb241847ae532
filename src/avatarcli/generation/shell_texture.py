"""The shell's picture: colours and coverage of hair and clothes all the way round."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.generation.fill import blur, borrow, pull_push, ramp
from avatarcli.generation.shell import COLUMNS, Shell, brow_height, front_of_face, nearest_skin
from avatarcli.generation.skin_texture import PhotoView, skin_likeness
from avatarcli.geometry.mesh import rasterize_mesh, sample_image, vertex_normals, visible_points
from avatarcli.head.model import REGIONS, PersonalHead

TEXELS = 3  # texels per grid cell along each axis
_DEPTH_TOLERANCE = 0.006  # metres
_FACE, _SCALP, _EAR, _NECK, _TORSO = 0, 1, 2, 3, 4
# Strands of combed hair run from the crown down; noise that is this much longer along them than across looks like it.
_STRANDS_AROUND, _STRANDS_DOWN = 480, 8
_FAR = 14.0  # texels, about 1.4 cm: how far beyond the photo's reach its colours go on
_WHORL = (0.0, 0.87, -0.5)  # direction of the crown's whorl from the middle of the skull


def paint_shell(
    head: PersonalHead, shell: Shell, posed: Tensor, photo: PhotoView, generator: torch.Generator
) -> Tensor:
    """RGBA picture [R·k, C·k, 4] over the shell's grid.

    posed [N, 3]: the bare head in the photo; generator: seeds the strands of hair that no photo shows.
    """
    points, normals, rest, thickness = _texels(shell)
    raster = rasterize_mesh(shell.vertices, shell.faces, photo.camera)
    pixels, facing, visible = visible_points(points, normals, photo.camera, raster.depth, tolerance=_DEPTH_TOLERANCE)
    size = (shell.rows * TEXELS, COLUMNS * TEXELS)
    sampled = sample_image(
        torch.cat([photo.image, photo.matte[..., None], photo.cover[..., None], photo.inside[..., None]], dim=-1),
        pixels,
    )
    color, matte, cover, inside = sampled[:, :3], sampled[:, 3], sampled[:, 4], sampled[:, 5]
    covered = cover.view(size)
    # Where the shell stands a little outside the matte the photo shows background, which says nothing about the person.
    seen = (ramp(facing, 0.12, 0.4) * visible * inside * ramp(matte, 0.4, 0.8)).view(size)
    zone, rest = _zones(head, posed, points).view(size), rest.view(*size, 3)
    # Below the forehead hair hides a face only where the photo says so, seen well enough to tell a cheek from what is behind it.
    forehead = (1 - front_of_face(head.model, posed, points)).view(size)
    seen = torch.where(zone == _FACE, seen * torch.maximum(forehead, ramp(facing.view(size), 0.5, 0.75)), seen)
    # Whatever stands off the forehead by a finger's breadth is hair, seen or not.
    above = ramp(points[:, 1] - brow_height(head.model, posed), 0.02, 0.05).view(size)
    stands_off = above * ramp(thickness.view(size), 0.005, 0.012)
    opacity = _opacity(covered, seen, zone, rest, forehead, stands_off)
    trust = (ramp(facing, 0.2, 0.5) * visible * inside * ramp(matte, 0.9, 1.0)).view(size) * ramp(covered, 0.75, 0.98)
    cloth = 1 - 0.95 * skin_likeness(color, photo.skin_color).view(size)
    color = color.view(*size, 3)
    scalp = (zone == _SCALP) | (zone == _FACE) | (zone == _EAR)
    sure = color[trust * scalp > 0.8]
    hair = sure.median(0).values if len(sure) else photo.skin_color
    nape = _nape(color, covered, seen, zone, rest, photo.skin_color, hair)
    picture = _colors(color, trust, cloth, nape, hair, zone, rest, generator)
    return torch.cat([picture, opacity[..., None]], dim=-1)


def _texels(shell: Shell) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Positions, normals, ray directions [T, 3] and thickness [T] of the shell's texels."""
    normals = vertex_normals(shell.vertices, shell.faces)
    grid = torch.cat([shell.vertices, normals, shell.directions, shell.thickness.view(-1, 1)], dim=-1)
    grid = grid.view(shell.rows, COLUMNS, 10)
    grid = functional.pad(grid.permute(2, 0, 1)[None], (1, 1, 0, 0), mode="circular")
    fine = functional.interpolate(grid, scale_factor=TEXELS, mode="bilinear", align_corners=False)[0]
    fine = fine[:, :, TEXELS:-TEXELS].permute(1, 2, 0).reshape(-1, 10)
    return (
        fine[:, :3],
        functional.normalize(fine[:, 3:6], dim=-1),
        functional.normalize(fine[:, 6:9], dim=-1),
        fine[:, 9],
    )


def _zones(head: PersonalHead, posed: Tensor, points: Tensor) -> Tensor:
    """What lies under each texel [T]: _FACE, _SCALP, _EAR (and the side of the head), _NECK, _TORSO."""
    region = head.model.region[nearest_skin(head.model, posed, points)]
    zone_of = torch.full((len(REGIONS),), _FACE)
    for name, index in (("scalp", _SCALP), ("neck", _NECK), ("ear", _EAR), ("torso", _TORSO)):
        zone_of[REGIONS.index(name)] = index
    zone = zone_of[region]
    # The side of the head, ear included, is hidden by hair or bare as a whole.
    aside = (zone == _FACE) & (points[:, 2] < posed[head.model.in_regions("ear"), 2].amax())
    return torch.where(aside, _EAR, zone)


def _opacity(covered: Tensor, seen: Tensor, zone: Tensor, rest: Tensor, forehead: Tensor, stands_off: Tensor) -> Tensor:
    """Coverage [H, W]: the photo's where it is seen, else the other side's, else each zone continues on its own, so that a
    bare neck does not shave the back of the head."""
    mirror_seen = (1 - seen) * seen.flip(1)
    known = seen + mirror_seen
    coverage = (covered * seen + covered.flip(1) * mirror_seen) / known.clamp(min=1e-6)
    behind, aside = ramp(-rest[..., 2], -0.2, 0.1), ramp(rest[..., 0].abs(), 0.4, 0.8)
    opacity = coverage * known
    for index in (_FACE, _SCALP, _EAR, _NECK, _TORSO):
        here = zone == index
        weight = known * here
        if index == _TORSO:
            spread = torch.ones_like(coverage)
        elif index in (_FACE, _SCALP):
            spread = pull_push(coverage[..., None], weight, wrap=True)[..., 0]
        if index == _FACE:
            # On the face proper the other side's hair says nothing, and neither do the surroundings.
            spread = torch.maximum(spread * forehead, stands_off)
            known = torch.where(here, torch.maximum(seen, known * forehead), known)
        if index == _SCALP:
            # A head with hair on its sides has hair behind; only the front's hairline is a matter of pixels.
            sides = weight * (rest[..., 2].abs() < 0.5)
            spread = torch.lerp(spread, (1.6 * _mean(coverage, sides)).clamp(0, 1).expand_as(spread), behind)
        if index in (_EAR, _NECK):
            # An ear is hidden or bare as a whole. Hair or a collar beside the neck goes on round its back, where the shell
            # stands for the skin, too: a nape would lie in a notch between hair and collar.
            spread = _mean(coverage, weight).expand_as(coverage)
            if index == _NECK:
                spread = torch.lerp(_by_rows(coverage[..., None], weight * aside)[..., 0], torch.ones(()), behind)
        # Half-covered skin is a guess that looks like mist: decide.
        opacity = torch.where(here, opacity + ramp(spread, 0.4, 0.6) * (1 - known), opacity)
    soft = blur(opacity[..., None], 2.5)[..., 0]
    opacity = torch.lerp(soft, opacity, seen)
    # Grown by 2 mm, so that no sliver of background shines through between the hair's edge and the skin.
    return functional.max_pool2d(opacity[None, None], 5, stride=1, padding=2)[0, 0].clamp(0, 1)


def _by_rows(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted means of the rows of a picture [H, W, C], spread over the rows that have none."""
    total = weight.sum(1)
    means = (values * weight[..., None]).sum(1) / total[:, None].clamp(min=1e-6)
    return pull_push(means[:, None], (total / 4).clamp(max=1)[:, None]).expand_as(values)


def _nape(
    color: Tensor, covered: Tensor, seen: Tensor, zone: Tensor, rest: Tensor, skin: Tensor, hair: Tensor
) -> Tensor:
    """Colours [H, W, 3] of the back of the neck: row by row what its sides show, skin where nothing covers them.

    Hair hangs down: where it is seen at some height, it covers all that is above. skin, hair [3]: their typical colours.
    """
    sides = seen * (zone == _NECK) * ramp(rest[..., 0].abs(), 0.4, 0.8)
    share = _by_rows(covered[..., None], sides)
    shown = _by_rows(color, sides * ramp(covered, 0.75, 0.98))
    soft = blur(torch.cat([share, shown], dim=-1), 6)
    dressed = ramp(soft[..., :1], 0.35, 0.65)
    likeness = torch.exp(-((soft[..., 1:] - hair).norm(dim=-1, keepdim=True) / 0.2).square())
    # Rows run downwards: hair spreads up from where it is seen, a collar is whole from the chest up to where it ends.
    hairy = (dressed * likeness).flip(0).cummax(0).values.flip(0)
    collar = (dressed * (1 - likeness)).flip(0).cummin(0).values.flip(0)
    return torch.lerp(torch.lerp(0.85 * skin, soft[..., 1:], collar), hair, ramp(hairy, 0.3, 0.7))


def _colors(
    color: Tensor,
    trust: Tensor,
    cloth: Tensor,
    nape: Tensor,
    hair: Tensor,
    zone: Tensor,
    rest: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Colours [H, W, 3]: the photo's where trusted, else the other side's, else what the zone's surroundings say; the scalp far
    from the photo takes the hair's own typical colour, and unseen hair gets strands. cloth [H, W]: how little a colour is
    skin's; nape [H, W, 3]: colours of the back of the neck; hair [3]: the hair's typical colour."""
    filled = torch.zeros_like(color)
    scalp = (zone == _SCALP) | (zone == _FACE) | (zone == _EAR)
    for here, credible in ((scalp, 1.0), (zone == _NECK, 1.0), (zone == _TORSO, cloth)):
        weight = trust * here * credible
        continued = borrow(color, weight, color.flip(1), weight.flip(1), wrap=True)
        filled = torch.where(here[..., None], continued, filled)
    guessed = (zone == _NECK) * (1 - ramp(torch.maximum(trust, trust.flip(1)), 0.3, 0.8))
    filled = torch.lerp(filled, nape, guessed[..., None])
    # Near what the photo shows its colours go on; far from it single edge pixels would decide, so the middle of all hair does.
    known = trust * scalp
    near = (4 * blur(torch.maximum(known, known.flip(1))[..., None], _FAR)).clamp(0, 1)
    filled = torch.where(scalp[..., None], torch.lerp(hair.expand_as(filled), filled, near), filled)
    luminance = filled.mean(-1, keepdim=True)
    gray = color.mean(-1, keepdim=True)
    detail = (gray - blur(gray, 6))[..., 0]
    contrast = (detail.square() * known).sum().div(known.sum().clamp(min=1e-6)).sqrt()
    strands = _strands(rest, generator) * contrast
    textured = filled * (1 + (strands[..., None] / luminance.clamp(min=0.04)).clamp(-0.5, 0.8))
    plain = torch.maximum(ramp(known, 0.2, 0.8), (~scalp).to(known))
    return torch.lerp(textured.clamp(0, 1), filled, plain[..., None])


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of a picture, a scalar."""
    return (values * weight).sum() / weight.sum().clamp(min=1e-6)


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
