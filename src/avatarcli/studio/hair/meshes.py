"""From strands to triangles: cards, tubes and shells, and their binding to a person's head."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from avatarcli.studio.hair.guides import frames
from avatarcli.studio.hair.space import Binding, Floats, Grid, HeadSpace, Ints, smoothstep, square_to
from avatarcli.studio.scene import BoundMesh, Material


@dataclass(frozen=True)
class Piece:
    """A mesh on the average head. points [n, 3]; faces [f, 3]; uv [f, 3, 2]; root [n]: which root of `roots` carries a vertex;
    along [n]: metres from the root; occlusion [n]."""

    points: Floats
    faces: Ints
    uv: Floats
    root: Ints
    along: Floats
    occlusion: Floats


Part = tuple[Piece, Binding]
"""A piece and where its roots sit on the skin."""


@dataclass(frozen=True)
class Patch:
    """Where in a texture strands find their picture: left, right [N] and top, bottom (root, tip)."""

    left: Floats
    right: Floats
    top: float = 0.0
    bottom: float = 1.0


def cards(
    points: Floats, out: Floats, width: Floats, patch: Patch, occlusion: Floats, along: Floats, roll: Floats
) -> Piece:
    """Ribbons along strands [N, S, 3].

    out [N, S, 3]: where they face; width [N, S] metres; occlusion, along [N, S]; roll [N]: radians about the strand.
    """
    n, s = points.shape[:2]
    _, side, up = frames(points, out)
    side = side * np.cos(roll)[:, None, None] + up * np.sin(roll)[:, None, None]
    half = side * (width[..., None] / 2)
    vertices = np.stack([points - half, points + half], axis=2)  # [N, S, 2, 3]
    index = np.arange(n * s * 2).reshape(n, s, 2)
    a, b, c, d = index[:, :-1, 0], index[:, :-1, 1], index[:, 1:, 0], index[:, 1:, 1]
    faces = np.stack([np.stack([a, b, c], -1), np.stack([b, d, c], -1)], axis=2)
    v = np.linspace(patch.top, patch.bottom, s, dtype=np.float32)
    uv = np.empty((n, s, 2, 2), np.float32)
    uv[:, :, 0, 0], uv[:, :, 1, 0] = patch.left[:, None], patch.right[:, None]
    uv[..., 1] = v[None, :, None]
    faces = faces.reshape(-1, 3)
    return Piece(
        vertices.reshape(-1, 3).astype(np.float32),
        faces,
        uv.reshape(-1, 2)[faces],
        np.repeat(np.arange(n), s * 2),
        np.repeat(along.reshape(-1), 2),
        np.repeat(occlusion.reshape(-1), 2),
    )


def tubes(
    points: Floats,
    out: Floats,
    radius: Floats,
    patch: Patch,
    occlusion: Floats,
    along: Floats,
    *,
    sides: int,
    period: int,
    flatness: float = 1.0,
) -> Piece:
    """Closed tubes around strands [N, S, 3]; the texture repeats every `period` points; `flatness` < 1 flattens them
    along `out`.
    """
    n, s = points.shape[:2]
    _, side, up = frames(points, out)
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False, dtype=np.float32)
    ring = (
        np.cos(angle)[None, None, :, None] * side[:, :, None]
        + np.sin(angle)[None, None, :, None] * up[:, :, None] * flatness
    )
    vertices = points[:, :, None] + ring * radius[:, :, None, None]
    index = np.arange(n * s * sides).reshape(n, s, sides)
    after = np.roll(index, -1, axis=2)
    a, b, c, d = index[:, :-1], after[:, :-1], index[:, 1:], after[:, 1:]
    faces = np.stack([np.stack([a, c, b], -1), np.stack([b, c, d], -1)], axis=3).reshape(-1, 3)
    u0 = np.arange(sides, dtype=np.float32) / sides
    v0 = (np.arange(s - 1) % period).astype(np.float32) / period
    span = (patch.right - patch.left)[:, None, None]
    left = patch.left[:, None, None] + span * u0[None, None] + np.zeros((n, s - 1, sides), np.float32)
    right = left + span / sides
    top = patch.top + (patch.bottom - patch.top) * v0[None, :, None] + np.zeros_like(left)
    bottom = top + (patch.bottom - patch.top) / period
    corner = np.stack([np.stack(p, -1) for p in ((left, top), (right, top), (left, bottom), (right, bottom))], axis=3)
    uv = np.stack([corner[..., [0, 2, 1], :], corner[..., [1, 2, 3], :]], axis=3).reshape(-1, 3, 2)
    return Piece(
        vertices.reshape(-1, 3).astype(np.float32),
        faces,
        uv,
        np.repeat(np.arange(n), s * sides),
        np.repeat(along.reshape(-1), sides),
        np.repeat(occlusion.reshape(-1), sides),
    )


def shell(chart: Floats, points: Floats, occlusion: Floats, along: Floats, keep: Floats) -> Piece:
    """A closed-up grid [R, C] of points [R, C, 3] at chart coordinates [R, C, 2], wrapped around in C; `keep` [R, C] > 0 stays."""
    r, c = points.shape[:2]
    index = np.arange(r * c).reshape(r, c)
    after = np.roll(index, -1, axis=1)
    a, b, d, e = index[:-1], after[:-1], index[1:], after[1:]
    faces = np.stack([np.stack([a, d, b], -1), np.stack([b, d, e], -1)], axis=2).reshape(-1, 3)
    faces = faces[(keep.reshape(-1)[faces] > 0).any(1)]
    uv = np.stack([chart[..., 0] / 2 + 0.5, 0.5 - chart[..., 1] / 2], axis=-1).reshape(-1, 2)
    flat = index.reshape(-1)
    return Piece(points.reshape(-1, 3), faces, uv[faces], flat, along.reshape(-1), occlusion.reshape(-1))


def solid_core(centre: Floats, axis: Floats, radius: float, squash: float, patch: Patch) -> Piece:
    """Closed bodies [K] of solid hair inside buns, so that nothing shows through."""
    polar = np.linspace(0.02, np.pi - 0.02, 9, dtype=np.float32)
    points = centre[:, None] - axis[:, None] * (np.cos(polar) * radius * squash)[None, :, None]
    size = np.repeat((radius * np.sin(polar))[None], len(centre), axis=0).astype(np.float32)
    first, _ = square_to(axis)
    out = np.repeat(first[:, None], 9, axis=1)
    shade = np.full(size.shape, 0.4, np.float32)
    return tubes(
        points.astype(np.float32),
        out,
        size,
        patch,
        shade,
        np.full(size.shape, 0.03, np.float32),
        sides=12,
        period=8,
    )


def join(pieces: list[Piece], roots_before: list[int]) -> Piece:
    """Pieces as one; `roots_before`: where each piece's roots start among the joined roots."""
    start = np.cumsum([0] + [len(p.points) for p in pieces[:-1]])
    return Piece(
        np.concatenate([p.points for p in pieces]),
        np.concatenate([p.faces + s for p, s in zip(pieces, start, strict=True)]),
        np.concatenate([p.uv for p in pieces]),
        np.concatenate([p.root + r for p, r in zip(pieces, roots_before, strict=True)]),
        np.concatenate([p.along for p in pieces]),
        np.concatenate([p.occlusion for p in pieces]),
    )


