"""The z-buffer of `raster.nearest` in plain torch: many pictures at once, on any device. `raster.cu` is its twin for GPUs.

Triangles are sorted by the size of their boxes on the screen. Those that span few samples are tested against one small tile
of samples each, larger ones are cut into tiles first, so that all work is dense arithmetic of a known shape: nothing is gathered
for a sample before it is known to be covered. What remains is reduced with a minimum over 64-bit keys (depth above, triangle
below), which is the same whatever the order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from avatarcli.studio.fused import fused

NEAR = 0.01  # metres: triangles reaching nearer than this to the camera plane are dropped, not clipped
# Box sides, in samples, up to which one tile serves a triangle; larger triangles take several tiles of the last size.
TILES = (2, 4, 8)
EDGE = -1e-6  # barycentric: rounding must not open the seam between two triangles
EMPTY = torch.iinfo(torch.int64).max  # the key of a sample that sees nothing
# Samples tested at a time. A CPU wants its caches to hold them; a GPU wants few launches, and room for other processes.
_CHUNK = {"cpu": 1 << 18}
_CHUNK_ELSEWHERE = 1 << 23


@dataclass(frozen=True)
class CutOut:
    """Triangles with holes. faces [T] bool: which they are; keep(face [n], weights [n, 3], area [n]) -> bool [n]: whether the
    surface is there at a sample, area being that of the triangle on the screen in samples."""

    faces: Tensor
    keep: Callable[[Tensor, Tensor, Tensor], Tensor]


@torch.no_grad()
def nearest(
    screen: Tensor,
    faces: Tensor,
    size: tuple[int, int],
    *,
    cull_backfaces: bool | Tensor = False,
    bias: Tensor | None = None,
    cut_out: CutOut | None = None,
    chunk: int | None = None,
) -> Tensor:
    """As `raster.nearest`."""
    device = screen.device
    chunk = chunk or _CHUNK.get(device.type, _CHUNK_ELSEWHERE)
    # Tiles are never larger than the buffer, so they can be pushed inside it.
    height, width = max(size[0], TILES[-1]), max(size[1], TILES[-1])
    keys = torch.full((len(screen), height, width), EMPTY, dtype=torch.int64, device=device)
    if bias is None:
        bias = torch.zeros(len(faces), device=device)
    if not isinstance(cull_backfaces, Tensor):
        cull_backfaces = torch.full((len(faces),), cull_backfaces, device=device)
    every = torch.arange(len(faces), device=device)
    layers = (
        [(every, None)] if cut_out is None else [(every[~cut_out.faces], None), (every[cut_out.faces], cut_out.keep)]
    )
    for rows, keep in layers:
        if not len(rows):
            continue
        pictures = max(1, chunk // len(rows))
        for start in range(0, len(screen), pictures):
            group = screen[start : start + pictures]
            kind = _sort(group, faces[rows], cull_backfaces[rows], *size).view(-1)
            for number, side in enumerate(TILES):
                chosen = (kind == number + 1).nonzero()[:, 0]
                for index in chosen.split(max(1, chunk // side**2)):
                    if len(index):
                        tiles = _tiles(group, faces, rows, index, size, side)
                        tiles.picture = tiles.picture + start
                        _draw(keys, tiles, bias, keep, chunk)
    return keys[:, : size[0], : size[1]]


@dataclass
class _Tiles:
    """Squares of samples, each with a triangle that may cover some. All [n] but planes [4, 3, n]: value at the square's first
    sample, step to the right and step down, of the barycentric weights and of 1 / depth; depths [3, n] of the corners."""

    side: int
    picture: Tensor
    face: Tensor
    left: Tensor
    top: Tensor
    planes: Tensor
    depths: Tensor

    def __getitem__(self, index: slice | Tensor) -> _Tiles:
        picture, face, left, top = (value[index] for value in (self.picture, self.face, self.left, self.top))
        return _Tiles(self.side, picture, face, left, top, self.planes[..., index], self.depths[:, index])


def _tiles(screen: Tensor, faces: Tensor, rows: Tensor, index: Tensor, size: tuple[int, int], side: int) -> _Tiles:
    """Of triangles `index` among those of all pictures [B · len(rows)]."""
    set_up = _set_up(screen, faces, rows, index, *size)
    picture, face, left, top, width, height, planes, depths = set_up
    tiles = _Tiles(side, picture, face, left, top, planes, depths)
    if side < TILES[-1]:
        return tiles
    across = (width + side - 1) // side
    count = across * ((height + side - 1) // side)
    owner = torch.repeat_interleave(count)
    rank = torch.arange(len(owner), device=owner.device) - (count.cumsum(0) - count)[owner]
    down = rank // across[owner]
    right = side * (rank - down * across[owner])
    down = side * down
    planes = _moved(planes[..., owner], right, down)
    touching = _touches(planes, side).nonzero()[:, 0]
    owner, planes = owner[touching], planes[..., touching]
    left, top = left[owner] + right[touching], top[owner] + down[touching]
    return _Tiles(side, picture[owner], face[owner], left, top, planes, depths[:, owner])


def _draw(
    keys: Tensor, tiles: _Tiles, bias: Tensor, keep: Callable[[Tensor, Tensor, Tensor], Tensor] | None, chunk: int
) -> None:
    """Work tiles into the keys [B, H, W]."""
    _, height, width = keys.shape
    flat = keys.view(-1)
    step = max(1, chunk // tiles.side**2)
    for start in range(0, len(tiles.face), step):
        some = tiles[start : start + step]
        # Boxes end inside the picture: a tile that sticks out is moved back and still covers its box.
        left, top = some.left.clamp(max=width - some.side), some.top.clamp(max=height - some.side)
        planes = _moved(some.planes, left - some.left, top - some.top)
        hit = _inside(planes, some.side).nonzero()[:, 0]
        first = (some.picture * height + top) * width + left
        sample, key = _hits(planes, hit, first, some.face, bias, some.side, width)
        if keep is not None:
            # What lies behind the solid parts need not be looked at.
            front = (key < flat[sample]).nonzero()[:, 0]
            hit, sample, key = hit[front], sample[front], key[front]
            there = keep(*_where(planes, hit, some.face, some.depths, some.side)).nonzero()[:, 0]
            sample, key = sample[there], key[there]
        flat.scatter_reduce_(0, sample, key, "amin")


def _span(a: Tensor, b: Tensor, c: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """First sample centre between three positions, and how many there are, inside a picture."""
    first = (torch.minimum(torch.minimum(a, b), c) - 0.5).ceil().clamp(min=0)
    last = (torch.maximum(torch.maximum(a, b), c) - 0.5).floor().clamp(max=limit - 1)
    return first, last - first + 1


@fused
def _sort(screen: Tensor, faces: Tensor, one_sided: Tensor, height: int, width: int) -> Tensor:
    """Which of TILES triangles [T, 3] of pictures [B, 3, N] take, from 1; 0 where they hold no sample [B, T] uint8."""
    ax, bx, cx = (screen[:, 0, faces[:, k]] for k in range(3))
    ay, by, cy = (screen[:, 1, faces[:, k]] for k in range(3))
    area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
    across, down = _span(ax, bx, cx, width)[1], _span(ay, by, cy, height)[1]
    # Pixels' y points down, so a triangle that is counter-clockwise from outside has a negative area. A place without meaning
    # is NaN and fails every comparison.
    seen = (area.abs() > 1e-9) & ((area < 0) | ~one_sided) & (across > 0) & (down > 0)
    largest = torch.maximum(across, down)
    kind = 1 + (largest > TILES[0]).to(torch.uint8) + (largest > TILES[1]).to(torch.uint8)
    return torch.where(seen, kind, 0)


@fused
def _set_up(
    screen: Tensor, faces: Tensor, rows: Tensor, index: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Picture, face, box (left, top, width, height) [n], planes [4, 3, n] at the box's corner and corners' depths [3, n]."""
    picture = index // len(rows)
    face = rows[index - picture * len(rows)]
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = corners_of(screen, picture, faces[face])
    left, across = _span(ax, bx, cx, width)
    top, down = _span(ay, by, cy, height)
    x, y = left + 0.5, top + 0.5
    ax, bx, cx, ay, by, cy = ax - x, bx - x, cx - x, ay - y, by - y, cy - y
    scale = 1 / ((bx - ax) * (cy - ay) - (cx - ax) * (by - ay))
    weights = torch.stack(
        [
            torch.stack([bx * cy - cx * by, by - cy, cx - bx]),
            torch.stack([cx * ay - ax * cy, cy - ay, ax - cx]),
            torch.stack([ax * by - bx * ay, ay - by, bx - ax]),
        ]
    )
    weights = weights * scale
    depths = torch.stack([az, bz, cz])
    planes = torch.cat([weights, (weights / depths[:, None]).sum(0, keepdim=True)])
    return picture, face, left.long(), top.long(), across.long(), down.long(), planes, depths


