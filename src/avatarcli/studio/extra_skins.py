"""Further skins for the studio, from a folder beside the pack: what `avatar data skins` bakes from photos."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from avatarcli.errors import AssetsError
from avatarcli.geometry.colors import encoded, linear
from avatarcli.geometry.fill import blur, pull_push, resized
from avatarcli.studio.skin_sheets import DARKEST, HELD_OUT_SKINS

_KNOWN = 0.5  # opacity above which a texel tells the skin's tone
_FEWEST = 0.01  # share of the texels that must be so
_CERTAIN = 0.95  # opacity of texels that are no mixture
_SMOOTH = 0.012  # of the rows: over which the tone beside an edge is taken
_FAR = 0.03  # of the rows: how far it goes on
_NEAR = 0.1  # share of certain texels around that tells a tone


def read_skins(folder: Path, pack: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Skins uint8 [H, W, 3] by name, of the size of the pack's, from PNG files <age>_<light|dark>_<sex …>.png on the pack's uv.

    Where a picture is transparent nothing is known of the skin: a skin of the pack goes on there, in this one's tone.

    Raises:
        AssetsError: there are no skins, or one is damaged or has another name.
    """
    if not folder.is_dir():
        raise AssetsError(f"no folder {folder} with skins: make one with `avatar data skins`")
    found = {path.stem: _skin(path, pack) for path in sorted(folder.glob("*.png"))}
    if not found:
        raise AssetsError(f"{folder} holds no skins: make some with `avatar data skins`")
    return found


def _skin(path: Path, pack: Mapping[str, Tensor]) -> Tensor:
    base = pack[_alike(path, pack)]
    try:
        with Image.open(path) as file:
            picture = torch.from_numpy(np.array(file.convert("RGBA"))).float() / 255
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise AssetsError(f"{path} is damaged ({error}): make it again with `avatar data skins`") from None
    # What is transparent has no color to mix in.
    picture[..., :3] *= picture[..., 3:]
    layers = resized(picture, *base.shape[:2])
    layers[..., :3] /= layers[..., 3:].clamp(min=1e-4)
    shown, below = (linear(light).clamp(min=DARKEST).log() for light in (layers[..., :3], base.float() / 255))
    known = layers[..., 3] > _KNOWN
    if known.float().mean() < _FEWEST:
        raise AssetsError(f"{path} shows hardly any skin: delete it")
    # Both agree where the photo's skin ends: their difference there, smoothed, goes on over what it does not show. Further away
    # it is that of the whole face, for the pieces that the texture is cut into meet on the head.
    certain = (known & (layers[..., 3] > _CERTAIN)).float()[..., None]
    reach = _SMOOTH * len(certain)
    local = blur((shown - below) * certain, reach) / blur(certain, reach).clamp(min=1e-4)
    gap = pull_push(local, (blur(certain, reach) > _NEAR)[..., 0].float())
    beside = (blur(certain, _FAR * len(certain)) / _NEAR).clamp(max=1)
    gap = torch.lerp((shown - below)[known].mean(0).expand_as(gap), gap, beside)
    light = torch.lerp(below + gap, shown, layers[..., 3:]).exp()
    return (encoded(light) * 255).round().to(torch.uint8)


def _alike(path: Path, pack: Mapping[str, Tensor]) -> str:
    """The pack's skin that is most like the one of that name, which must not be held out."""
    wanted = path.stem.split("_")
    if len(wanted) != 3 or wanted[1] not in ("light", "dark"):
        raise AssetsError(f"{path}: a skin is called <young|middleage|old>_<light|dark>_<sex>.png")

    def unlike(name: str) -> tuple[bool, bool, bool, str]:
        age, shade, sex = name.split("_")
        return shade != wanted[1], sex.startswith("female") != wanted[2].startswith("female"), age != wanted[0], name

    return min((name for name in pack if name not in HELD_OUT_SKINS), key=unlike)
