"""The shell's picture: colours and coverage of hair and clothes all the way round."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.generation.fill import blur, borrow, pull_push, ramp, spread_nearest
from avatarcli.generation.shading import lit, tint_distance
from avatarcli.generation.shell import CHIN, COLUMNS, Shell, brow_height, front_of_face, nearest_skin
from avatarcli.generation.skin_texture import PhotoView, skin_likeness
from avatarcli.geometry.mesh import rasterize_mesh, sample_image, vertex_normals, visible_points
from avatarcli.head.model import REGIONS, PersonalHead

TEXELS = 3  # texels per grid cell along each axis
_DEPTH_TOLERANCE = 0.006  # metres
_FACE, _SCALP, _EAR, _NECK, _TORSO = 0, 1, 2, 3, 4
_ZONES = 5
_BORDER = 4.0  # texels: how far the zones' borders are smoothed
# Strands of combed hair run from the crown down; noise that is this much longer along them than across looks like it.
_STRANDS_AROUND, _STRANDS_DOWN = 480, 8
_CONTRAST = 0.6  # of invented strands beside those seen, whose contrast holds the shadows between locks, too
_SURE = 0.8  # trust above which a texel's colour is carried on
_FAR = 14.0  # texels, about 1.4 cm: how far beyond the photo's reach its colours go on
_HAIRLINE = 5.0  # texels, about 5 mm: how softly hair ends around an ear
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
    zone, rest = _zones(head, posed, points.view(*size, 3)), rest.view(*size, 3)
    # Below the forehead hair hides a face only where the photo says so, seen well enough to tell a cheek from what is behind it.
    forehead = (1 - front_of_face(head.model, posed, points)).view(size)
    seen = torch.where(zone == _FACE, seen * torch.maximum(forehead, ramp(facing.view(size), 0.5, 0.75)), seen)
    # Beside a bare ear shadows of jaw and ear, seen aslant, look like hair, and none hangs over the cheek.
    bare = torch.where(points[:, 0] > 0, photo.bare_ears[0], photo.bare_ears[1]).view(size)
    low = 1 - ramp(points[:, 1] - _ear_top(head, posed), -0.01, 0.0).view(size)
    cheek = bare * low * ((zone == _FACE) | (zone == _NECK))
    aside = ramp(rest[..., 0].abs(), 0.4, 0.8)
    all_seen, sides = seen, seen * (zone == _NECK) * aside
    seen = seen * torch.lerp(torch.ones_like(seen), ramp(facing.view(size), 0.6, 0.85), cheek)
    seen = seen * (1 - bare * (zone == _EAR))
    # Around a bare ear and beside the forehead the scalp's own edge is where hair ends.
    hairline = ramp(blur((zone == _SCALP).to(matte)[..., None], _HAIRLINE)[..., 0], 0.25, 0.55)
    temple = ramp(rest[..., 0].abs(), 0.6, 0.8)
    forehead = torch.lerp(forehead, forehead * hairline, bare * temple) * (1 - cheek)
    # Whatever stands off the forehead by a finger's breadth is hair, seen or not.
    above = ramp(points[:, 1] - brow_height(head.model, posed), 0.02, 0.05).view(size)
    stands_off = above * ramp(thickness.view(size), 0.005, 0.012)
    opacity = _opacity(
        covered, seen, sides, zone, rest, forehead, stands_off, torch.lerp(torch.ones_like(bare), hairline, bare)
    )
    trust = (ramp(facing, 0.2, 0.5) * visible * inside * ramp(matte, 0.9, 1.0)).view(size) * ramp(covered, 0.75, 0.98)
    cloth = 1 - 0.95 * skin_likeness(color, photo.skin_color).view(size)
    color = color.view(*size, 3)
    hair = photo.hair_color
    beside = (zone == _NECK) | (zone == _TORSO) | (zone == _EAR)
    hanging = _hanging(color, covered, all_seen * beside * aside, zone, hair) * (1 - bare.mean())
    wide = ramp(
        points[:, 0].view(*size, 1).abs(), 0.09, 0.12
    )  # metres: it hangs down, it does not lie on the shoulders
    chin = (points[:, 1].view(*size, 1) < head.model.landmarks(posed)[CHIN, 1]).to(matte)
    light = lit(photo.light, normals, photo.skin_color).view(*size, 3)
    unseen_hair = hair * light.mean(-1, keepdim=True)
    nape = _nape(color, covered, sides, photo.skin_color * light, unseen_hair, hanging, chin)
    hanging = hanging * (1 - wide)
    # At the rim light shines through hair, or what stands behind it does.
    as_hair = torch.exp(-((color - hair).norm(dim=-1) / 0.18).square())
    as_hair = torch.maximum(as_hair, ramp(facing.view(size), 0.5, 0.75))
    picture = _colors(color, trust, (as_hair, cloth), nape, unseen_hair, hanging, zone, rest, generator)
    # The rim of what covers the neck runs over the cheek.
    cheek = bare * low * ((zone == _FACE) | (zone == _EAR)) * (1 - all_seen) * (1 - hairline)
    picture = torch.lerp(picture, photo.skin_color * light, cheek[..., None])
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


def _ear_top(head: PersonalHead, posed: Tensor) -> Tensor:
    """Height of the ears' upper ends, metres."""
    return posed[head.model.in_regions("ear"), 1].amax()


