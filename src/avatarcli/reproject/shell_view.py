"""What the photo and the fitted head say about every texel of the shell."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.geometry.fill import blur, pull_push, ramp
from avatarcli.geometry.mesh import rasterize_mesh, sample_image, vertex_normals, visible_points
from avatarcli.head.model import REGIONS, PersonalHead
from avatarcli.reproject.shell import COLUMNS, DEPTH_TOLERANCE, Shell, nearest_skin
from avatarcli.reproject.skin_texture import PhotoView

TEXELS = 3  # texels per grid cell along each axis, about 1 mm each
_BORDER = 4.0  # texels: how far the zones' borders are smoothed
_HAIRLINE = 5.0  # texels: how softly hair ends at the scalp's edge


class Zone(IntEnum):
    """What lies under a texel. EAR holds the side of the head, too."""

    FACE = 0
    SCALP = 1
    EAR = 2
    NECK = 3
    TORSO = 4


@dataclass(frozen=True)
class ShellView:
    """Pictures [H, W] over the shell's grid; rows run down, columns around the head, so that a flip of the columns mirrors.

    points, normals, rest [H, W, 3]: position, normal and the direction of the ray from the middle of the head; thickness: metres
    above the bare head; zone: of Zone. From the photo: color [H, W, 3], covered: probability of hair or clothes, facing: cosine
    towards the camera, shown: 1 where the photo shows the texel's person at all, matte. bare: how bare this side's ear is.
    ear_top: height of the ears' upper ends, metres.
    """

    points: Tensor
    normals: Tensor
    rest: Tensor
    thickness: Tensor
    zone: Tensor
    color: Tensor
    covered: Tensor
    facing: Tensor
    shown: Tensor
    matte: Tensor
    bare: Tensor
    ear_top: Tensor

    def within(self, *zones: Zone) -> Tensor:
        """1 in any of the zones."""
        return torch.isin(self.zone, torch.tensor(zones)).to(self.covered)

    @property
    def seen(self) -> Tensor:
        """How well the photo tells whether a texel is covered. Outside the matte it shows background, which says nothing."""
        return ramp(self.facing, 0.12, 0.4) * self.shown * ramp(self.matte, 0.4, 0.8)

    @property
    def pictured(self) -> Tensor:
        """How well the photo shows a texel, whether covered or bare."""
        return ramp(self.facing, 0.2, 0.5) * self.shown * ramp(self.matte, 0.9, 1.0)

    @property
    def trust(self) -> Tensor:
        """How far a texel's color is that of what covers it."""
        return self.pictured * ramp(self.covered, 0.75, 0.98)

    @property
    def aside(self) -> Tensor:
        """1 on the left and the right, 0 before and behind."""
        return ramp(self.rest[..., 0].abs(), 0.4, 0.8)

    @property
    def below_ears(self) -> Tensor:
        """1 below the upper ends of bare ears: neither hair nor anything else is expected on the cheek."""
        return self.bare * (1 - ramp(self.points[..., 1] - self.ear_top, -0.01, 0.0))

    @property
    def hairline(self) -> Tensor:
        """1 on the scalp, softly 0 beyond its edge."""
        return ramp(blur(self.within(Zone.SCALP)[..., None], _HAIRLINE)[..., 0], 0.25, 0.55)


def view_shell(head: PersonalHead, shell: Shell, posed: Tensor, photo: PhotoView) -> ShellView:
    """Look at the shell as the photo does. posed [N, 3]: the bare head in the photo."""
    normals = vertex_normals(shell.vertices, shell.faces)
    grid = torch.cat([shell.vertices, normals, shell.directions, shell.thickness.view(-1, 1)], dim=-1)
    fine = _refined(grid.view(shell.rows, COLUMNS, -1))
    points, normals, rest = fine[..., :3], *(functional.normalize(fine[..., k : k + 3], dim=-1) for k in (3, 6))
    raster = rasterize_mesh(shell.vertices, shell.faces, photo.camera)
    pixels, facing, visible = visible_points(
        points.reshape(-1, 3), normals.reshape(-1, 3), photo.camera, raster.depth, tolerance=DEPTH_TOLERANCE
    )
    layers = torch.cat([photo.image, torch.stack([photo.matte, photo.cover, photo.inside], dim=-1)], dim=-1)
    size = points.shape[:2]
    sampled = sample_image(layers, pixels).view(*size, 6)
    ears = posed[head.model.in_regions("ear")].amax(0)
    return ShellView(
        points=points,
        normals=normals,
        rest=rest,
        thickness=fine[..., 9],
        zone=_zones(head, posed, points, ears[2]),
        color=sampled[..., :3],
        covered=sampled[..., 4],
        facing=facing.view(size),
        shown=visible.view(size) * sampled[..., 5],
        matte=sampled[..., 3],
        bare=torch.where(points[..., 0] > 0, photo.bare_ears[0], photo.bare_ears[1]),
        ear_top=ears[1],
    )


def by_rows(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted means of the rows of a picture [H, W, C], spread over the rows that have none. weight [H, W]."""
    total = weight.sum(1)
    means = (values * weight[..., None]).sum(1) / total[:, None].clamp(min=1e-6)
    return pull_push(means[:, None], (total / 4).clamp(max=1)[:, None]).expand_as(values)


def _refined(grid: Tensor) -> Tensor:
    """Values [R, C, K] of the grid's cells, interpolated at its texels [H, W, K]; the columns wrap."""
    padded = functional.pad(grid.permute(2, 0, 1)[None], (1, 1, 0, 0), mode="circular")
    fine = functional.interpolate(padded, scale_factor=TEXELS, mode="bilinear", align_corners=False)[0]
    return fine[:, :, TEXELS:-TEXELS].permute(1, 2, 0)


def _zones(head: PersonalHead, posed: Tensor, points: Tensor, ear_front: Tensor) -> Tensor:
    """The Zone [H, W] under texels at `points` [H, W, 3]; ear_front: the foremost z of the ears."""
    region = head.model.region[nearest_skin(head.model, posed, points.reshape(-1, 3))].view(points.shape[:2])
    zone_of = torch.full((len(REGIONS),), int(Zone.FACE))
    for zone in (Zone.SCALP, Zone.EAR, Zone.NECK, Zone.TORSO):
        zone_of[REGIONS.index(zone.name.lower())] = int(zone)
    # The regions' borders are jagged, as the mesh is.
    share = torch.stack([(zone_of[region] == zone).to(points) for zone in Zone], dim=-1)
    smooth = blur(share, _BORDER).argmax(-1)
    aside = (smooth == Zone.FACE) & (points[..., 2] < ear_front)
    return torch.where(aside, int(Zone.EAR), smooth)