@dataclass(frozen=True)
class Carrier:
    """Brings pieces from the average head to one person's.

    neutral [N, 3]: all rows of that person's head; mirrored: left and right of the piece are swapped.
    """

    space: HeadSpace
    neutral: Floats
    mirrored: bool = False

    @cached_property
    def _difference(self) -> Grid:
        """How this head differs [3] from the average one, around both; all meshes of a person ask for it."""
        return self.space.spread(self.neutral[: len(self.space.vertices)] - self.space.vertices)

    def bound(
        self, piece: Piece, roots: Binding, texture: Tensor, *, material: Material, depth_bias: float = 0.0
    ) -> BoundMesh:
        """The piece bound to the triangles of its roots.

        Near its root a strand keeps to the scalp exactly; further out it follows the smooth difference of the two heads. Skinning
        comes from the root, and from the body beside it where hair reaches the neck and the shoulders.
        """
        space = self.space
        if self.mirrored:
            piece, roots = space_mirrored(space, piece, roots)
        skin = self.neutral[: len(space.vertices)]
        difference = self._difference
        here = roots.of(space.vertices)
        there = roots.of(skin)
        slack = there - here - difference(here)
        fade = np.exp(-piece.along / 0.04)[:, None].astype(np.float32)
        points = piece.points + difference(piece.points) + slack[piece.root] * fade
        offset = points - there[piece.root]
        # From the neck's middle downwards hair lies on the body, and turns with it rather than with the head.
        body = (smoothstep(-0.03, -0.16, piece.points[:, 1]) * smoothstep(0.03, 0.10, piece.along))[:, None]
        skinning = roots.of(space.skinning)[piece.root]
        skinning = skinning * (1 - body) + space.chain(piece.points) * body
        return BoundMesh(
            material=material,
            bind_index=torch.from_numpy(np.ascontiguousarray(roots.index[piece.root])),
            bind_weight=torch.from_numpy(roots.weight[piece.root].astype(np.float32)),
            offset=torch.from_numpy(offset.astype(np.float32)),
            skinning=torch.from_numpy((skinning / skinning.sum(1, keepdims=True)).astype(np.float32)),
            faces=torch.from_numpy(piece.faces.astype(np.int64)),
            uv=torch.from_numpy(np.clip(piece.uv, 0, 1).astype(np.float32)),
            texture=texture,
            depth_bias=depth_bias,
            occlusion=torch.from_numpy(np.clip(piece.occlusion, 0, 1).astype(np.float32)),
        )


def space_mirrored(space: HeadSpace, piece: Piece, roots: Binding) -> tuple[Piece, Binding]:
    """A piece and its binding with left and right swapped."""
    flip = np.array([-1, 1, 1], np.float32)
    points = piece.points * flip
    swapped = Piece(points, piece.faces[:, ::-1], piece.uv[:, ::-1], piece.root, piece.along, piece.occlusion)
    return swapped, Binding(space.mirror[roots.index], roots.weight)
