"""Hair and beards: grown on the scalp from guide fields, or cut from the pack's meshes; every style is a handful of numbers.

A style is drawn from a family's ranges (`draw_style`), and grown on a person (`grow_hair`); `draw_hair` does both.
The same seed gives the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from avatarcli.studio.hair.beard import BEARD_FAMILIES, HELD_OUT_BEARDS, BeardStyle, beard_weights, draw_beard_style
from avatarcli.studio.hair.beard import grow_beard as _grow_beard
from avatarcli.studio.hair.colors import HairColor, draw_color
from avatarcli.studio.hair.combing import zone_lengths
from avatarcli.studio.hair.families import FAMILIES, HELD_OUT_FAMILIES, family_weights
from avatarcli.studio.hair.grow import grow as _grow
from avatarcli.studio.hair.meshes import Carrier
from avatarcli.studio.hair.pack import dress as _dress
from avatarcli.studio.hair.space import Floats, HeadSpace, smoothstep
from avatarcli.studio.hair.styles import HairStyle, draw_style
from avatarcli.studio.scene import BoundMesh

if TYPE_CHECKING:
    from avatarcli.studio.assets import StudioAssets

__all__ = [
    "BEARD_FAMILIES",
    "FAMILIES",
    "HELD_OUT_BEARDS",
    "HELD_OUT_FAMILIES",
    "BeardStyle",
    "HairColor",
    "HairStyle",
    "ScalpTint",
    "beard_weights",
    "draw_beard",
    "draw_beard_style",
    "draw_color",
    "draw_hair",
    "draw_style",
    "family_weights",
    "grow_beard",
    "grow_hair",
    "scalp_tint",
]


@dataclass(frozen=True)
class ScalpTint:
    """What a style leaves to the skin: where hair roots color it.

    shaved: 1 where all hair of the head is shaved or gone, 0 for hair of any length; color: linear RGB of the roots.
    """

    style: HairStyle
    shaved: float
    color: tuple[float, float, float]

    def dye(self, points: Floats) -> Floats:
        """How strongly [n] the skin shows roots of hair, in [0, 1], at points [n, 3] of the average head (texels or vertices)."""
        style = self.style
        depth = style.hairline.depth(points)
        cover = smoothstep(-0.5 * style.soft, 1.5 * style.soft, depth) * (points[:, 1] > -0.09)
        # A shaved head shows a shadow, longer hair its roots; and thin hair less of them.
        strength = 0.35 + 0.6 * smoothstep(0.0005, 0.006, zone_lengths(style, points))
        strength = strength * (1 - 0.8 * style.thin * smoothstep(0.06, 0.09, points[:, 1]))
        return np.asarray(cover * strength * (style.form != "bald"), np.float32)


def grow_hair(assets: StudioAssets, neutral: Tensor, style: HairStyle, color: HairColor) -> list[BoundMesh]:
    """The meshes of a style on a person's head [N, 3] (all rows of the pack's head, at rest, on the CPU)."""
    space = HeadSpace.of(assets.head)
    if style.form == "pack":
        return _dress(assets, space, neutral, style, color)
    return _grow(Carrier(space, neutral.numpy(), style.mirrored), style, color)


def draw_hair(
    assets: StudioAssets, neutral: Tensor, rng: np.random.Generator, *, family: str, color: HairColor
) -> list[BoundMesh]:
    """A style of a family, drawn and grown on a person's head [N, 3]; empty for a bald one."""
    return grow_hair(assets, neutral, draw_style(rng, family=family), color)


def grow_beard(assets: StudioAssets, neutral: Tensor, style: BeardStyle, color: HairColor) -> list[BoundMesh]:
    """The mesh of a beard on a person's head [N, 3]. The skin below it wants `style.density` as a tint."""
    return _grow_beard(Carrier(HeadSpace.of(assets.head), neutral.numpy()), style, color)


def draw_beard(
    assets: StudioAssets, neutral: Tensor, rng: np.random.Generator, *, family: str, color: HairColor
) -> list[BoundMesh]:
    """A beard of a family, drawn and grown on a person's head [N, 3]."""
    return grow_beard(assets, neutral, draw_beard_style(rng, family=family), color)


def scalp_tint(style: HairStyle, color: HairColor) -> ScalpTint:
    """How a style colors the skin of the scalp."""
    return ScalpTint(style, style.shaved, color.mean)
