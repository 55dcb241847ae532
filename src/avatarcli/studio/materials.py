"""How each material answers light, as numbers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avatarcli.caching import constant
from avatarcli.geometry.colors import Color
from avatarcli.studio.scene import REGION_NAMES, Material


@dataclass(frozen=True)
class Finish:
    """One material.

    wrap: how far light creeps round the terminator (0: Lambert), per color, as scattering under the skin lets it;
    bounce: share of light that a hollow of it throws back at itself, per color; lift: share of light that finds its way in
    whatever the shadow maps say (they are coarse, and walls of the mouth are lit through flesh and lips); reflectance: of a
    mirror-like coat seen from the front; broad, narrow: (exponent, share) of two highlights of that coat; sheen: how much of
    the surroundings it mirrors at grazing angles.
    """

    wrap: Color = (0.0, 0.0, 0.0)
    bounce: Color = (0.3, 0.3, 0.3)
    lift: float = 0.0
    reflectance: float = 0.03
    broad: tuple[float, float] = (10.0, 1.0)
    narrow: tuple[float, float] = (60.0, 0.0)
    sheen: float = 0.1


_SKIN = Finish((0.36, 0.17, 0.11), (0.55, 0.32, 0.25), 0.02, 0.028, (14.0, 0.8), (60.0, 0.2), 0.25)
_HAIR = Finish((0.5, 0.5, 0.5), (0.2, 0.2, 0.2), 0.08)
_FINISH = {
    Material.SKIN: _SKIN,
    # The cornea before it mirrors for it.
    Material.EYE: Finish((0.35, 0.25, 0.22), (0.6, 0.55, 0.5), 0.25, 0.006, (30.0, 1.0), (200.0, 0.0), 0.03),
    Material.CORNEA: Finish(reflectance=0.025, sheen=0.9),
    Material.TEETH: Finish((0.3, 0.25, 0.2), (0.7, 0.6, 0.5), 0.2, 0.045, (40.0, 0.6), (160.0, 0.4), 0.1),
    Material.TONGUE: Finish((0.5, 0.25, 0.2), (0.6, 0.3, 0.3), 0.3, 0.035, (25.0, 0.6), (90.0, 0.4), 0.15),
    Material.CLOTH: Finish((0.08, 0.08, 0.08), (0.3, 0.3, 0.3), 0.0, 0.02, (6.0, 1.0), (60.0, 0.0), 0.06),
    Material.HAT: Finish((0.08, 0.08, 0.08), (0.3, 0.3, 0.3), 0.0, 0.02, (6.0, 1.0), (60.0, 0.0), 0.06),
    Material.FRAME: Finish((0.0, 0.0, 0.0), (0.3, 0.3, 0.3), 0.0, 0.05, (40.0, 0.4), (220.0, 0.6), 0.4),
    Material.LENS: Finish(reflectance=0.03, sheen=0.9),
    Material.BROW: _HAIR, Material.LASH: _HAIR, Material.HAIR: _HAIR, Material.BEARD: _HAIR,
}  # fmt: skip
# Strands: lit and mirrored along their length. The figure is the strength of their highlights.
STRANDS = {Material.BROW: 0.25, Material.LASH: 0.2, Material.HAIR: 1.0, Material.BEARD: 0.45}
# What throws shadows. Eyes, teeth and tongue lie closer to what hides them than the maps can tell; brows and lashes are too thin.
CASTERS = (Material.SKIN, Material.CLOTH, Material.HAIR, Material.BEARD, Material.HAT, Material.FRAME)
_REGION = {
    Material.HAIR: "hair", Material.BEARD: "hair", Material.CLOTH: "clothes", Material.HAT: "clothes",
    Material.FRAME: "glasses", Material.LENS: "glasses",
}  # fmt: skip
# Whose texture's alpha is gloss: 128 the usual, 0 matt, 255 twice as strong.
_GLOSSY = (Material.SKIN, Material.CLOTH)


# Columns of `finishes`.
WRAP, BOUNCE, LIFT = slice(0, 3), slice(3, 6), 6
REFLECTANCE, BROAD, BROAD_SHARE, NARROW, NARROW_SHARE, SHEEN = range(7, 13)
STRAND, GLOSSY, TINTED = range(13, 16)


@constant
def finishes(device: torch.device) -> Tensor:
    """All materials [13, 16]: the numbers of Finish, strength of strands' highlights, whether the texture's alpha is gloss, and
    whether it is a tint's opacity."""
    rows = []
    for material in Material:
        f = _FINISH[material]
        of_finish = [*f.wrap, *f.bounce, f.lift, f.reflectance, *f.broad, *f.narrow, f.sheen]
        rows.append([*of_finish, STRANDS.get(material, 0.0), material in _GLOSSY, material == Material.LENS])
    return torch.tensor(rows, dtype=torch.float32, device=device)


@constant
def region_table(device: torch.device) -> Tensor:
    """Which of REGION_NAMES each material counts to [13, 4], one 1 a row."""
    index = [REGION_NAMES.index(_REGION.get(material, "skin")) for material in Material]
    return torch.eye(len(REGION_NAMES))[index].to(device)


def among(material: Tensor, wanted: tuple[Material, ...]) -> Tensor:
    """Where `material` is one of those wanted (bool, same shape)."""
    return torch.isin(material, _numbers(wanted, material.device))


@constant
def _numbers(materials: tuple[Material, ...], device: torch.device) -> Tensor:
    return torch.tensor([int(material) for material in materials], device=device)
