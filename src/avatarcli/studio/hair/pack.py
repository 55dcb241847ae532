"""The pack's own hair meshes, made new: cut by random surfaces, mirrored, lengthened, puffed up, waved, spliced front with back."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from avatarcli.studio.hair.colors import HairColor
from avatarcli.studio.hair.guides import push_out, smooth_noise
from avatarcli.studio.hair.space import Floats, HeadSpace, smoothstep, unit
from avatarcli.studio.hair.styles import HairStyle
from avatarcli.studio.hair.textures import encoded, mixed
from avatarcli.studio.scene import BoundMesh, Material

if TYPE_CHECKING:
    from avatarcli.studio.assets import StudioAssets

_SIZE = 512  # texels: of the recolored textures
_BLUR = 14.0  # texels: what varies over more than this is baked light, not strands
_STUMP = 0.015  # metres that remain of hair beyond a cut, pressed together

# Spliced in front of or behind others; braid01 alone has as many triangles as fit in one style.
_FRONTS = ("bob01", "bob02", "short01", "short02", "short03", "long01")
_BACKS = ("afro01", "bob02", "long01", "ponytail01", "short02", "short04")


def dress(
    assets: StudioAssets, space: HeadSpace, neutral: Tensor, style: HairStyle, color: HairColor
) -> list[BoundMesh]:
    """The meshes [1 or 2] of a style of form "pack" on one person's head [N, 3]."""
    rng = np.random.default_rng([style.seed, 2])
    if style.mesh:
        return [_worn(assets, space, neutral, style.mesh, color, rng, style.mirrored)]
    front, back = str(rng.choice(_FRONTS)), str(rng.choice(_BACKS))
    border = float(rng.uniform(-0.045, 0.0))
    mirrored = rng.random(2) < 0.5
    return [
        _worn(assets, space, neutral, front, color, rng, bool(mirrored[0]), ahead_of=border - 0.006),
        _worn(assets, space, neutral, back, color, rng, bool(mirrored[1]), behind=border + 0.006),
    ]


def _worn(
    assets: StudioAssets,
    space: HeadSpace,
    neutral: Tensor,
    name: str,
    color: HairColor,
    rng: np.random.Generator,
    mirrored: bool,
    ahead_of: float = -1.0,
    behind: float = 1.0,
) -> BoundMesh:
    stored = assets.wearables["hair"][name]
    worn = stored.worn(neutral, Material.HAIR, texture=_recolored(stored.texture, color, rng))
    mean = stored.worn(assets.head.mean, Material.HAIR)
    rest = mean.resting(assets.head.mean).numpy()
    changed, beyond = _changed(space, rest, rng)
    change = changed - rest
    offset = worn.offset.numpy() + change
    index, faces, uv = worn.bind_index, worn.faces, worn.uv
    depth = rest[:, 2] + 0.008 * smooth_noise(rest, 0.05, rng)[:, 0]
    middle = depth[faces.numpy()].mean(1)
    gone = (beyond > 3 * _STUMP)[faces.numpy()].all(1)
    kept = torch.from_numpy((middle > ahead_of) & (middle < behind) & ~gone)
    faces, uv = faces[kept], uv[kept]
    if mirrored:
        index = assets.head.mirror[index]
        offset = offset * np.array([-1, 1, 1], np.float32)
        faces, uv = faces.flip(1), uv.flip(1)
    return BoundMesh(
        material=Material.HAIR,
        bind_index=index,
        bind_weight=worn.bind_weight,
        offset=torch.from_numpy(offset.astype(np.float32)),
        skinning=worn.skinning,
        faces=faces,
        uv=uv,
        texture=worn.texture,
        occlusion=torch.from_numpy(_depth(space, rest + change)),
    )


def _changed(space: HeadSpace, points: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Hair [n, 3] of the average head in another cut and shape, and how far [n] beyond the cut it was."""
    height = space.field(points)
    out = unit(height[:, 1:])
    puffed = points + out * (
        np.maximum(height[:, :1], 0) * rng.uniform(-0.35, 0.6) * smoothstep(0.0, 0.02, height[:, :1])
    )
    # Length: what hangs below the ears.
    hanging = np.minimum(puffed[:, 1:2] + 0.02, 0)
    puffed[:, 1:2] += hanging * rng.uniform(-0.45, 0.45)
    wave = smooth_noise(puffed, rng.uniform(0.03, 0.08), rng, 3) * rng.uniform(0.0, 0.006)
    puffed = puffed + wave * smoothstep(0.002, 0.02, height[:, :1])
    beyond = np.zeros(len(points), np.float32)
    # Cut: below a tilted, uneven surface hair is pressed into a stump, which keeps its ragged ends.
    if rng.random() < 0.7:
        slope = rng.normal(0, 0.25, 2)
        level = rng.uniform(-0.22, 0.0) + puffed[:, [0, 2]] @ slope + 0.01 * smooth_noise(puffed, 0.05, rng)[:, 0]
        beyond = np.maximum(level - puffed[:, 1], 0)
        puffed[:, 1] += beyond - _STUMP * (1 - np.exp(-beyond / _STUMP))
    return push_out(space, puffed.astype(np.float32), np.minimum(height[:, 0], 0.0015)), beyond


def _depth(space: HeadSpace, points: Floats) -> Floats:
    """How open [n] points lie: dark at the head, light some way off it."""
    return 0.6 + 0.4 * smoothstep(0.0, 0.012, space.field(points.astype(np.float32))[:, 0])


# By the texture's id; an entry goes with its texture.
_details: dict[int, tuple[Floats, Floats, Floats]] = {}


def _strand_detail(texture: Tensor) -> tuple[Floats, Floats, Floats]:
    """Strands' shading about 1, a lot in [0, 1] for each of them, and alpha, [S, S] each. Worked out once per texture."""
    if id(texture) not in _details:
        pixels = texture.float() / 255
        small = torch.nn.functional.interpolate(pixels.permute(2, 0, 1)[None], (_SIZE, _SIZE), mode="area")[0].numpy()
        alpha = small[3]
        light = small[:3].mean(0) ** 2.2 + 0.002
        wide = ndimage.gaussian_filter(light * alpha, _BLUR) / (ndimage.gaussian_filter(alpha, _BLUR) + 1e-3) + 1e-4
        detail = np.clip((light / wide) ** 0.75, 0.25, 2.2)
        # A strand keeps its lightness along itself, so that stands in for its lot.
        rank = ndimage.gaussian_filter(detail, 1.0)
        lot = (rank.ravel().argsort().argsort() / rank.size).reshape(rank.shape)
        _details[id(texture)] = detail.astype(np.float32), lot.astype(np.float32), alpha
        weakref.finalize(texture, _details.pop, id(texture), None)
    return _details[id(texture)]


def _recolored(texture: Tensor, color: HairColor, rng: np.random.Generator) -> Tensor:
    detail, lot, alpha = _strand_detail(texture)
    contrast = rng.uniform(0.7, 1.1)
    along = np.full((_SIZE, 1), 0.45, np.float32)
    return encoded(mixed(color, along, lot, 1 - lot) * (detail**contrast)[..., None], alpha)
