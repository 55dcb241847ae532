"""Hats: knitted caps and baseball caps made to measure, the pack's own hats, and hair that makes room for them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.geometry.colors import Color, encoded
from avatarcli.studio.assets import StudioAssets
from avatarcli.studio.scene import BoundMesh, Material
from avatarcli.studio.solids import Solid, grid
from avatarcli.studio.wear import HATS, cloth_color

KINDS = ("beanie", "cap", *HATS)
_MIDDLE = torch.tensor([0.0, 0.02, -0.012])  # of the cranium: hats are measured from here
_COLUMNS, _ROWS = 64, 16
# Radians: the skull's vertices within this of a direction say how far out it reaches there.
_NEIGHBOURHOOD = 0.30
_FEDORA_RIM = 0.6  # of a fedora's vertices, those farther out than this quantile are its brim


@dataclass(frozen=True)
class HatLook:
    """front, back: heights of the rim on forehead and nape above the cranium's middle, metres; gap: between skull and
    hat, metres; slack: how much higher than the skull, metres; visor: its length, metres, and turn about the head,
    radians; ribs: of knitting.
    """

    kind: str
    color: Color
    second: Color
    front: float
    back: float
    gap: float
    slack: float
    visor: float
    turn: float
    ribs: int
    seed: int


def draw_hat(rng: np.random.Generator) -> HatLook:
    """A hat at random."""
    kind = str(rng.choice(KINDS, p=[0.42, 0.38, 0.1, 0.1]))
    beanie = kind == "beanie"
    return HatLook(
        kind=kind,
        color=cloth_color(rng),
        second=cloth_color(rng),
        front=float(rng.uniform(0.03, 0.055)),
        back=float(rng.uniform(-0.045, 0.0)) if beanie else float(rng.uniform(-0.015, 0.01)),
        gap=float(rng.uniform(0.006, 0.011)),
        slack=float(rng.exponential(0.018)) if beanie else float(rng.uniform(0.004, 0.02)),
        visor=float(rng.uniform(0.055, 0.075)),
        turn=math.pi if rng.random() < 0.12 else float(rng.normal(0, 0.08)),
        ribs=int(rng.integers(40, 110)),
        seed=int(rng.integers(2**31)),
    )


def hat_meshes(assets: StudioAssets, look: HatLook, neutral: Tensor) -> list[BoundMesh]:
    """The hat on a head [N, 3] at rest."""
    texture = _texture(look).to(neutral.device)
    if look.kind in HATS:
        return [assets.wearables["clothes"][look.kind].worn(neutral, Material.HAT, texture=texture)]
    head = assets.head
    skull = neutral[head.rows("skin")][head.in_regions("scalp", "face")].cpu()
    rim, rows = _dome(skull, look)
    parts = [grid(rows, closed=True)]
    if look.kind == "cap":
        parts.append(_visor(rim, look))
    return [Solid.joined(parts).on_skull(head, neutral, Material.HAT, texture)]


def make_room(hair: list[BoundMesh], hats: list[BoundMesh], look: HatLook, neutral: Tensor) -> list[BoundMesh]:
    """Hair without what is under a hat, or would stick out of it. neutral [N, 3]: the head at rest."""
    if look.kind in HATS:
        points = torch.cat([mesh.resting(neutral) for mesh in hats])
        plane = _brim_plane(points)
    else:
        # The rim's own plane, a little lower than its edge.
        plane = _rim_plane(look, neutral.device)
    kept = []
    for mesh in hair:
        points = mesh.resting(neutral)
        height = points @ plane[:3] - plane[3]
        under = height[mesh.faces].amax(1) > -0.002
        kept.append(replace(mesh, faces=mesh.faces[~under], uv=mesh.uv[~under]))
    return [mesh for mesh in kept if len(mesh.faces)]


def _rim_height(look: HatLook, ahead: Tensor) -> Tensor:
    """Height of the rim above the middle, by how far ahead (−1 to 1) a direction looks."""
    return 0.5 * (look.front + look.back) + 0.5 * (look.front - look.back) * ahead


def _rim_plane(look: HatLook, device: torch.device) -> Tensor:
    """(normal, distance) [4] of the plane of the rim; the normal points up."""
    slope = (look.front - look.back) / 2 / 0.1
    normal = functional.normalize(torch.tensor([0.0, 1.0, -slope]), dim=0)
    point = _MIDDLE + torch.tensor([0.0, 0.5 * (look.front + look.back), 0.0])
    return torch.cat([normal, (normal @ point)[None]]).to(device)


def _brim_plane(points: Tensor) -> Tensor:
    """(normal, distance) [4] of the plane that a hat's brim lies in."""
    away = points[:, [0, 2]] - points[:, [0, 2]].mean(0)
    brim = points[away.norm(dim=-1) > away.norm(dim=-1).quantile(_FEDORA_RIM)]
    middle = brim.mean(0)
    normal = torch.linalg.svd((brim - middle).cpu(), full_matrices=False).Vh[2].to(points.device)
    normal = normal * normal[1].sign()
    return torch.cat([normal, (normal @ middle - 0.008)[None]])


