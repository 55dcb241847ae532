"""Clothes: which of the pack's tops a person wears, and in what colors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.geometry.colors import encoded, linear
from avatarcli.geometry.mesh import vertex_normals
from avatarcli.studio.assets import StudioAssets
from avatarcli.studio.binding import Wearable
from avatarcli.studio.scene import BoundMesh, Material
from avatarcli.studio.skin import Color, color_of
from avatarcli.studio.suits import SUITS, Beneath, draw_beneath, parts

# Metres nearer to the camera than they are: tops lie close on the body, which would poke through.
_CLOTH_BIAS = 0.006
_FOLDS = 20  # texels: stripes are narrower, most folds wider
HATS = ("fedora", "fedora_cocked")
# Linear albedo of dyed cloth, from what people wear: mostly white, grey, black, navy, and some colors.
_CLOTH_COLORS: tuple[Color, ...] = (
    (0.75, 0.74, 0.72), (0.55, 0.54, 0.52), (0.30, 0.30, 0.31), (0.11, 0.11, 0.12), (0.025, 0.025, 0.028), (0.02, 0.03, 0.07),
    (0.05, 0.09, 0.22), (0.20, 0.30, 0.45), (0.33, 0.03, 0.035), (0.17, 0.02, 0.04), (0.05, 0.12, 0.06), (0.14, 0.16, 0.07),
    (0.45, 0.34, 0.20), (0.20, 0.12, 0.07), (0.55, 0.40, 0.05), (0.50, 0.24, 0.28), (0.22, 0.15, 0.32), (0.05, 0.25, 0.25),
    (0.60, 0.55, 0.42), (0.45, 0.13, 0.04),
)  # fmt: skip
# Linear albedo of suits: black, charcoal, navy, grey and brown; and of the brighter jackets that some women wear.
_SUIT_COLORS: tuple[Color, ...] = (
    (0.012, 0.012, 0.013), (0.018, 0.018, 0.02), (0.03, 0.03, 0.032), (0.012, 0.016, 0.035), (0.016, 0.024, 0.06),
    (0.02, 0.03, 0.05), (0.055, 0.055, 0.06), (0.13, 0.13, 0.14), (0.05, 0.036, 0.026),
)  # fmt: skip
_BRIGHT_JACKETS: tuple[Color, ...] = ((0.30, 0.02, 0.03), (0.03, 0.09, 0.30), (0.60, 0.58, 0.54), (0.18, 0.03, 0.10))
# How many men and women in a thousand show their shoulders, wear a neckline cut low, or a collar up to the chin.
_BARE, _LOW, _HIGH = {False: 50, True: 110}, {False: 90, True: 220}, {False: 80, True: 80}
_NAKED = -1.0  # metres: a neckline below all of the bust
_COLLAR_GAP = 0.005  # metres between neck and collar
_COLLAR_REACH, _COLLAR_WIDTH = -0.24, 0.115  # metres: how far down and aside a collar goes on under the top
_TUCKED = 0.012  # metres: skin so far below a neckline is covered
PATTERNS = ("plain", "stripes", "checks", "dots", "mottled", "pinstripes")


@dataclass(frozen=True)
class Neckline:
    """Where a top ends on the average head. front, back: height at the middle, metres; rise: how much higher, metres, it gets
    0.1 m aside; point: 1 for a V, 2 and more for rounder ones."""

    front: float
    back: float
    rise: float
    point: float

    def above(self, points: Tensor) -> Tensor:
        """Metres [...] that points [..., 3] of the average head lie above the line."""
        ahead = ((points[..., 2] + 0.04) / 0.03).sigmoid()
        aside = (points[..., 0].abs() / 0.1) ** self.point
        return points[..., 1] - (self.back + (self.front - self.back) * ahead + self.rise * aside)


@dataclass(frozen=True)
class ClothesLook:
    """A top. keep: share of its own painted colors that shows; smooth: share of stripes
    and prints that is taken out of the rest; color, second: linear, of the dye and of the pattern;
    pitch: repeats of the pattern over the texture; turn: its angle, radians; gloss: 1 is usual; neckline: where it is cut off
    (None: as made); collar: height of a collar about the neck, metres on the average head, or None; beneath: what is worn under
    a jacket (None: all of the top is of the one cloth).
    """

    name: str
    keep: float
    smooth: float
    color: Color
    second: Color
    pattern: str
    pitch: float
    turn: float
    gloss: float
    neckline: Neckline | None = None
    collar: float | None = None
    beneath: Beneath | None = None


def cloth_color(rng: np.random.Generator) -> Color:
    """A linear color that cloth is dyed in."""
    usual = np.array(_CLOTH_COLORS[rng.integers(len(_CLOTH_COLORS))])
    return color_of(np.clip(usual * np.exp(rng.normal(0, 0.15, 3)), 0.015, 0.85))


def draw_clothes(names: tuple[str, ...], rng: np.random.Generator, *, female: bool) -> ClothesLook:
    """Choose a top. names: the pack's garments; of those made for the other sex, few are taken."""
    tops = [name for name in names if name not in HATS]
    weights = np.array([1.0 if name.startswith("female") == female else 0.35 for name in tops])
    look = ClothesLook(
        name=tops[rng.choice(len(tops), p=weights / weights.sum())],
        keep=float(rng.choice([0.0, 0.25, 1.0], p=[0.7, 0.15, 0.15])),
        smooth=float(rng.choice([0.0, 0.9], p=[0.25, 0.75])),
        color=cloth_color(rng),
        second=cloth_color(rng),
        pattern=str(rng.choice(PATTERNS[:5], p=[0.62, 0.14, 0.08, 0.06, 0.10])),
        pitch=float(np.exp(rng.uniform(np.log(12), np.log(60)))),
        turn=float(rng.choice([0.0, np.pi / 2]) + rng.normal(0, 0.03)),
        gloss=float(np.exp(rng.normal(-0.4, 0.5))),
    )
    return replace(look, **_draw_neck(rng, female=female))


