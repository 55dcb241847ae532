"""A z-buffer for triangle meshes in plain torch: many pictures at once, on any device.

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

from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.mesh import MeshRaster
from avatarcli.training.studio.fused import fused

NEAR = 0.01  # metres: triangles reaching nearer than this to the camera plane are dropped, not clipped
# Box sides, in samples, up to which one tile serves a triangle; larger triangles take several tiles of the last size.
_TILES = (2, 4, 8)
_EDGE = -1e-6  # barycentric: rounding must not open the seam between two triangles
EMPTY = torch.iinfo(torch.int64).max  # the key of a sample that sees nothing
# Samples tested at a time. A CPU wants its caches to hold them; a GPU wants few launches.
_CHUNK = {"cpu": 1 << 18}
_CHUNK_ELSEWHERE = 1 << 25


@dataclass(frozen=True)
class CutOut:
    """Triangles with holes. faces [T] bool: which they are; keep(face [n], weights [n, 3], area [n]) -> bool [n]: whether the
    surface is there at a sample, area being that of the triangle on the screen in samples."""

    faces: Tensor
    keep: Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Fragments:
    """The covered samples of B pictures of H × W, in order.

    sample [n] int64: index into B·H·W; picture [n]; face [n]; weights [n, 3]: perspective-correct; depth [n] metres;
    area [n]: of the triangle on the screen, in samples.
    """

    sample: Tensor
    picture: Tensor
    face: Tensor
    weights: Tensor
    depth: Tensor
    area: Tensor


@torch.no_grad()
def rasterize(
    vertices: Tensor,
    faces: Tensor,
    camera: Camera,
    *,
    cull_backfaces: bool | Tensor = False,
    bias: Tensor | None = None,
    cut_out: CutOut | None = None,
    chunk: int | None = None,
) -> MeshRaster:
    """The nearest triangle at the centre of every pixel of B pictures; fields of the raster are [B, H, W] and so on.

    vertices [B, N, 3] in the world (or [1, N, 3], the same in all); faces [T, 3], counter-clockwise seen from outside; B
    cameras. cull_backfaces: for all triangles or [T] bool; bias [T]: metres by which a triangle counts as nearer than it is;
    chunk: samples tested at a time. Not differentiable. The twin for one picture is `geometry.mesh.rasterize_mesh`.
    """
    screen = project(vertices, camera)
    size = (camera.height, camera.width)
    keys = nearest(screen, faces, size, cull_backfaces=cull_backfaces, bias=bias, cut_out=cut_out, chunk=chunk)
    seen = fragments(keys, screen, faces)
    shape = (len(screen), *size)
    face = torch.full((keys.numel(),), -1, dtype=torch.int64, device=keys.device)
    weights = torch.zeros(keys.numel(), 3, device=keys.device)
    depth = torch.full((keys.numel(),), torch.inf, device=keys.device)
    face[seen.sample], weights[seen.sample], depth[seen.sample] = seen.face, seen.weights, seen.depth
    return MeshRaster(face.view(shape), weights.view(*shape, 3), depth.view(shape))


def project(vertices: Tensor, camera: Camera) -> Tensor:
    """Column, row (pixels) and depth (metres) [B, 3, N] of world points [B, N, 3] (or [1, N, 3] for all) in B cameras.

    Points nearer than `NEAR` have no place: NaN.
    """
    return _project(vertices.float(), camera.world_to_camera.float(), camera.K.float())


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
    """Keys [B, H, W] int64 of the nearest triangles: depth's bits (after the bias) above, the triangle below; EMPTY where
    there is none. screen [B, 3, N] from `project`; size: height, width; the rest as `rasterize` takes it."""
    device = screen.device
    chunk = chunk or _CHUNK.get(device.type, _CHUNK_ELSEWHERE)
    # Tiles are never larger than the buffer, so they can be pushed inside it.
    height, width = max(size[0], _TILES[-1]), max(size[1], _TILES[-1])
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
            for number, side in enumerate(_TILES):
                chosen = (kind == number + 1).nonzero()[:, 0]
                for index in chosen.split(max(1, chunk // side**2)):
                    if len(index):
                        tiles = _tiles(group, faces, rows, index, size, side)
                        tiles.picture = tiles.picture + start
                        _draw(keys, tiles, bias, keep, chunk)
    return keys[:, : size[0], : size[1]]


def key_depth(keys: Tensor) -> Tensor:
    """Depth in metres (after the bias) that keys from `nearest` hold, infinite where there is nothing. Same shape."""
    depth = (keys >> 32).int().view(torch.float32)
    return torch.where(keys == EMPTY, torch.inf, depth)


@torch.no_grad()
def fragments(keys: Tensor, screen: Tensor, faces: Tensor) -> Fragments:
    """Where on which triangle the covered samples lie; keys [B, H, W] from `nearest` of the same screen [B, 3, N] and faces."""
    height, width = keys.shape[1:]
    keys = keys.reshape(-1)
    sample = (keys != EMPTY).nonzero()[:, 0]
    return Fragments(sample, *_resolve(keys, sample, screen, faces, height, width))


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
    if side < _TILES[-1]:
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


@fused
def _project(vertices: Tensor, world_to_camera: Tensor, K: Tensor) -> Tensor:
    # Written out: a matrix product may be rounded to TF32 on a GPU.
    points = vertices.transpose(-1, -2)[:, :, None]  # [B, 3, 1, N]
    columns = world_to_camera[:, :3, :, None]  # [B, 3, 4, 1]
    local = (
        columns[:, :, 0] * points[:, 0]
        + columns[:, :, 1] * points[:, 1]
        + columns[:, :, 2] * points[:, 2]
        + columns[:, :, 3]
    )
    depth = local[:, 2]
    depth = torch.where(depth > NEAR, depth, torch.nan)
    x, y = local[:, 0] / depth, local[:, 1] / depth
    column = K[:, 0, 0, None] * x + K[:, 0, 1, None] * y + K[:, 0, 2, None]
    row = K[:, 1, 1, None] * y + K[:, 1, 2, None]
    return torch.stack([column, row, depth], dim=1)


def _span(a: Tensor, b: Tensor, c: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """First sample centre between three positions, and how many there are, inside a picture."""
    first = (torch.minimum(torch.minimum(a, b), c) - 0.5).ceil().clamp(min=0)
    last = (torch.maximum(torch.maximum(a, b), c) - 0.5).floor().clamp(max=limit - 1)
    return first, last - first + 1


@fused
def _sort(screen: Tensor, faces: Tensor, one_sided: Tensor, height: int, width: int) -> Tensor:
    """Which of _TILES triangles [T, 3] of pictures [B, 3, N] take, from 1; 0 where they hold no sample [B, T] uint8."""
    ax, bx, cx = (screen[:, 0, faces[:, k]] for k in range(3))
    ay, by, cy = (screen[:, 1, faces[:, k]] for k in range(3))
    area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
    across, down = _span(ax, bx, cx, width)[1], _span(ay, by, cy, height)[1]
    # Pixels' y points down, so a triangle that is counter-clockwise from outside has a negative area. A place without meaning
    # is NaN and fails every comparison.
    seen = (area.abs() > 1e-9) & ((area < 0) | ~one_sided) & (across > 0) & (down > 0)
    largest = torch.maximum(across, down)
    kind = 1 + (largest > _TILES[0]).to(torch.uint8) + (largest > _TILES[1]).to(torch.uint8)
    return torch.where(seen, kind, 0)


@fused
def _set_up(
    screen: Tensor, faces: Tensor, rows: Tensor, index: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Picture, face, box (left, top, width, height) [n], planes [4, 3, n] at the box's corner and corners' depths [3, n]."""
    picture = index // len(rows)
    face = rows[index - picture * len(rows)]
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = _corners(screen, picture, faces[face])
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
    return most.amin(0) >= _EDGE


