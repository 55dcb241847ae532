"""Shapes that glasses and hats are made of, and how they sit on a head: stiffly, on the skull."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.studio.pack_head import PackHead
from avatarcli.studio.scene import BoundMesh, Material


@dataclass(frozen=True)
class Solid:
    """points [n, 3] metres; faces [f, 3]; uv [n, 2]."""

    points: Tensor
    faces: Tensor
    uv: Tensor

    @classmethod
    def joined(cls, parts: list[Solid]) -> Solid:
        starts = [0]
        for part in parts:
            starts.append(starts[-1] + len(part.points))
        return cls(
            torch.cat([part.points for part in parts]),
            torch.cat([part.faces + start for part, start in zip(parts, starts, strict=False)]),
            torch.cat([part.uv for part in parts]),
        )

    def on_skull(
        self, head: PackHead, neutral: Tensor, material: Material, texture: Tensor, depth_bias: float = 0.0
    ) -> BoundMesh:
        """As a part of a head [N, 3] that no expression moves."""
        count = len(self.points)
        anchor = _stillest(head)
        index = torch.full((count, 3), anchor, device=neutral.device)
        weight = torch.tensor([1.0, 0.0, 0.0], device=neutral.device).expand(count, 3)
        skinning = torch.zeros(count, 5, device=neutral.device)
        skinning[:, 4] = 1
        return BoundMesh(
            material=material,
            bind_index=index,
            bind_weight=weight,
            offset=self.points.to(neutral) - neutral[anchor],
            skinning=skinning,
            faces=self.faces.to(neutral.device),
            uv=self.uv.to(neutral)[self.faces.to(neutral.device)],
            texture=texture.to(neutral.device),
            depth_bias=depth_bias,
        )


def sweep(path: Tensor, across: Tensor, ahead: Tensor, *, closed: bool) -> Solid:
    """A bar along a path [k, 3]: its cross-section is an ellipse with half axes `across` and `ahead` [k, 3] at each
    point.
    """
    count, sides = len(path), 8
    angle = torch.arange(sides) / sides * 2 * torch.pi
    ring = angle.cos()[:, None] * across[:, None] + angle.sin()[:, None] * ahead[:, None]
    points = (path[:, None] + ring).reshape(-1, 3)
    this = torch.arange(count if closed else count - 1)
    after = (this + 1) % count
    side, beside = torch.arange(sides), (torch.arange(sides) + 1) % sides
    a = this[:, None] * sides + side
    b = this[:, None] * sides + beside
    c = after[:, None] * sides + side
    d = after[:, None] * sides + beside
    faces = torch.cat([torch.stack([a, b, c], -1), torch.stack([b, d, c], -1)]).reshape(-1, 3)
    along = torch.arange(count)[:, None].expand(count, sides) / count
    around = torch.arange(sides)[None].expand(count, sides) / sides
    return Solid(points, faces, torch.stack([along, around], -1).reshape(-1, 2))


def grid(points: Tensor, *, closed: bool = False) -> Solid:
    """A sheet of points [rows, columns, 3]; `closed`: the last column joins the first."""
    rows, columns = points.shape[:2]
    row = torch.arange(rows - 1)[:, None]
    column = torch.arange(columns if closed else columns - 1)[None]
    a, b = row * columns + column, row * columns + (column + 1) % columns
    faces = torch.cat([torch.stack([a, b, a + columns], -1), torch.stack([b, b + columns, a + columns], -1)])
    v = torch.linspace(0, 1, rows)[:, None].expand(rows, columns)
    u = (torch.arange(columns) / columns)[None].expand(rows, columns)
    return Solid(points.reshape(-1, 3), faces.reshape(-1, 3), torch.stack([u, v], -1).reshape(-1, 2))


def directions_of(path: Tensor, *, closed: bool) -> Tensor:
    """Unit tangents [k, 3] of a path."""
    if closed:
        return functional.normalize(path.roll(-1, 0) - path.roll(1, 0), dim=-1)
    padded = torch.cat([path[:1], path, path[-1:]])
    return functional.normalize(padded[2:] - padded[:-2], dim=-1)


def _stillest(head: PackHead) -> int:
    """The scalp's vertex that expressions move least, of those equally still the first."""
    scalp = head.in_regions("scalp").nonzero()[:, 0]
    return int(scalp[head.expression_basis[:, scalp].square().sum((0, 2)).argmin()])
