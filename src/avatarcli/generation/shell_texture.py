"""The shell's picture: colours and coverage of hair and clothes all the way round."""

from __future__ import annotations

import math

import torch
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn import functional

from avatarcli.generation.fill import blur, borrow, pull_push
from avatarcli.generation.shell import COLUMNS, Shell
from avatarcli.generation.skin_texture import PhotoView
from avatarcli.geometry.mesh import rasterize_mesh, sample_image, vertex_normals, visible_points
from avatarcli.head.model import REGIONS, PersonalHead

TEXELS = 3  # texels per grid cell along each axis
_DEPTH_TOLERANCE = 0.006  # metres
_FACE, _SCALP, _NECK, _TORSO = 0, 1, 2, 3
# Strands of combed hair run from the crown down; noise that is this much longer along them than across looks like it.
_STRANDS_AROUND, _STRANDS_DOWN = 220, 7
_FAR = 14.0  # texels, about 1.4 cm: how far beyond the photo's reach its colours go on
_WHORL = (0.0, 0.87, -0.5)  # direction of the crown's whorl from the middle of the skull


def paint_shell(head: PersonalHead, shell: Shell, posed: Tensor, photo: PhotoView, generator: torch.Generator) -> Tensor:
    """RGBA picture [R·k, C·k, 4] over the shell's grid.

    posed [N, 3]: the bare head in the photo; generator: seeds the strands of hair that no photo shows.
    """
    points, normals, rest = _texels(shell)
    raster = rasterize_mesh(shell.vertices, shell.faces, photo.camera)
    pixels, facing, visible = visible_points(points, normals, photo.camera, raster.depth, tolerance=_DEPTH_TOLERANCE)
    size = (shell.rows * TEXELS, COLUMNS * TEXELS)
    sampled = sample_image(
        torch.cat([photo.image, photo.matte[..., None], photo.cover[..., None], photo.inside[..., None]], dim=-1), pixels
    )
    color, matte, cover, inside = sampled[:, :3], sampled[:, 3], sampled[:, 4], sampled[:, 5]
    covered = (cover * matte).view(size)
    seen = (_ramp(facing, 0.05, 0.3) * visible * inside).view(size)
    zone, rest = _zones(head, posed, points).view(size), rest.view(*size, 3)
    opacity = _opacity(covered, seen, zone, rest)
    trust = (_ramp(facing, 0.2, 0.5) * visible * inside).view(size) * _ramp(covered, 0.75, 0.98)
    picture = _colors(color.view(*size, 3), trust, zone, rest, generator)
    return torch.cat([picture, opacity[..., None]], dim=-1)


def _texels(shell: Shell) -> tuple[Tensor, Tensor, Tensor]:
    """Positions, normals and ray directions [T, 3] of the shell's texels."""
    normals = vertex_normals(shell.vertices, shell.faces)
    grid = torch.cat([shell.vertices, normals, shell.directions], dim=-1).view(shell.rows, COLUMNS, 9)
    grid = functional.pad(grid.permute(2, 0, 1)[None], (1, 1, 0, 0), mode="circular")
    fine = functional.interpolate(grid, scale_factor=TEXELS, mode="bilinear", align_corners=False)[0]
    fine = fine[:, :, TEXELS:-TEXELS].permute(1, 2, 0).reshape(-1, 9)
    return fine[:, :3], functional.normalize(fine[:, 3:6], dim=-1), functional.normalize(fine[:, 6:], dim=-1)


def _zones(head: PersonalHead, posed: Tensor, points: Tensor) -> Tensor:
    """What lies under each texel [T]: _FACE, _SCALP, _NECK (or ear), _TORSO."""
    skin = head.model.part("skin")
    _, nearest = cKDTree(posed[skin].numpy()).query(points.numpy())
    region = head.model.region[skin][torch.from_numpy(nearest)]
    zone_of = torch.full((len(REGIONS),), _FACE)
    for name, zone in (("scalp", _SCALP), ("neck", _NECK), ("ear", _NECK), ("torso", _TORSO)):
        zone_of[REGIONS.index(name)] = zone
    return zone_of[region]