@fused
def _moved(planes: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """Planes [4, 3, n] from another sample: so many [n] to the right and down."""
    value = planes[:, 0] + planes[:, 1] * right + planes[:, 2] * down
    return torch.stack([value, planes[:, 1], planes[:, 2]], dim=1)


@fused
def _touches(planes: Tensor, side: int) -> Tensor:
    """Whether no edge has the whole tile on its outer side [n]."""
    reach = side - 1
    most = planes[:3, 0] + (planes[:3, 1] * reach).clamp(min=0) + (planes[:3, 2] * reach).clamp(min=0)
    return most.amin(0) >= EDGE


@fused
def _inside(planes: Tensor, side: int) -> Tensor:
    """Whether samples of tiles lie in their triangles [n · side · side], row by row."""
    steps = torch.arange(side, device=planes.device)
    rows = planes[:3, 0, :, None] + planes[:3, 2, :, None] * steps
    values = rows[..., None] + (planes[:3, 1, :, None] * steps)[:, :, None]
    return (values.amin(0) >= EDGE).view(-1)


def _values(planes: Tensor, hit: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Tile, row and column in it [m], and planes' values [4, m], at samples `hit` of tiles."""
    owner = hit // side**2
    cell = hit - owner * side**2
    row = cell // side
    column = cell - row * side
    return owner, row, column, planes[:, 0, owner] + planes[:, 1, owner] * column + planes[:, 2, owner] * row


@fused
def _hits(
    planes: Tensor, hit: Tensor, first: Tensor, face: Tensor, bias: Tensor, side: int, width: int
) -> tuple[Tensor, Tensor]:
    """Index into the keys, and key [m], of samples `hit` of tiles whose first samples have the indices `first`."""
    owner, row, column, values = _values(planes, hit, side)
    name = face[owner]
    depth = (1 / values[3] - bias[name]).clamp(min=0.5 * NEAR)
    return first[owner] + row * width + column, (depth.view(torch.int32).long() << 32) | name


@fused
def _where(planes: Tensor, hit: Tensor, face: Tensor, depths: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Triangle [m], perspective-correct weights [m, 3] and area in samples [m] at samples `hit` of tiles."""
    owner, _, _, values = _values(planes, hit, side)
    weights = values[:3] / (depths[:, owner] * values[3])
    area = 0.5 / (planes[0, 1] * planes[1, 2] - planes[1, 1] * planes[0, 2]).abs()
    return face[owner], weights.T, area[owner]


def corners_of(screen: Tensor, picture: Tensor, corner: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Column, row and depth [n] of three vertices `corner` [n, 3] of pictures [n]."""
    count = screen.shape[-1]
    flat = screen.reshape(-1)
    found = []
    for k in range(3):
        index = picture * (3 * count) + corner[:, k]
        found.append((flat[index], flat[index + count], flat[index + 2 * count]))
    return found