def _zones(head: PersonalHead, posed: Tensor, points: Tensor) -> Tensor:
    """What lies under each texel [H, W] at `points` [H, W, 3]: _FACE, _SCALP, _EAR (and the side of the head), _NECK, _TORSO."""
    region = head.model.region[nearest_skin(head.model, posed, points.reshape(-1, 3))].view(points.shape[:2])
    zone_of = torch.full((len(REGIONS),), _FACE)
    for name, index in (("scalp", _SCALP), ("neck", _NECK), ("ear", _EAR), ("torso", _TORSO)):
        zone_of[REGIONS.index(name)] = index
    # The regions' borders are jagged, as the mesh is.
    share = torch.stack([(zone_of[region] == index).to(points) for index in range(_ZONES)], dim=-1)
    zone = blur(share, _BORDER).argmax(-1)
    # The side of the head, ear included, is hidden by hair or bare as a whole.
    aside = (zone == _FACE) & (points[..., 2] < posed[head.model.in_regions("ear"), 2].amax())
    return torch.where(aside, _EAR, zone)


def _opacity(
    covered: Tensor,
    seen: Tensor,
    sides: Tensor,
    zone: Tensor,
    rest: Tensor,
    forehead: Tensor,
    stands_off: Tensor,
    ears: Tensor,
) -> Tensor:
    """Coverage [H, W]: the photo's where it is seen, else the other side's, else each zone continues on its own, so that a
    bare neck does not shave the back of the head. sides [H, W]: where the neck's sides are seen; ears [H, W]: coverage around the
    ears where nothing is seen."""
    mirror_seen = (1 - seen) * seen.flip(1)
    known = seen + mirror_seen
    coverage = (covered * seen + covered.flip(1) * mirror_seen) / known.clamp(min=1e-6)
    behind = ramp(-rest[..., 2], -0.2, 0.1)
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
        if index == _NECK:
            # Hair or a collar beside the neck goes on round its back, where the shell stands for the skin, too: a nape would lie
            # in a notch between hair and collar.
            spread = torch.lerp(_by_rows(covered[..., None], sides)[..., 0], torch.ones(()), behind)
        if index == _EAR:
            # Hidden or bare as a whole.
            spread = ears
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


def _hanging(color: Tensor, covered: Tensor, sides: Tensor, zone: Tensor, hair: Tensor) -> Tensor:
    """How far down hair hangs: per row [H, 1, 1], 1 down to where the sides show it without a gap, 0 from there on.

    sides [H, W]: where the sides of the head and the neck are seen; hair [3]: its typical colour.
    """
    clothes = color[(sides * (zone == _TORSO) * covered > 0.5) & (torch.arange(len(zone))[:, None] > 0.85 * len(zone))]
    cloth = clothes.median(0).values if len(clothes) else 1 - hair
    to_hair, to_cloth = (tint_distance(color, typical) for typical in (hair, cloth))
    hairy = covered * torch.exp(-(to_hair / 0.2).square()) * ramp(to_cloth - to_hair, -0.05, 0.05)
    share = blur(_by_rows(hairy[..., None], sides), 6)[:, :1]
    first = int((zone == _NECK).any(1).int().argmax())
    share = torch.cat([torch.ones_like(share[:first]), share[first:]])
    return ramp(share, 0.2, 0.5).cummin(0).values