def _opacity(covered: Tensor, seen: Tensor, zone: Tensor, rest: Tensor) -> Tensor:
    """Coverage [H, W]: the photo's where it is seen, else the other side's, else each zone continues on its own, so that a
    bare neck does not shave the back of the head."""
    mirror_seen = (1 - seen) * seen.flip(1)
    known = seen + mirror_seen
    coverage = (covered * seen + covered.flip(1) * mirror_seen) / known.clamp(min=1e-6)
    behind = _ramp(-rest[..., 2], -0.2, 0.1)
    opacity = coverage * known
    for index in (_FACE, _SCALP, _NECK, _TORSO):
        here = zone == index
        if index == _FACE:
            spread = torch.zeros_like(coverage)
        elif index == _TORSO:
            spread = torch.ones_like(coverage)
        else:
            spread = pull_push(coverage[..., None], known * here, wrap=True)[..., 0]
        if index == _SCALP:
            # A head with hair on its sides has hair behind; only the front's hairline is a matter of pixels.
            sides = known * here * (rest[..., 2].abs() < 0.5)
            hairy = (coverage * sides).sum() / sides.sum().clamp(min=1e-6)
            spread = torch.lerp(spread, (hairy * 1.6).clamp(0, 1).expand_as(spread), behind)
        opacity = torch.where(here, opacity + spread * (1 - known), opacity)
    soft = blur(opacity[..., None], 2.5)[..., 0]
    return torch.lerp(soft, opacity, seen).clamp(0, 1)


def _colors(color: Tensor, trust: Tensor, zone: Tensor, rest: Tensor, generator: torch.Generator) -> Tensor:
    """Colours [H, W, 3]: the photo's where trusted, else the other side's, else the hair's own typical colour with strands on
    it; clothes continue smoothly."""
    hair = (zone != _TORSO).to(trust)
    cloth = 1 - hair
    clothes = borrow(color, trust * cloth, color.flip(1), (trust * cloth).flip(1), wrap=True)
    known = trust * hair
    filled = borrow(color, known, color.flip(1), known.flip(1), wrap=True)
    # Near what the photo shows its colours go on; far from it single edge pixels would decide, so the middle of all hair does.
    near = (4 * blur(torch.maximum(known, known.flip(1))[..., None], _FAR)).clamp(0, 1)
    sure = color[known > 0.8]
    if len(sure) > 0:
        filled = torch.lerp(sure.median(0).values.expand_as(filled), filled, near)
    luminance = filled.mean(-1, keepdim=True)
    gray = color.mean(-1, keepdim=True)
    detail = (gray - blur(gray, 6))[..., 0]
    contrast = (detail.square() * known).sum().div(known.sum().clamp(min=1e-6)).sqrt()
    strands = _strands(rest, generator) * contrast
    textured = filled * (1 + (strands[..., None] / luminance.clamp(min=0.04)).clamp(-0.5, 0.8))
    filled = torch.lerp(textured.clamp(0, 1), filled, _ramp(known, 0.2, 0.8)[..., None])
    return torch.where(hair[..., None] > 0, filled, clothes)


def _ramp(x: Tensor, low: float, high: float) -> Tensor:
    """Zero below `low`, one above `high`, linear in between."""
    return ((x - low) / (high - low)).clamp(0, 1)


def _strands(rest: Tensor, generator: torch.Generator) -> Tensor:
    """Noise [H, W] of unit variance that is stretched along the way from the whorl down."""
    whorl = functional.normalize(torch.tensor(_WHORL), dim=0)
    side = torch.tensor([1.0, 0.0, 0.0])
    back = torch.linalg.cross(whorl, side)
    around = torch.atan2((rest * side).sum(-1), (rest * back).sum(-1)) / (2 * math.pi) + 0.5
    down = torch.arccos((rest * whorl).sum(-1).clamp(-1, 1)) / math.pi
    total = torch.zeros_like(down)
    for octave, share in ((1, 0.5), (2, 0.35), (4, 0.25)):
        cells = torch.randn(1, 1, _STRANDS_DOWN * octave + 1, _STRANDS_AROUND // 4 * octave, generator=generator)
        cells = torch.cat([cells, cells[..., :1]], dim=-1)
        # Strands wander: the angle drifts a little on the way down.
        drift = 0.02 * torch.sin(down * 9 + around * 25)
        grid = torch.stack([((around + drift) % 1.0) * 2 - 1, down * 2 - 1], dim=-1)[None]
        noise = functional.grid_sample(cells, grid, mode="bilinear", padding_mode="border", align_corners=True)[0, 0]
        total = total + share * noise
    return total / total.std().clamp(min=1e-6)
