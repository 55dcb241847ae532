"""Textures at all sizes (mip maps), looked up at many surface points at once, and the dither that turns alpha into holes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avatarcli.caching import once_each
from avatarcli.studio.fused import fused
from avatarcli.studio.scene import RenderMesh, TextureBank

_LEVELS = 7  # sizes of each texture: full to 1/64
# Alpha below the first counts as nothing, above the second as solid: thin noise in the pack's textures must not become dust.
ALPHA_RANGE = (0.04, 0.94)


@dataclass(frozen=True)
class Textures:
    """A subject's textures, each followed by its smaller sizes, and where its triangles lie on them.

    texels int32 [P]: four bytes RGBA; first, height, width [L·levels] of each size of each texture; face_layer [T];
    face_uv [T, 6]; face_texels [T]: area of each triangle on its texture; face_stretch [T]: how many times finer the texture
    is across (u) than down (v) on the surface, as the logarithm to base 4.
    """

    texels: Tensor
    first: Tensor
    height: Tensor
    width: Tensor
    face_layer: Tensor
    face_uv: Tensor
    face_texels: Tensor
    face_stretch: Tensor

    @classmethod
    def of(cls, mesh: RenderMesh, vertices: Tensor) -> Textures:
        """Of a subject whose vertices [N, 3] are, in any pose, these."""
        texels, layout = _mip_maps(mesh.textures)
        first, height, width = (layout[..., i].reshape(-1).contiguous() for i in range(3))
        top = mesh.textures.layout[mesh.texture]
        one, two = (((mesh.uv[:, k] - mesh.uv[:, 0]) * top[:, [2, 1]]).float() for k in (1, 2))  # edges in texels
        a, b, c = (vertices[mesh.faces[:, k]] for k in range(3))
        across = ((b - a) * two[:, 1:] - (c - a) * one[:, 1:]).norm(dim=-1)  # metres a texel, times twice the area
        down = ((c - a) * one[:, :1] - (b - a) * two[:, :1]).norm(dim=-1)
        stretch = 0.5 * torch.log2(down.clamp(min=1e-12) / across.clamp(min=1e-12)).clamp(-4, 4)
        area = 0.5 * (one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]).abs()
        face_uv = mesh.uv.reshape(-1, 6).float()
        return cls(texels, first, height, width, mesh.texture.long(), face_uv, area, stretch)

    def coordinates(self, face: Tensor, weights: Tensor) -> Tensor:
        """uv [n, 2] of points on triangles [n] with barycentric weights [n, 3]."""
        corners = self.face_uv[face].view(-1, 3, 2)
        return (corners * weights[..., None]).sum(1)

    def sample(self, face: Tensor, uv: Tensor, area: Tensor) -> Tensor:
        """RGBA [n, 4] in [0, 1], bilinear, of the size at which a texel is about a sample; area [n]: of the triangles, in
        samples."""
        texels, share = self._fetch(face, uv, area)
        shift = torch.arange(0, 32, 8, dtype=torch.int32, device=face.device)
        values = (texels[..., None] >> shift) & 255
        return (values * share[..., None]).sum(1) * (1 / 255)

    def _fetch(self, face: Tensor, uv: Tensor, area: Tensor) -> tuple[Tensor, Tensor]:
        """The four texels around points, as stored, and their shares [n, 4]."""
        # Between what the finer and the coarser direction ask for: neither very blurred nor very grainy.
        level = (self._scale(face, area) + 0.5 * self.face_stretch[face].abs()).round().clamp(0, _LEVELS - 1).long()
        layer = self.face_layer[face] * _LEVELS + level
        height, width, first = self.height[layer], self.width[layer], self.first[layer]
        x = (uv[:, 0] * width - 0.5).clamp(min=0).minimum(width - 1)
        y = (uv[:, 1] * height - 0.5).clamp(min=0).minimum(height - 1)
        left, top = x.floor(), y.floor()
        x, y = x - left, y - top
        left, top = left.long(), top.long()
        # The neighbour right of the last column is that column again.
        right = (left + 1 < width).long()
        below = (top + 1 < height) * width
        start = first + top * width + left
        index = torch.stack([start, start + right, start + below, start + below + right], dim=-1)
        share = torch.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y], dim=-1)
        return self.texels[index], share

    @fused
    def solid(self, face: Tensor, weights: Tensor, area: Tensor) -> Tensor:
        """Whether the surface is there [n] bool: alpha against a threshold that is fixed to the surface, not to the picture.

        After hashed alpha testing (Wyman and McGuire 2017): cells of the surface about the size of a sample have their own
        thresholds, so what is half transparent is there in half of them, and in the same ones in every frame. Within blocks of
        8 × 8 cells thresholds follow a sequence of low discrepancy (R2, Roberts 2018), which leaves a third less variance in
        the mean of a pixel's four samples than dice; blocks are shifted by dice, so that no pattern shows.
        """
        texels, share = self._fetch(face, self.coordinates(face, weights), area)
        alpha = (((texels >> 24) & 255) * share).sum(-1) * (1 / 255)
        x, y = self._cell(face, weights, area)
        threshold = (0.75487767 * x + 0.56984029 * y + _hash(x.int() >> 3, y.int() >> 3, face.int())) % 1.0
        low, high = ALPHA_RANGE
        return alpha > low + (high - low) * threshold

    def _cell(self, face: Tensor, weights: Tensor, area: Tensor) -> tuple[Tensor, Tensor]:
        """Column and row [n] of the cell in which a point lies. Cells are 0.8 to 1.2 samples wide: sizes go in half octaves, so
        that they are the same in frames that see the surface at about the same distance."""
        uv = self.coordinates(face, weights)
        layer = self.face_layer[face] * _LEVELS
        scale, stretch = self._scale(face, area), self.face_stretch[face]
        x = uv[:, 0] * self.width[layer] * torch.exp2(-0.5 * (2 * (scale + stretch)).round())
        y = uv[:, 1] * self.height[layer] * torch.exp2(-0.5 * (2 * (scale - stretch)).round())
        return x.floor(), y.floor()

    def _scale(self, face: Tensor, area: Tensor) -> Tensor:
        """Texture size [n] at which a texel is as large as a sample: 0 the full one, 1 half of it; negative: texels are larger."""
        return 0.5 * torch.log2((self.face_texels[face] / area.clamp(min=1e-6)).clamp(2.0**-8, 2.0**16))


def _hash(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Numbers in [0, 1) that look random [n], from integers int32 [n]; products wrap."""
    value = (x * 73856093) ^ (y * 19349663) ^ (z * 83492791)
    value = (value ^ ((value >> 15) & 0x1FFFF)) * 739982445
    value = (value ^ ((value >> 12) & 0xFFFFF)) * 695872825
    return ((value >> 8) & 0xFFFFFF).float() * 2.0**-24