def _dome(skull: Tensor, look: HatLook) -> tuple[Tensor, Tensor]:
    """The rim [columns, 3], and the sheet [rows, columns, 3] from inside the rim to the top."""
    azimuth = torch.arange(_COLUMNS) / _COLUMNS * 2 * math.pi
    start = torch.atan2(_rim_height(look, azimuth.cos()), torch.tensor(0.095))
    share = torch.linspace(0, 1, _ROWS)[:, None]
    elevation = start + (math.pi / 2 - start) * share
    flat = elevation.cos()
    way = torch.stack([flat * azimuth.sin(), elevation.sin().expand_as(flat), flat * azimuth.cos()], -1)
    radius = _reach(skull, way.reshape(-1, 3)).view(_ROWS, _COLUMNS)
    # Wool and canvas do not follow every bump.
    radius = radius + look.gap + look.slack * elevation.sin().clamp(min=0) ** 2
    if look.kind == "beanie":
        # A turned-up cuff.
        radius = radius + 0.004 * ((0.24 - share) * 30).sigmoid()
    points = _MIDDLE + way * radius[..., None]
    inside = _MIDDLE + (points[0] - _MIDDLE) * 0.93
    return points[0], torch.cat([inside[None], points])


def _reach(skull: Tensor, way: Tensor) -> Tensor:
    """How far the skull [n, 3] reaches from the middle in directions [d, 3]: what lies near each direction, projected
    on it.
    """
    from_middle = skull - _MIDDLE
    distance = from_middle.norm(dim=-1)
    cosine = way @ functional.normalize(from_middle, dim=-1).T
    near = cosine > math.cos(_NEIGHBOURHOOD)
    projected = torch.where(near, cosine * distance, torch.tensor(0.0))
    return projected.amax(1)


def _visor(rim: Tensor, look: HatLook) -> Solid:
    """A stiff sheet ahead of the rim, bent downwards at its sides."""
    azimuth = torch.linspace(-0.95, 0.95, 25)
    column = (azimuth + look.turn) / (2 * math.pi) * _COLUMNS
    low = column.floor().long()
    blend = (column - low)[:, None]
    edge = rim[low % _COLUMNS] * (1 - blend) + rim[(low + 1) % _COLUMNS] * blend
    ahead = torch.tensor([math.sin(look.turn), -0.12, math.cos(look.turn)])
    length = look.visor * (azimuth / 0.95).cos().clamp(min=0) ** 0.5 * (1 - (azimuth / 0.95) ** 4)
    rows = []
    for share in torch.linspace(0, 1, 7):
        droop = torch.zeros(len(azimuth), 3)
        droop[:, 1] = -0.012 * share * (azimuth / 0.95) ** 2 * 2 - 0.004 * share**2
        rows.append(edge + ahead * (length * share)[:, None] + droop)
    top = torch.stack(rows)
    return Solid.joined([grid(top), grid((top - torch.tensor([0.0, 0.0025, 0.0])).flip(1))])


def _texture(look: HatLook) -> Tensor:
    """uint8 [256, 512, 4]: knitting in ribs, perhaps with bands, or plain cloth with seams; alpha is gloss."""
    rng = np.random.default_rng(look.seed)
    u = (torch.arange(512) + 0.5)[None] / 512
    v = (torch.arange(256) + 0.5)[:, None] / 256
    color = torch.tensor(look.color).expand(256, 512, 3)
    if look.kind == "beanie":
        if rng.random() < 0.4:
            bands = ((v * float(rng.uniform(8, 40))).sin() * 6).sigmoid()[..., None]
            color = color * (1 - bands) + torch.tensor(look.second) * bands
        shade = 0.75 + 0.25 * (u * look.ribs * 2 * math.pi).cos() + 0.06 * (v * 500).cos()
    else:
        seam = 1 - 0.35 * torch.exp(-(((u * 6) % 1 - 0.5).abs() * 60).square())
        grain = 1 + 0.05 * torch.from_numpy(rng.normal(size=(256, 512)).astype(np.float32))
        shade = seam * grain
    pixels = encoded(color * shade.expand(256, 512)[..., None].clamp(min=0.1)) * 255
    return torch.cat([pixels, torch.full((256, 512, 1), 60.0)], -1).round().to(torch.uint8)