@fused
def _inside(planes: Tensor, side: int) -> Tensor:
    """Whether samples of tiles lie in their triangles [n · side · side], row by row."""
    steps = torch.arange(side, device=planes.device)
    rows = planes[:3, 0, :, None] + planes[:3, 2, :, None] * steps
    values = rows[..., None] + (planes[:3, 1, :, None] * steps)[:, :, None]
    return (values.amin(0) >= _EDGE).view(-1)


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


@fused
def _resolve(
    keys: Tensor, sample: Tensor, screen: Tensor, faces: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Picture, face, weights, depth and area of Fragments."""
    face = keys[sample] & 0xFFFFFFFF
    picture = sample // (height * width)
    inside = sample - picture * (height * width)
    row = inside // width
    x, y = (inside - row * width).float() + 0.5, row.float() + 0.5
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = _corners(screen, picture, faces[face])
    ax, bx, cx, ay, by, cy = ax - x, bx - x, cx - x, ay - y, by - y, cy - y
    wa, wb, wc = bx * cy - cx * by, cx * ay - ax * cy, ax * by - bx * ay
    area = wa + wb + wc
    # Weights are divided by depth and by what makes their sum one; the area's sign cancels.
    wa, wb, wc = wa / az, wb / bz, wc / cz
    total = wa + wb + wc
    return picture, face, torch.stack([wa / total, wb / total, wc / total], dim=-1), area / total, 0.5 * area.abs()


def _corners(screen: Tensor, picture: Tensor, corner: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Column, row and depth [n] of three vertices `corner` [n, 3] of pictures [n]."""
    count = screen.shape[-1]
    flat = screen.reshape(-1)
    found = []
    for k in range(3):
        index = picture * (3 * count) + corner[:, k]
        found.append((flat[index], flat[index + count], flat[index + 2 * count]))
    return found
