"""The visual hull of a set of mattes: the surface inside of which all pictures agree that there is something.

Space carving (Laurentini, *The visual hull concept*, 1994; Kutulakos and Seitz 2000 for the colors) on a grid. It is where the
Gaussians of hair, hats, beards and clothes start, which no head model knows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import gaussian_filter, label, map_coordinates
from torch import Tensor
from torch.nn import functional

from avatarcli.gaussians.bust import Bust
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.mesh import sample_image
from avatarcli.geometry.space import z_order
from avatarcli.multiview.framing import DISTANCE

_CELL = 0.004  # metres: two pixels of a whole head's picture at 256 × 256
_BLOCK = 4  # cells along each side that are looked at together first
_OPAQUE = 0.35  # alpha from which a pixel counts as the person
# Generated mattes contradict each other here and there: a single view's word does not carve a hole.
_OBJECTIONS = 1
_VOTES = 3  # views that must have seen a cell
_SMOOTH = 1.0  # cells: standard deviation of the blur that turns steps into a surface
_MARGIN = 0.004  # metres inside the surface at which colors are looked up: at the very edge background shines through


@dataclass(frozen=True)
class Hull:
    """A closed surface as points; none where the pictures show nothing in common.

    points, normals (outward) [P, 3]: metres; colors [P, 3] in [0, 1]; doubt [P]: how far the views that see a point best disagree
    about its color, in [0, 1]: where a hull fills a hollow they see different things; cell: metres between neighbouring points.
    inside: the carved grid [X, Y, Z] in [0, 1], smoothed; origin [3]: metres, the grid's first cell. bust: the shape that its
    lower part was given, if any.
    """

    points: Tensor
    normals: Tensor
    colors: Tensor
    doubt: Tensor
    cell: float
    inside: Tensor
    origin: Tensor
    bust: Bust | None = None

    def depth(self, points: Tensor) -> Tensor:
        """How surely points [N, 3] lie inside, in [0, 1]: 0.5 on the surface."""
        cells = ((points - self.origin) / self.cell).numpy().T
        return torch.from_numpy(map_coordinates(self.inside.numpy(), cells, order=1, mode="constant")).to(points)


def carve(
    pictures: Sequence[Tensor],
    cameras: Camera,
    low: Tensor,
    high: Tensor,
    clear: Tensor | None = None,
    bust: float = -math.inf,
    smooth: Callable[[npt.NDArray[Any], Tensor, float], Bust] | None = None,
) -> Hull:
    """The hull of premultiplied RGBA pictures [H, W, 4], one a camera [V], within the box from `low` to `high` [3] (metres).

    Of several parts only the largest counts. clear [V, H, W]: metres up to which a pixel is known to look through empty space:
    hollows, which no silhouette shows. bust: height (metres) below which every view tells how far the person reaches to both sides.
    Often only one sees where an arm or a back ends, which would stand out by a centimetre. smooth: makes the
    shape of the lower part of a carved grid, its origin and its cells' size.
    """
    clear = torch.zeros(len(pictures), cameras.height, cameras.width) if clear is None else clear
    blocks = ((high - low) / (_CELL * _BLOCK)).ceil().long()
    origin = low + _CELL * (_BLOCK - 1) / 2
    centres = _grid(origin, blocks, _CELL * _BLOCK)
    # Most blocks of cells are wholly outside or inside, which pictures of widened and narrowed mattes tell at once.
    reach = 2 * int(0.87 * _BLOCK * _CELL * float(cameras.K[0, 0, 0]) / DISTANCE) + 1
    mattes = torch.stack([picture[..., 3] for picture in pictures])[:, None]
    widened, narrowed = _widened(mattes, reach)[:, 0], -_widened(-mattes, reach)[:, 0]
    # A block is empty when the free space reaches beyond it everywhere, and not full when it reaches into it anywhere.
    least = -_widened(-clear[:, None], reach)[:, 0] - _CELL * _BLOCK
    most = _widened(clear[:, None], reach)[:, 0] + _CELL * _BLOCK
    maybe, surely = (_occupied(centres, *shown, cameras, bust) for shown in ((widened, least), (narrowed, most)))
    cells = torch.zeros(*blocks, _BLOCK, _BLOCK, _BLOCK, dtype=torch.bool)
    cells.view(-1, _BLOCK**3)[surely] = True
    open_blocks = (maybe & ~surely).nonzero()[:, 0]
    offsets = _grid(origin.new_full((3,), -_CELL * (_BLOCK - 1) / 2), torch.full((3,), _BLOCK), _CELL)
    points = centres[open_blocks, None] + offsets
    cells.view(-1, _BLOCK**3)[open_blocks] = _occupied(points.flatten(0, 1), mattes[:, 0], clear, cameras, bust).view(
        -1, _BLOCK**3
    )
    occupied = cells.permute(0, 3, 1, 4, 2, 5).reshape(*(blocks * _BLOCK)).numpy()
    parts, count = label(occupied)
    if count > 1:
        # What floats beside the person is a slip of single views.
        occupied = parts == 1 + np.bincount(parts.ravel())[1:].argmax()
    inside = gaussian_filter(occupied.astype(np.float32), _SMOOTH)
    shape = None if smooth is None else smooth(inside, low, _CELL)
    if shape is not None:
        inside = shape.shaped(inside, low, _CELL)
    points, normals = _surface(inside, low)
    colors, doubt, seen = _colors(points, normals, pictures, cameras)
    return Hull(points[seen], normals[seen], colors[seen], doubt[seen], _CELL, torch.from_numpy(inside), low, shape)


def _widened(pictures: Tensor, reach: int) -> Tensor:
    """The largest values within squares of `reach` (odd) pixels, of pictures [V, 1, H, W]: along columns first, then along rows."""
    columns = functional.max_pool2d(pictures, (reach, 1), stride=1, padding=(reach // 2, 0))
    return functional.max_pool2d(columns, (1, reach), stride=1, padding=(0, reach // 2))


def _grid(origin: Tensor, counts: Tensor, step: float) -> Tensor:
    """Points [X · Y · Z, 3] of a regular grid."""
    axes = [origin[k] + torch.arange(int(counts[k])) * step for k in range(3)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).view(-1, 3)


def _occupied(points: Tensor, mattes: Tensor, clear: Tensor, cameras: Camera, bust: float) -> Tensor:
    """Which points [N] (bool) the mattes [V, H, W] hold for a part of the person, and none sees through.

    clear, bust: see `carve`.
    """
    objections = torch.zeros(len(points), dtype=torch.uint8)
    votes = torch.zeros(len(points), dtype=torch.uint8)
    empty = torch.zeros(len(points), dtype=torch.bool)
    opaque, low = mattes >= _OPAQUE, points[:, 1] < bust
    # From the first to the last pixel of each row: a gap between them may be one view's slip.
    extent = (opaque.byte().cummax(-1).values & opaque.byte().flip(-1).cummax(-1).values.flip(-1)).bool()
    for view, matte in enumerate(opaque):
        camera = cameras[view]
        pixels, depth = camera.project(points)
        column, row = pixels.long().unbind(-1)
        # The picture cuts the bust off below, where it goes on. Aside, the cut is where the bust ends: arms of unknown length
        # would grow there.
        above = row < camera.height
        beside = (column < 0) | (column >= camera.width)
        seen = above & (row >= 0) & ~beside
        row, column = row.clamp(0, camera.height - 1), column.clamp(0, camera.width - 1)
        full = seen & matte[row, column]
        objections += (above & ~full).byte()
        votes += full.byte()
        empty |= beside | (low & above & ~(seen & extent[view, row, column]))
        if clear[view].any():
            empty |= seen & (depth < clear[view, row, column])
    return (objections <= _OBJECTIONS) & (votes >= _VOTES) & ~empty


def _surface(inside: npt.NDArray[Any], low: Tensor) -> tuple[Tensor, Tensor]:
    """Points and outward normals [P, 3] where the smoothed grid crosses 0.5, one a cell, neighbours near each other in order."""
    near = (inside > 0.25) & (inside < 0.75)
    # The box cuts through the bust: that is no surface.
    near[[0, -1]] = near[:, [0, -1]] = near[:, :, [0, -1]] = False
    index = np.argwhere(near)
    index = index[z_order(torch.from_numpy(index)).numpy()]
    slope = np.stack([axis[tuple(index.T)] for axis in np.gradient(inside)], axis=-1)
    steep = np.square(slope).sum(-1, keepdims=True)
    step = (0.5 - inside[tuple(index.T)])[:, None] * slope / np.maximum(steep, 1e-4)
    # Of the cells on both sides of the surface one takes the point: where it lies midway, their estimates overlap a little, and
    # what two take is better than what none takes.
    main = np.abs(slope).argmax(-1)[:, None]
    along = np.take_along_axis(step * np.sign(slope), main, axis=-1)[:, 0]
    there = (along > -0.65) & (along <= 0.35)
    points = low + torch.from_numpy(index[there] + step[there]).float() * _CELL
    normals = functional.normalize(-torch.from_numpy(slope[there]).float(), dim=-1)
    return points, normals


def _colors(
    points: Tensor, normals: Tensor, pictures: Sequence[Tensor], cameras: Camera
) -> tuple[Tensor, Tensor, Tensor]:
    """Colors [P, 3] as the views show them that look at a point squarely: the median of the best three; how far these three
    disagree [P]; and whether any view sees the point [P] (bool)."""
    best = torch.full((len(pictures), len(points)), -1.0)
    colors = torch.zeros(len(pictures), len(points), 3)
    for view, picture in enumerate(pictures):
        camera = cameras[view]
        pixels, _ = camera.project(points - _MARGIN * normals)
        rgba = sample_image(picture, pixels)
        facing = (functional.normalize(camera.centre - points, dim=-1) * normals).sum(-1)
        best[view] = torch.where(rgba[:, 3] > 0.8, facing, facing.new_full((), -1.0))
        colors[view] = rgba[:, :3] / rgba[:, 3:].clamp(min=0.3)
    # Where only one or two views see a point, their color counts for the missing ones too.
    facing, chosen = best.topk(min(3, len(pictures)), dim=0)
    chosen = torch.where(facing > 0, chosen, chosen[:1])
    shown = colors.gather(0, chosen[..., None].expand(-1, -1, 3))
    doubt = (shown.amax(0) - shown.amin(0)).amax(-1)
    return shown.median(0).values, doubt, facing[0] > 0
