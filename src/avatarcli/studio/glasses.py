"""Glasses: frames of many shapes with clear or dark lenses, fitted to a person's eyes, nose and ears."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avatarcli.geometry.colors import Color, encoded
from avatarcli.studio.pack_head import PackHead
from avatarcli.studio.scene import BoundMesh, Material
from avatarcli.studio.skin import color_of
from avatarcli.studio.solids import Solid, directions_of, grid, sweep

_OUTLINE = 48  # points of a rim
# Name, exponent of the superellipse, height over width, how far the outer upper corner is raised, how much narrower
# the lower half is.
_SHAPES: tuple[tuple[str, float, float, float, float], ...] = (
    ("round", 2.0, 0.95, 0.0, 0.0), ("oval", 2.2, 0.68, 0.0, 0.0), ("rectangle", 4.5, 0.62, 0.02, 0.04),
    ("square", 3.6, 0.82, 0.02, 0.06), ("wayfarer", 3.4, 0.78, 0.08, 0.14), ("cat eye", 3.0, 0.7, 0.16, 0.16),
    ("aviator", 2.6, 0.86, 0.03, 0.2), ("half moon", 2.8, 0.48, 0.0, 0.1),
)  # fmt: skip
RIMS = ("full", "half", "none")
_FRAME_COLORS: tuple[Color, ...] = (
    (0.012, 0.012, 0.014), (0.03, 0.02, 0.015), (0.10, 0.045, 0.02), (0.35, 0.26, 0.13), (0.45, 0.45, 0.46), (0.16, 0.16, 0.17),
    (0.02, 0.04, 0.10), (0.25, 0.02, 0.03), (0.6, 0.58, 0.55), (0.45, 0.30, 0.25),
)  # fmt: skip
_CLEARANCE = 0.003  # metres between lenses and skin
_LENS_FROM_EYE = 0.012  # metres from the front of the eye to the lens
_TILT, _WRAP = math.radians(7), 1.6  # of the lenses: pantoscopic angle, and bow of the front in 1/m
_TEMPLE_AIR = 0.0015  # metres between temples and head
_EAR_HOOK = 0.03  # metres that temples bend down behind the ears


@dataclass(frozen=True)
class GlassesLook:
    """width: of a lens, metres; rim: thickness, metres; drop: of the lenses' middle below the eyes, metres; lens,
    opacity: linear color and opacity of the tint; mottled: how much the frame is tortoise shell.
    """

    shape: str
    rims: str
    width: float
    rim: float
    drop: float
    color: Color
    mottled: float
    lens: Color
    opacity: float
    seed: int


def draw_glasses(rng: np.random.Generator) -> GlassesLook:
    """Glasses at random, one pair in eight dark."""
    dark = rng.random() < 0.12
    color = np.array(_FRAME_COLORS[rng.integers(len(_FRAME_COLORS))]) * np.exp(rng.normal(0, 0.15, 3))
    tint = np.array([0.02, 0.02, 0.02]) if dark else np.array([0.5, 0.52, 0.5])
    tint = tint * np.exp(rng.normal(0, 0.25, 3))
    return GlassesLook(
        shape=_SHAPES[rng.integers(len(_SHAPES))][0],
        rims="full" if dark else str(rng.choice(RIMS, p=[0.8, 0.12, 0.08])),
        width=float(rng.uniform(0.046, 0.056)),
        rim=float(np.exp(rng.uniform(math.log(0.0007), math.log(0.0032)))),
        drop=float(rng.normal(0.003, 0.0015)),
        color=color_of(color),
        mottled=float(rng.uniform(0.3, 1)) if rng.random() < 0.2 else 0.0,
        lens=color_of(tint),
        opacity=float(rng.uniform(0.6, 0.92)) if dark else float(rng.uniform(0.02, 0.07)),
        seed=int(rng.integers(2**31)),
    )


def glasses_meshes(head: PackHead, look: GlassesLook, neutral: Tensor, joints: Tensor) -> list[BoundMesh]:
    """The frame and the lenses on a head [N, 3] at rest with joints [J, 3]."""
    face = neutral[head.rows("skin")].cpu()
    eyes = [joints[head.joint_names.index(name)].cpu() for name in ("eye_l", "eye_r")]
    front = float(neutral[head.rows("cornea_l"), 2].max())
    outline, height = _outline(look)
    half_pupils = float((eyes[0][0] - eyes[1][0]).abs()) / 2
    # The lenses' middles lie a little outside the pupils, and leave the nose its room.
    middle = max(half_pupils + 0.002, look.width / 2 + 0.008)
    level = float(eyes[0][1] + eyes[1][1]) / 2 - look.drop
    flat = outline * look.width / 2 + torch.tensor([middle, 0.0])
    plane = front + _LENS_FROM_EYE
    lens = _bent(flat, level, plane)
    forward = _needed_room(lens, face)
    rims = [lens + torch.tensor([0.0, 0.0, forward])]
    rims.append(rims[0] * torch.tensor([-1.0, 1.0, 1.0]))
    bars = [_rim(rim, look) for rim in rims]
    bars += [_bridge(rims[0], height * look.width / 2, face, look), *_temples(head, rims[0], face, look)]
    frame = Solid.joined([bar for bar in bars if bar is not None])
    glass = Solid.joined([_lens(rim) for rim in rims])
    tint = torch.tensor([*encoded(torch.tensor(look.lens)).tolist(), look.opacity])
    clear = (tint * 255).round().to(torch.uint8).expand(4, 4, 4).contiguous()
    return [
        frame.on_skull(head, neutral, Material.FRAME, _frame_texture(look)),
        glass.on_skull(head, neutral, Material.LENS, clear),
    ]


def _outline(look: GlassesLook) -> tuple[Tensor, float]:
    """A rim [k, 2] (outwards, up) for the left eye of half width 1, and its half height."""
    _, exponent, height, raised, narrow = next(shape for shape in _SHAPES if shape[0] == look.shape)
    angle = torch.arange(_OUTLINE) / _OUTLINE * 2 * math.pi
    x = angle.cos().sign() * angle.cos().abs() ** (2 / exponent)
    y = angle.sin().sign() * angle.sin().abs() ** (2 / exponent) * height
    below = (-y / height).clamp(min=0)
    x = x * (1 - narrow * below)
    y = y + raised * x.clamp(min=0) * (y / height + 0.4).clamp(min=0)
    return torch.stack([x, y], -1), height


def _bent(flat: Tensor, level: float, plane: float) -> Tensor:
    """Points [k, 2] of the front as points [k, 3]: leaning and wrapped around the face."""
    x, y = flat[:, 0], flat[:, 1]
    z = plane + y * math.tan(_TILT) - _WRAP * x.square()
    return torch.stack([x, y + level, z], -1)


def _needed_room(lens: Tensor, face: Tensor) -> float:
    """How far the front must move ahead so that cheeks, brows and lids stay behind the lenses."""
    inside = torch.cat([lens + (lens.mean(0) - lens) * share for share in (0.0, 0.35, 0.7)])
    away = torch.cdist(inside[:, :2], face[:, :2])
    # Of the skin within 5 mm of a point, seen from the front, the foremost counts; the nose is the bridge's business.
    ahead = torch.where((away < 0.005) & (face[:, 0].abs() > 0.012), face[:, 2], torch.tensor(-1.0)).amax(1)
    return max(float((ahead + _CLEARANCE - inside[:, 2]).max()), -0.004)


def _rim(rim: Tensor, look: GlassesLook) -> Solid | None:
    if look.rims == "none":
        return None
    if look.rims == "half":
        # The upper half only, from one side to the other.
        rim = rim[: _OUTLINE // 2 + 1]
    closed = look.rims == "full"
    along = directions_of(rim, closed=closed)
    outward = torch.linalg.cross(along, torch.tensor([0.0, 0.0, 1.0]).expand_as(along))
    depth = torch.tensor([0.0, 0.0, max(look.rim, 0.0016)]).expand_as(rim)
    return sweep(rim, outward * look.rim, depth, closed=closed)


def _bridge(rim: Tensor, half_height: float, face: Tensor, look: GlassesLook) -> Solid:
    """Over the nose, from rim to rim."""
    inner = rim[
        (rim[:, 1] > rim[:, 1].mean() + 0.15 * half_height) & (rim[:, 1] < rim[:, 1].mean() + 0.6 * half_height)
    ]
    inner = inner if len(inner) else rim
    start = inner[inner[:, 0].argmin()]
    share = torch.linspace(-1, 1, 13)
    x, y = share * start[0], start[1] + 0.0025 * (1 - share.square())
    # The nose's surface along the way.
    near = (face[:, 1] - start[1]).abs() < 0.006
    away = (face[near, 0] - x[:, None]).abs()
    nose = torch.where(away < 0.004, face[near, 2], torch.tensor(-1.0)).amax(1)
    z = torch.maximum(start[2] + 0.001 * (1 - share.square()), nose + 0.001 + look.rim)
    path = torch.stack([x, y, z], -1)
    along = directions_of(path, closed=False)
    up = torch.tensor([0.0, 1.0, 0.0]).expand_as(along)
    thick = max(look.rim, 0.0011)
    return sweep(path, up * thick * 1.2, torch.linalg.cross(along, up) * thick, closed=False)


def _temples(head: PackHead, rim: Tensor, face: Tensor, look: GlassesLook) -> list[Solid]:
    ears = head.in_regions("ear").cpu()
    mean = head.mean[head.rows("skin")].cpu()
    solids = []
    for side in (1.0, -1.0):
        # Where the upper rim of the ear leaves the head; chosen on the average head, so that it is the same place for all.
        candidates = (ears & (side * mean[:, 0] > 0)).nonzero()[:, 0]
        high = candidates[mean[candidates, 1] > mean[candidates, 1].max() - 0.016]
        root = face[high[(side * mean[high, 0]).argmin()]]
        hinge = rim[rim[:, 0].argmax()] * torch.tensor([side, 1.0, 1.0]) + torch.tensor([side * 0.002, 0.004, -0.002])
        over = torch.stack([side * root[0].abs(), root[1] + 0.003, root[2]])
        share = torch.linspace(0, 1, 14)[:, None]
        path = hinge + (over - hinge) * share
        path[:, 0] = side * torch.maximum(side * path[:, 0], _beside(path, face[~ears], side))
        hook = torch.linspace(0.15, 1, 6)[:, None]
        down = torch.cat([0 * hook, -_EAR_HOOK * hook**1.5, -0.009 * hook], dim=1)
        down[:, 0] = -side * 0.005 * hook[:, 0]
        path = torch.cat([path, path[-1] + down])
        along = directions_of(path, closed=False)
        outward = torch.tensor([side, 0.0, 0.0]).expand_as(along)
        thick = max(look.rim * 0.7, 0.0009)
        tall = max(look.rim * 1.3, 0.0012)
        solids.append(sweep(path, torch.linalg.cross(along, outward) * tall, outward * thick, closed=False))
    return solids


def _beside(path: Tensor, skin: Tensor, side: float) -> Tensor:
    """How far out [k] a temple must run so as not to cut into the head beside it."""
    near = ((skin[:, 1] - path[:, 1:2]).abs() < 0.009) & ((skin[:, 2] - path[:, 2:]).abs() < 0.012)
    return torch.where(near, side * skin[:, 0], torch.tensor(-1.0)).amax(1) + _TEMPLE_AIR


def _lens(rim: Tensor) -> Solid:
    """The glass inside a rim: rings that shrink towards the middle, bulging ahead."""
    middle = rim.mean(0)
    shares = torch.tensor([1.0, 0.6, 0.25, 0.001])
    rings = torch.stack([middle + (rim - middle) * share for share in shares])
    rings[..., 2] += 0.0015 * (1 - shares.square())[:, None]
    return grid(rings, closed=True)


def _frame_texture(look: GlassesLook) -> Tensor:
    """uint8 [64, 64, 4]: one color, or tortoise shell."""
    rng = np.random.default_rng(look.seed)
    base = torch.tensor(look.color).expand(64, 64, 3)
    spots = torch.from_numpy(rng.normal(size=(1, 1, 12, 12)).astype(np.float32))
    spots = torch.nn.functional.interpolate(spots, (64, 64), mode="bicubic", align_corners=False)[0, 0].sigmoid()
    shell = torch.tensor([0.30, 0.12, 0.03]) * spots[..., None] ** 2
    color = base * (1 - look.mottled) + shell * look.mottled
    alpha = torch.ones(64, 64, 1)
    return (torch.cat([encoded(color), alpha], -1) * 255).round().to(torch.uint8)
