"""Skin: what a person's looks like, chosen by chance, and its texture, baked from two of the pack's skins.

Skins are blended and colored in the logarithm of their albedo, where pigments add up (Beer and Lambert's law):
mixtures of a light and a dark skin are then browns rather than greys, and one person's freckles fit another's tone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avatarcli.caching import once_each
from avatarcli.geometry.colors import Color as Color  # clothes take it from here, with `color_of`
from avatarcli.geometry.colors import encoded, linear
from avatarcli.studio.assets import StudioAssets
from avatarcli.studio.skin_sheets import DARKEST, HELD_OUT_SKINS, SkinAtlas, SkinSheet

# Linear albedo of faces, evenly from the palest to the darkest: from published reflectance of skin (Cooksey and others, NIST 2017),
# rounded.
_TONES: tuple[Color, ...] = (
    (0.66, 0.46, 0.37), (0.60, 0.39, 0.29), (0.50, 0.31, 0.215), (0.36, 0.205, 0.13), (0.21, 0.115, 0.073), (0.10, 0.058, 0.041),
)  # fmt: skip
# The pack's light skins are about this far down the row above, its dark ones about that far.
_LIGHT_TONE, _DARK_TONE = 0.25, 0.85
# Logarithm by which details may be brighter than the face: highlights are painted into dark skins, and lips too pink.
_BRIGHTEST = 0.35
# Mouth and eye sockets show flesh, whatever the skin's tone: linear albedo.
_FLESH = {"mouth_cavity": (0.36, 0.11, 0.09), "eye_socket": (0.5, 0.24, 0.19)}
# Where make-up and blood show, as (x, y, z, radius) in metres on the average head.
_CHEEKS = ((0.042, -0.028, 0.075, 0.02), (-0.042, -0.028, 0.075, 0.02))
_NOSE = ((0.0, -0.025, 0.105, 0.014),)
_FRECKLED = (
    (0.03, -0.02, 0.08, 0.028), (-0.03, -0.02, 0.08, 0.028), (0.0, -0.01, 0.1, 0.02), (0.0, 0.045, 0.085, 0.035),
)  # fmt: skip


@dataclass(frozen=True)
class MakeUp:
    """Colors are linear, strengths in [0, 1]."""

    lips: Color
    lip_strength: float
    lip_gloss: float
    shadow: Color
    shadow_strength: float
    liner: float
    blush: float


@dataclass(frozen=True)
class SkinLook:
    """One person's skin.

    first, second: names of the pack's skins, and the share of the second; tone: linear albedo of the face; contrast:
    of the details against it; gloss: 1 is usual; redness of cheeks and nose, blotches, freckles, stubble: strengths in
    [0, 1]; freckle_size; moles: how many; hair: linear color of stubble and of roots on the scalp; place: where noise
    is read.
    """

    first: str
    second: str
    share: float
    tone: Color
    contrast: float
    gloss: float
    redness: float
    blotches: float
    freckles: float
    freckle_size: float
    moles: int
    stubble: float
    hair: Color
    makeup: MakeUp | None
    place: tuple[int, int]


def tone_at(darkness: float) -> np.ndarray:
    """Linear albedo [3] of a face, from the palest (0) to the darkest (1)."""
    position = np.linspace(0, 1, len(_TONES))
    logs = np.log(np.array(_TONES))
    return np.exp([np.interp(darkness, position, logs[:, channel]) for channel in range(3)])


def draw_skin(
    names: tuple[str, ...],
    rng: np.random.Generator,
    *,
    split: str,
    years: float,
    female: bool,
    darkness: float,
    hair: Color,
    stubble: float,
) -> SkinLook:
    """Choose a skin.

    names: the pack's; darkness in [0, 1]: of its tone; hair: linear color of the roots; stubble in [0, 1].
    """
    allowed = [name for name in names if (name in HELD_OUT_SKINS) == (split == "held_out")]
    dark = float(np.clip((darkness - _LIGHT_TONE) / (_DARK_TONE - _LIGHT_TONE) + rng.normal(0, 0.1), 0, 1))
    classes = ("light", "dark") if 0 < dark < 1 else (("light",) * 2 if dark == 0 else ("dark",) * 2)
    first, second = (_pick(allowed, rng, years, female, tone) for tone in classes)
    share = dark if classes[0] != classes[1] else float(rng.uniform(0, 1) * (rng.random() < 0.6))
    tone = tone_at(darkness) * np.exp(rng.normal(0, 0.05)) * np.exp(rng.normal(0, (0.03, 0.02, 0.05)))
    fair = float(np.clip(1.2 - 2 * darkness, 0, 1))
    freckles = float(rng.beta(1, 1.5)) if rng.random() < 0.1 + 0.3 * fair else 0.0
    age = float(np.clip((years - 20) / 60, 0, 1))
    return SkinLook(
        first=first,
        second=second,
        share=share,
        tone=color_of(np.clip(tone, 0.02, 0.8)),
        contrast=float(rng.uniform(0.75, 1.1) + 0.25 * age * rng.random()),
        gloss=float(np.exp(rng.normal(0, 0.35))),
        redness=float(rng.beta(1.5, 3)) * (0.4 + 0.6 * fair),
        blotches=float(rng.uniform(0, 0.5) + 0.5 * age * rng.random()),
        freckles=freckles * (0.4 + 0.6 * fair),
        freckle_size=float(rng.uniform(0, 1)),
        moles=int(rng.poisson(2.0 + 3 * age)) if rng.random() < 0.7 else 0,
        stubble=stubble,
        hair=hair,
        makeup=_draw_makeup(rng, tone) if female and rng.random() < 0.55 else None,
        place=(int(rng.integers(2**15)), int(rng.integers(2**15))),
    )


def _pick(names: list[str], rng: np.random.Generator, years: float, female: bool, tone: str) -> str:
    """A skin of a tone, as near as there is in age and sex."""
    age = {"young": 27.0, "middleage": 48.0, "old": 72.0}

    def cost(name: str) -> float:
        stage, shade, sex = name.split("_")
        wrong_sex = sex.startswith("female") != female and not sex.startswith("any")
        return 1000.0 * (shade != tone) + abs(age[stage] - years) + 18.0 * wrong_sex + float(rng.exponential(9.0))

    return min(names, key=cost)


def _draw_makeup(rng: np.random.Generator, tone: np.ndarray) -> MakeUp:
    reds = (
        (0.42, 0.05, 0.06),
        (0.5, 0.12, 0.13),
        (0.25, 0.02, 0.05),
        (0.45, 0.15, 0.1),
        (0.3, 0.1, 0.08),
        (0.5, 0.08, 0.2),
    )
    shades = (
        (0.08, 0.05, 0.04),
        (0.2, 0.1, 0.08),
        (0.05, 0.05, 0.06),
        (0.25, 0.15, 0.2),
        (0.08, 0.1, 0.2),
        (0.3, 0.2, 0.12),
    )
    depth = 0.25 + 0.9 * float(tone.mean()) / 0.5
    return MakeUp(
        lips=color_of(np.array(reds[rng.integers(len(reds))]) * depth * np.exp(rng.normal(0, 0.15, 3))),
        lip_strength=float(rng.beta(1.5, 1.5)) if rng.random() < 0.8 else 0.0,
        lip_gloss=float(rng.uniform(0, 1)),
        shadow=color_of(np.array(shades[rng.integers(len(shades))]) * np.exp(rng.normal(0, 0.2, 3))),
        shadow_strength=float(rng.beta(1.2, 2.0)) if rng.random() < 0.6 else 0.0,
        liner=float(rng.uniform(0.3, 1)) if rng.random() < 0.5 else 0.0,
        blush=float(rng.beta(1.3, 2.5)),
    )


def bake_skin(assets: StudioAssets, look: SkinLook, dye: Tensor | None = None) -> Tensor:
    """The texture uint8 [H, W, 4] of a skin, on the device of the assets; alpha is its gloss (128 is usual).

    dye [h, w] in [0, 1], at the atlas' texels: how much of the scalp shows roots of hair.
    """
    atlas = assets.atlas
    relative = _blend(assets, look)
    fine, speckle, blotch = (_rolled(noise, look.place, step) for step, noise in enumerate(atlas.noise))
    bald = atlas.covered
    bare = sum(w * _wide(s.bare, atlas) for w, s in _sources(assets, look))
    relative = relative + (bare + 0.025 * fine + 0.02 * blotch - relative) * bald
    tone = torch.tensor(look.tone, device=relative.device).log()[:, None, None]
    color = tone + look.contrast * relative
    # Blood under the skin takes away green and blue; melanin takes away blue most.
    blood = torch.tensor([0.0, 0.35, 0.3], device=relative.device)[:, None, None]
    melanin = torch.tensor([0.45, 0.75, 0.95], device=relative.device)[:, None, None]
    red = look.redness * (_spots(atlas, _CHEEKS) + _spots(atlas, _NOSE)) + 0.12 * look.blotches * blotch
    if look.makeup is not None:
        red = red + 1.2 * look.makeup.blush * _spots(atlas, _CHEEKS)
    color = color - blood * red
    if look.freckles > 0:
        grain = speckle * (1 - look.freckle_size * 0.5) + 0.5 * look.freckle_size * blotch
        spots = ((grain - 1.4) * 1.8).clamp(0, 1) * (0.1 + _spots(atlas, _FRECKLED)).clamp(max=1)
        color = color - melanin * look.freckles * spots
    if look.moles > 0:
        color = color - 1.3 * melanin * _moles(atlas, look)
    light = color.exp()
    for name, flesh in _FLESH.items():
        inside = _where(atlas, assets.head.region_names.index(name))
        base = torch.tensor(flesh, device=light.device)[:, None, None]
        grey = (0.6 * relative.mean(0, keepdim=True)).exp()
        light = light + (base * grey.clamp(max=1.4) - light) * inside
    light = _hairy(atlas, light, look, dye, fine)
    gloss = look.gloss * (1 + 0.35 * _spots(atlas, _NOSE) + 0.2 * _spots(atlas, _FRECKLED[3:]))
    if look.makeup is not None:
        light, gloss = _made_up(assets, light, gloss, look.makeup)
    alpha = (128 * gloss).clamp(8, 255)
    return torch.cat([encoded(light) * 255, alpha[None]]).permute(1, 2, 0).round().to(torch.uint8).contiguous()


def _sources(assets: StudioAssets, look: SkinLook) -> tuple[tuple[float, SkinSheet], ...]:
    pair = ((1 - look.share, assets.skins[look.first]), (look.share, assets.skins[look.second]))
    return tuple((weight, sheet) for weight, sheet in pair if weight > 0)


def _blend(assets: StudioAssets, look: SkinLook) -> Tensor:
    """Logarithm of the blended albedo relative to the tones [3, H, W]."""
    table = linear(torch.arange(256, device=assets.teeth.device) / 255).clamp(min=DARKEST).log()
    total: Tensor | None = None
    for weight, sheet in _sources(assets, look):
        part = weight * (table[sheet.albedo.long()] - sheet.tone).clamp(max=_BRIGHTEST)
        total = part if total is None else total + part
    assert total is not None
    return total.permute(2, 0, 1)


def _wide(small: Tensor, atlas: SkinAtlas) -> Tensor:
    return torch.nn.functional.interpolate(small[None], atlas.size, mode="bilinear", align_corners=False)[0]


def _rolled(noise: Tensor, place: tuple[int, int], step: int) -> Tensor:
    return noise.roll((place[0] * (step + 1), place[1] * (step + 2)), dims=(0, 1))


@once_each
def _spots(atlas: SkinAtlas, places: tuple[tuple[float, float, float, float], ...]) -> Tensor:
    """Soft spots [H, W] in [0, 1] around places (x, y, z, radius) on the average head."""
    total = torch.zeros(atlas.region.shape, device=atlas.region.device)
    for x, y, z, radius in places:
        centre = torch.tensor([x, y, z], device=total.device)
        total = total + torch.exp(-0.5 * ((atlas.position - centre) / radius).square().sum(-1))
    return atlas.spread(total.clamp(max=1))


@once_each
def _where(atlas: SkinAtlas, region: int) -> Tensor:
    """How far texels [H, W] lie in a region, in [0, 1]."""
    return atlas.spread((atlas.region == region).float())


def _moles(atlas: SkinAtlas, look: SkinLook) -> Tensor:
    """A few dark spots [H, W] on face and neck."""
    rng = np.random.default_rng(look.place)
    height, width = atlas.size
    mask = torch.zeros(height, width, device=atlas.region.device)
    for _ in range(look.moles):
        # The face and neck take the middle of the textures' upper half.
        row, column = rng.uniform(0.2, 0.5) * height, rng.uniform(0.27, 0.73) * width
        radius = float(rng.uniform(0.8, 2.2)) * height / 1280
        reach = math.ceil(3 * radius) + 1
        rows = torch.arange(int(row) - reach, int(row) + reach + 1, device=mask.device)[:, None]
        columns = torch.arange(int(column) - reach, int(column) + reach + 1, device=mask.device)[None]
        away = ((rows - row) ** 2 + (columns - column) ** 2).sqrt()
        mask[rows % height, columns % width] += (radius + 0.5 - away).clamp(0, 1) * float(rng.uniform(0.4, 1))
    return mask.clamp(max=1)


def _hairy(atlas: SkinAtlas, light: Tensor, look: SkinLook, dye: Tensor | None, fine: Tensor) -> Tensor:
    """Roots of hair in the skin: stubble, and the scalp below thin or shaved hair."""
    hair = torch.tensor(look.hair, device=light.device)[:, None, None]
    density = look.stubble * atlas.beard
    if dye is not None:
        density = torch.maximum(density, atlas.spread(dye))
    share = (density * (0.62 + 0.16 * fine)).clamp(0, 0.92)
    return light * (1 - share) + (light * 0.22 + hair.clamp(max=0.25) * 0.45) * share


def _made_up(assets: StudioAssets, light: Tensor, gloss: Tensor, makeup: MakeUp) -> tuple[Tensor, Tensor]:
    atlas, names = assets.atlas, assets.head.region_names
    lips, lids = _where(atlas, names.index("lip")), _where(atlas, names.index("eyelid"))
    grey = light.mean(0, keepdim=True)
    usual = (grey * lips).sum() / lips.sum().clamp(min=1e-3)
    shading = (grey / usual.clamp(min=1e-3)).clamp(0.4, 1.6)
    paint = torch.tensor(makeup.lips, device=light.device)[:, None, None] * shading
    light = light + (paint - light) * (0.85 * makeup.lip_strength * lips)
    shadow = torch.tensor(makeup.shadow, device=light.device)[:, None, None]
    light = light + (shadow - light) * (0.6 * makeup.shadow_strength * lids)
    light = light * (1 - 0.55 * makeup.liner * lids.square())
    return light, gloss * (1 + makeup.lip_gloss * makeup.lip_strength * lips)


def color_of(values: np.ndarray) -> Color:
    """Three numbers as plain values."""
    red, green, blue = (float(value) for value in values)
    return red, green, blue