def draw_suit(names: tuple[str, ...], rng: np.random.Generator, *, female: bool) -> ClothesLook | None:
    """A jacket over a shirt or a blouse, as officials wear it, or None if the pack has none. names: the pack's garments."""
    shares = {name: share for name, share in SUITS[female].items() if name in names}
    if not shares:
        return None
    weights = np.array(list(shares.values()))
    name = list(shares)[rng.choice(len(shares), p=weights / weights.sum())]
    colors = _SUIT_COLORS + (_BRIGHT_JACKETS if female else ())
    color = np.array(colors[rng.integers(len(colors))]) * np.exp(rng.normal(0, 0.25) + rng.normal(0, 0.08, 3))
    return ClothesLook(
        name=name,
        keep=0.0,
        smooth=float(rng.uniform(0.9, 1.0)),
        color=color_of(np.clip(color, 0.006, 0.85)),
        second=color_of(np.clip(color * rng.uniform(1.2, 1.7) + 0.006, 0.006, 0.85)),
        pattern=str(rng.choice(["plain", "pinstripes"], p=[0.88, 0.12])),
        pitch=float(rng.uniform(45, 90)),
        turn=float(rng.normal(0, 0.02)),
        gloss=float(np.exp(rng.normal(-0.9, 0.4))),
        beneath=draw_beneath(rng, female=female),
    )