def _nape(
    color: Tensor, covered: Tensor, sides: Tensor, skin: Tensor, hair: Tensor, hanging: Tensor, below_chin: Tensor
) -> Tensor:
    """Colours [H, W, 3] of the back of the neck: row by row what its sides show, skin where nothing covers them.

    sides [H, W]: where the neck's sides are seen; skin, hair [H, W, 3]: their colours in the light that falls there;
    hanging [H, 1, 1]: 1 where hair is; below_chin [H, W, 1]: where there may be a collar.
    """
    share = _by_rows(covered[..., None], sides)
    shown = _by_rows(color, sides * ramp(covered, 0.75, 0.98))
    soft = blur(torch.cat([share, shown], dim=-1), 6)
    # Rows run downwards: a collar is whole from the chest up to where it ends.
    dressed = ramp(soft[..., :1], 0.35, 0.65) * (1 - hanging)
    collar = blur(dressed.flip(0).cummin(0).values.flip(0) * below_chin, 3)
    return torch.lerp(torch.lerp(skin, soft[..., 1:], collar), hair, hanging)


def _colors(
    color: Tensor,
    trust: Tensor,
    credible: tuple[Tensor, Tensor],
    nape: Tensor,
    hair: Tensor,
    hanging: Tensor,
    zone: Tensor,
    rest: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Colours [H, W, 3]: the photo's where trusted, else the other side's, else what the zone's surroundings say; the scalp far
    from the photo takes the hair's own typical colour, and unseen hair gets strands.

    credible: how far a colour may be hair's and clothes' [H, W]; nape [H, W, 3]: colours of the back of the neck; hair [H, W, 3]:
    the hair's typical colour; hanging [H, W, 1]: 1 where it hangs.
    """
    filled = torch.zeros_like(color)
    scalp = (zone == _SCALP) | (zone == _FACE) | (zone == _EAR)
    as_hair, as_cloth = credible
    for here, weight in ((scalp, trust * as_hair), (zone == _NECK, trust)):
        continued = borrow(color, weight * here, color.flip(1), weight.flip(1) * here, wrap=True)
        filled = torch.where(here[..., None], continued, filled)
    clothes = trust * as_cloth * (zone == _TORSO)
    if (clothes > _SURE).any():
        continued = torch.lerp(spread_nearest(color, clothes > _SURE, 0.3), color, clothes[..., None])
        filled = torch.where((zone == _TORSO)[..., None], continued, filled)
    unseen = 1 - ramp(torch.maximum(trust, trust.flip(1)), 0.3, 0.8)
    filled = torch.lerp(filled, nape, ((zone == _NECK) * unseen)[..., None])
    # Long hair hides the back as far down as it hangs beside the neck.
    down = ((zone == _TORSO) * unseen * ramp(-rest[..., 2], -0.3, 0.0))[..., None] * hanging
    filled = torch.lerp(filled, hair, down)
    # Near what the photo shows its colours go on; far from it single edge pixels would decide, so the middle of all hair does.
    known = trust * as_hair * scalp
    near = (4 * blur(torch.maximum(known, known.flip(1))[..., None], _FAR)).clamp(0, 1)
    filled = torch.where(scalp[..., None], torch.lerp(hair, filled, near), filled)
    luminance = filled.mean(-1, keepdim=True)
    gray = color.mean(-1, keepdim=True)
    detail = (gray - blur(gray, 6))[..., 0]
    contrast = (detail.square() * known).sum().div(known.sum().clamp(min=1e-6)).sqrt()
    strands = _CONTRAST * contrast * _strands(rest, generator)
    textured = filled * (1 + (strands[..., None] / luminance.clamp(min=0.04)).clamp(-0.5, 0.8))
    hairy = torch.maximum(
        scalp * (1 - ramp(known, 0.2, 0.8)), torch.maximum(down, (zone == _NECK)[..., None] * hanging)[..., 0]
    )
    return torch.lerp(filled, textured.clamp(0, 1), hairy[..., None])


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