@once_each
def _mip_maps(bank: TextureBank) -> tuple[Tensor, Tensor]:
    """Texels int32 [P] of all sizes of all textures, and their layout [L, levels, 3] as TextureBank's.

    Each size halves the one before. A texel is the mean of four, weighted by alpha, so that the color that pictures hide where
    they are transparent does not bleed in.
    All textures of a size are made at once; and kept, for a subject is drawn for its photo and for its views.
    """
    texels, layout = bank.texels.contiguous(), bank.layout
    sizes, layouts = [texels.view(torch.int32).view(-1)], [layout]
    used = len(texels)
    values = texels.float()
    for _ in range(_LEVELS - 1):
        half = (layout[:, 1:] // 2).clamp(min=1)
        count = half.prod(1)
        start = count.cumsum(0) - count
        # `values` holds one size alone, `texels` all of them.
        inside = torch.cat([layout[:, :1] - layout[:1, :1], layout[:, 1:]], dim=1)
        values = _halved(values, inside, half, start, torch.repeat_interleave(count))
        layout = torch.cat([(used + start)[:, None], half], dim=1)
        sizes.append((values + 0.5).to(torch.uint8).view(torch.int32).view(-1))
        layouts.append(layout)
        used += len(values)
    return torch.cat(sizes), torch.stack(layouts, dim=1)


@fused
def _halved(values: Tensor, layout: Tensor, half: Tensor, start: Tensor, owner: Tensor) -> Tensor:
    """Means of squares of texels [p, 4]. owner [p]: the texture of each; layout [L, 3]: where it is in `values`; half [L, 2]: its
    new height and width; start [L]: its first new texel."""
    rank = torch.arange(len(owner), device=owner.device) - start[owner]
    first, height, width = layout[owner].unbind(1)
    row = rank // half[owner, 1]
    x, y = 2 * (rank - row * half[owner, 1]), 2 * row
    right, below = torch.minimum(x + 1, width - 1), torch.minimum(y + 1, height - 1)
    corners = torch.stack([first + v * width + u for v in (y, below) for u in (x, right)], dim=1)
    part = values[corners]
    weight = part[..., 3:] + 1
    color = (part[..., :3] * weight).sum(1) / weight.sum(1)
    return torch.cat([color, part[..., 3:].mean(1)], dim=1)