def _draw_neck(rng: np.random.Generator, *, female: bool) -> dict[str, Any]:
    """A neckline or a collar, as fields of ClothesLook."""
    kind = int(rng.integers(1000))
    low, rise, point = rng.uniform(-0.235, -0.18), rng.uniform(0.07, 0.12), rng.choice([1.0, 2.0, 3.0])
    bare, chin = rng.uniform(-0.25, -0.215), rng.uniform(-0.12, -0.09)
    if kind < _BARE[female]:
        line = (
            Neckline(bare, bare + rng.uniform(-0.02, 0.01), 0.0, 2.0) if female else Neckline(_NAKED, _NAKED, 0.0, 2.0)
        )
        return {"neckline": line}
    if kind < _BARE[female] + _LOW[female]:
        return {"neckline": Neckline(float(low), float(rng.uniform(-0.2, -0.13)), float(rise), float(point))}
    if kind < _BARE[female] + _LOW[female] + _HIGH[female]:
        return {"collar": float(chin)}
    return {}


def clothes_meshes(assets: StudioAssets, look: ClothesLook, neutral: Tensor) -> list[BoundMesh]:
    """The top on a head [N, 3] at rest, and its collar."""
    garment = assets.wearables["clothes"][look.name]
    top = garment.worn(neutral, Material.CLOTH, texture=_dyed(garment, look), depth_bias=_CLOTH_BIAS)
    if look.neckline is not None:
        top = _cut(top, look.neckline.above(top.resting(assets.head.mean)))
    parts = [top] if len(top.faces) else []
    return parts if look.collar is None else [*parts, _collar(assets, look, neutral)]


def covered_skin(assets: StudioAssets, look: ClothesLook) -> Tensor:
    """Quads of the skin [q] bool that a top hides."""
    hidden = assets.wearables["clothes"][look.name].hidden_quads
    if look.neckline is None:
        return hidden
    drawn = assets.head.drawn
    shown = (look.neckline.above(drawn.mean) > -_TUCKED)[drawn.faces].any(1)
    # Faces that are not of the skin have numbers beyond its quads.
    bare = torch.zeros(int(drawn.quad.max()) + 1, dtype=torch.bool, device=hidden.device)
    bare[drawn.quad[shown]] = True
    return hidden & ~bare[: len(hidden)]


def _cut(mesh: BoundMesh, above: Tensor) -> BoundMesh:
    """A mesh without what lies above a line; faces that cross it end there. above [n]: metres of each vertex."""
    kept = (above <= 0)[mesh.faces].any(1)
    lowered = mesh.offset.clone()
    lowered[:, 1] -= above.clamp(min=0)
    return replace(mesh, offset=lowered, faces=mesh.faces[kept], uv=mesh.uv[kept])


def _collar(assets: StudioAssets, look: ClothesLook, neutral: Tensor) -> BoundMesh:
    """A knitted collar that stands around the neck, in the top's color."""
    assert look.collar is not None
    head = assets.head
    rows = head.rows("skin")
    mean, skin = head.mean[rows], neutral[rows]
    above = mean[:, 1] - (look.collar - 0.25 * mean[:, 2].clamp(min=-0.05))
    wanted = (
        head.in_regions("neck", "torso", "face") & (mean[:, 1] > _COLLAR_REACH) & (mean[:, 0].abs() < _COLLAR_WIDTH)
    )
    faces = head.skin_faces[wanted[head.skin_faces].all(1)]
    normal = vertex_normals(skin[None], head.skin_faces)[0]
    index = torch.arange(len(skin), device=skin.device)[:, None].expand(-1, 3)
    weight = torch.tensor([1.0, 0.0, 0.0], device=skin.device).expand(len(skin), 3)
    pixels = torch.tensor([[[*look.color, 0.0]]], device=skin.device)
    texture = (encoded(pixels) * 255).round().to(torch.uint8).expand(4, 4, 4).clone()
    texture[..., 3] = 60
    collar = BoundMesh(
        material=Material.CLOTH,
        bind_index=index,
        bind_weight=weight,
        offset=normal * _COLLAR_GAP,
        skinning=head.skinning[rows],
        faces=faces,
        uv=torch.full((len(faces), 3, 2), 0.5, device=skin.device),
        texture=texture,
        depth_bias=_CLOTH_BIAS,
    )
    return _cut(collar, above)


