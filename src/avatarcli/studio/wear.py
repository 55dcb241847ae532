"""Clothes: which of the pack's tops a person wears, and in what colours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.studio.assets import StudioAssets
from avatarcli.studio.binding import Wearable
from avatarcli.studio.scene import BoundMesh, Material
from avatarcli.studio.skin import Colour, colour_of
from avatarcli.studio.skin_sheets import encoded, linear

# Metres nearer to the camera than they are: tops lie close on the body, which would poke through.
_CLOTH_BIAS = 0.006
_FOLDS = 20  # texels: stripes are narrower, most folds wider
HATS = ("fedora", "fedora_cocked")
# Linear albedo of dyed cloth, from what people wear: mostly white, grey, black, navy, and some colours.
_CLOTH_COLOURS: tuple[Colour, ...] = (
    (0.75, 0.74, 0.72), (0.55, 0.54, 0.52), (0.30, 0.30, 0.31), (0.11, 0.11, 0.12), (0.025, 0.025, 0.028), (0.02, 0.03, 0.07),
    (0.05, 0.09, 0.22), (0.20, 0.30, 0.45), (0.33, 0.03, 0.035), (0.17, 0.02, 0.04), (0.05, 0.12, 0.06), (0.14, 0.16, 0.07),
    (0.45, 0.34, 0.20), (0.20, 0.12, 0.07), (0.55, 0.40, 0.05), (0.50, 0.24, 0.28), (0.22, 0.15, 0.32), (0.05, 0.25, 0.25),
    (0.60, 0.55, 0.42), (0.45, 0.13, 0.04),
)  # fmt: skip
PATTERNS = ("plain", "stripes", "checks", "dots", "mottled")


@dataclass(frozen=True)
class ClothesLook:
    """A top. keep: share of its own painted colours that shows; smooth: share of stripes
    and prints that is taken out of the rest; colour, second: linear, of the dye and of the pattern;
    pitch: repeats of the pattern over the texture; turn: its angle, radians; gloss: 1 is usual.
    """

    name: str
    keep: float
    smooth: float
    colour: Colour
    second: Colour
    pattern: str
    pitch: float
    turn: float
    gloss: float


def cloth_colour(rng: np.random.Generator) -> Colour:
    """A linear colour that cloth is dyed in."""
    usual = np.array(_CLOTH_COLOURS[rng.integers(len(_CLOTH_COLOURS))])
    return colour_of(np.clip(usual * np.exp(rng.normal(0, 0.15, 3)), 0.015, 0.85))


def draw_clothes(names: tuple[str, ...], rng: np.random.Generator, *, female: bool) -> ClothesLook:
    """Choose a top. names: the pack's garments; of those made for the other sex, few are taken."""
    tops = [name for name in names if name not in HATS]
    weights = np.array([1.0 if name.startswith("female") == female else 0.35 for name in tops])
    return ClothesLook(
        name=tops[rng.choice(len(tops), p=weights / weights.sum())],
        keep=float(rng.choice([0.0, 0.25, 1.0], p=[0.7, 0.15, 0.15])),
        smooth=float(rng.choice([0.0, 0.9], p=[0.25, 0.75])),
        colour=cloth_colour(rng),
        second=cloth_colour(rng),
        pattern=str(rng.choice(PATTERNS, p=[0.62, 0.14, 0.08, 0.06, 0.10])),
        pitch=float(np.exp(rng.uniform(np.log(12), np.log(60)))),
        turn=float(rng.choice([0.0, np.pi / 2]) + rng.normal(0, 0.03)),
        gloss=float(np.exp(rng.normal(-0.4, 0.5))),
    )


def clothes_mesh(assets: StudioAssets, look: ClothesLook, neutral: Tensor) -> BoundMesh:
    """The top on a head [N, 3] at rest."""
    garment = assets.wearables["clothes"][look.name]
    return garment.worn(neutral, Material.CLOTH, texture=_dyed(garment, look), depth_bias=_CLOTH_BIAS)


def _dyed(garment: Wearable, look: ClothesLook) -> Tensor:
    """The garment's folds in the colours of the look, uint8 [H, W, 4]; alpha is gloss (128 is usual)."""
    painted = linear(garment.texture[..., :3].float() / 255)
    grey = painted.mean(-1, keepdim=True)
    # Folds are what is darker than cloth usually is in this picture. Where stripes and prints are not kept they must go.
    coarse = functional.avg_pool2d(grey.permute(2, 0, 1)[None], _FOLDS, ceil_mode=True, count_include_pad=False)
    soft = functional.interpolate(coarse, grey.shape[:2], mode="bilinear", align_corners=False)[0].permute(1, 2, 0)
    folds = grey + (soft - grey) * look.smooth
    folds = (folds / folds.flatten().quantile(0.6)).clamp(0.25, 1.3)
    dye, second = (torch.tensor(c, device=painted.device) for c in (look.colour, look.second))
    share = _pattern(look, painted.shape[0], painted.shape[1], painted.device)[..., None]
    cloth = folds * (dye * (1 - share) + second * share)
    pixels = encoded(cloth * (1 - look.keep) + painted * look.keep) * 255
    alpha = torch.full_like(pixels[..., :1], min(max(128 * look.gloss, 8), 255))
    return torch.cat([pixels, alpha], dim=-1).round().to(torch.uint8)


def _pattern(look: ClothesLook, height: int, width: int, device: torch.device) -> Tensor:
    """Share [H, W] of the second colour."""
    rows = torch.arange(height, device=device)[:, None] / height
    columns = torch.arange(width, device=device)[None] / height
    cosine, sine = float(np.cos(look.turn)), float(np.sin(look.turn))
    along = (columns * cosine + rows * sine) * look.pitch * 2 * np.pi
    across = (rows * cosine - columns * sine) * look.pitch * 2 * np.pi
    if look.pattern == "stripes":
        return (along.sin() * 4).sigmoid()
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