def _dyed(garment: Wearable, look: ClothesLook) -> Tensor:
    """The garment's folds in the colors of the look, uint8 [H, W, 4]; alpha is gloss (128 is usual)."""
    painted = linear(garment.texture[..., :3].float() / 255)
    grey = painted.mean(-1, keepdim=True)
    # Folds are what is darker than cloth usually is in this picture. Where stripes and prints are not kept they must go.
    coarse = functional.avg_pool2d(grey.permute(2, 0, 1)[None], _FOLDS, ceil_mode=True, count_include_pad=False)
    soft = functional.interpolate(coarse, grey.shape[:2], mode="bilinear", align_corners=False)[0].permute(1, 2, 0)
    folds = grey + (soft - grey) * look.smooth
    folds = (folds / folds.flatten().quantile(0.6)).clamp(0.25, 1.3)
    dye, second = (torch.tensor(c, device=painted.device) for c in (look.color, look.second))
    share = _pattern(look, painted.shape[0], painted.shape[1], painted.device)[..., None]
    cloth = folds * (dye * (1 - share) + second * share)
    if look.beneath is not None:
        cloth = _over(cloth, grey, look.name, look.beneath)
    pixels = encoded(cloth * (1 - look.keep) + painted * look.keep) * 255
    alpha = torch.full_like(pixels[..., :1], min(max(128 * look.gloss, 8), 255))
    return torch.cat([pixels, alpha], dim=-1).round().to(torch.uint8)


def _over(jacket: Tensor, painted: Tensor, name: str, beneath: Beneath) -> Tensor:
    """A jacket's colors [H, W, 3] with shirt and tie where they are seen. painted [H, W, 1]: how light the pack's picture is."""
    height, width = painted.shape[:2]
    shirt, tie = (part.to(painted.device)[..., None] for part in parts(name, height, width))
    crease = (painted / painted[shirt].quantile(0.8).clamp(min=1e-3)).clamp(0.6, 1.1) if shirt.any() else painted
    color, knot, stripe = (torch.tensor(c, device=painted.device) for c in (beneath.shirt, beneath.tie, beneath.stripe))
    rows = torch.arange(height, device=painted.device)[:, None] / height
    columns = torch.arange(width, device=painted.device)[None] / height
    wave = ((rows + 0.5 * columns) * beneath.pitch * 2 * np.pi).sin()[..., None]
    striped = (knot + (stripe - knot) * ((wave - 0.3) * 6).sigmoid()).float()
    return torch.where(tie, striped, torch.where(shirt, crease * color, jacket))


def _pattern(look: ClothesLook, height: int, width: int, device: torch.device) -> Tensor:
    """Share [H, W] of the second color."""
    rows = torch.arange(height, device=device)[:, None] / height
    columns = torch.arange(width, device=device)[None] / height
    cosine, sine = float(np.cos(look.turn)), float(np.sin(look.turn))
    along = (columns * cosine + rows * sine) * look.pitch * 2 * np.pi
    across = (rows * cosine - columns * sine) * look.pitch * 2 * np.pi
    if look.pattern == "stripes":
        return (along.sin() * 4).sigmoid()
    if look.pattern == "pinstripes":
        return ((along.sin() - 0.93) * 25).sigmoid()
    if look.pattern == "checks":
        return 0.5 * (along.sin() * 4).sigmoid() + 0.5 * (across.sin() * 4).sigmoid()
    if look.pattern == "dots":
        return ((along.sin() * across.sin() - 0.5) * 12).sigmoid()
    if look.pattern == "mottled":
        wave = (
            (along * 0.31).sin()
            + (across * 0.37).sin()
            + ((along + across) * 0.71).sin()
            + (along * 1.7 - across).sin()
        )
        return 0.5 + 0.15 * wave
    return torch.zeros_like(along)
