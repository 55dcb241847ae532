"""What the pack's skin textures are taken apart into: tone, detail, a scalp without painted hair, and a map from
texels to the head.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.capture.alpha import box
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.colors import linear
from avatarcli.geometry.mesh import rasterize_mesh
from avatarcli.studio.pack_head import PackHead

# The map from texels to the head has this many times fewer rows than the textures: it carries soft masks only.
_ATLAS_SHARE = 4
_FILL_SHARE = 8  # and the scalp's color under the hair this many times fewer
# Skins that no training subject wears, not even blended: of every age, sex and tone that has more than one.
HELD_OUT_SKINS = (
    "young_light_male3", "young_light_female3", "middleage_light_male2", "middleage_dark_female", "old_dark_male",
)  # fmt: skip
# Linear light below which a texel counts as black: keeps logarithms of painted hair in bounds.
DARKEST = 2e-3
# Share of the textures' rows: by so much the painted hair is taken to reach beyond its mask, for it fringes.
_HAIR_FRINGE = 0.034


@dataclass(frozen=True)
class SkinSheet:
    """One skin. albedo uint8 [H, W, 3], sRGB; tone [3]: mean logarithm of the face's linear albedo; bare [3, h, w]:
    logarithm of the skin's color where hair is painted over it, relative to the tone.
    """

    albedo: Tensor
    tone: Tensor
    bare: Tensor

    def to(self, device: torch.device | str) -> SkinSheet:
        return SkinSheet(self.albedo.to(device), self.tone.to(device), self.bare.to(device))


@dataclass(frozen=True, eq=False)
class SkinAtlas:
    """Where texels lie on the head.

    vertex [h, w, 3], weight [h, w, 3]: of the coarse skin (texels off the charts: of the nearest on them); position
    [h, w, 3]: on the average head, metres; region [h, w]; scalp, beard [H, W] in [0, 1]: where hair grows; covered [H,
    W]: how far painted hair may reach; noise [3, H, W]: normal noise that tiles, of features about 0.5, 2 and 30
    texels wide.
    """

    vertex: Tensor
    weight: Tensor
    position: Tensor
    region: Tensor
    scalp: Tensor
    beard: Tensor
    covered: Tensor
    noise: Tensor

    @property
    def size(self) -> tuple[int, int]:
        return self.scalp.shape[0], self.scalp.shape[1]

    def spread(self, values: Tensor) -> Tensor:
        """Values [h, w] of the atlas' texels as those [H, W] of a texture."""
        return functional.interpolate(values[None, None], self.size, mode="bilinear", align_corners=False)[0, 0]

    def to(self, device: torch.device | str) -> SkinAtlas:
        return replace(self, **{key: value.to(device) for key, value in vars(self).items()})


def make_atlas(head: PackHead, scalp: Tensor, beard: Tensor) -> SkinAtlas:
    """scalp, beard [H, W] in [0, 1]."""
    from scipy.ndimage import distance_transform_edt

    height, width = scalp.shape[0] // _ATLAS_SHARE, scalp.shape[1] // _ATLAS_SHARE
    drawn = head.drawn
    skin = drawn.part == 0
    chart = drawn.uv[skin].flatten(0, 1)
    flat = torch.cat([chart * torch.tensor([width, height]), torch.ones(len(chart), 1)], dim=1)
    seen = rasterize_mesh(flat, torch.arange(len(chart)).view(-1, 3), Camera(torch.eye(4), torch.eye(3), width, height))
    # The drawn skin is finer than the coarse one; each of its vertices stands for the coarse vertex that it follows most.
    follows = drawn.subdivision.strongest
    nearest = distance_transform_edt(~seen.covered.numpy(), return_distances=False, return_indices=True)
    rows, columns = (torch.from_numpy(np.ascontiguousarray(index)).long() for index in nearest)
    fine = drawn.faces[skin][seen.face.clamp(min=0)[rows, columns]]
    weight, vertex = seen.weights[rows, columns], follows[fine]
    near = weight.argmax(-1, keepdim=True)
    fringe = max(round(_HAIR_FRINGE * scalp.shape[0]), 1)
    covered = np.asarray(cv2.dilate(scalp.numpy(), np.ones((2 * fringe + 1,) * 2)), np.float32)
    return SkinAtlas(
        vertex=vertex,
        weight=weight,
        position=(drawn.mean[fine] * weight[..., None]).sum(-2),
        region=head.region[vertex.gather(-1, near)[..., 0]],
        scalp=scalp,
        beard=beard,
        covered=torch.from_numpy(box(box(covered, fringe), fringe)),
        noise=_tiling_noise(scalp.shape[0], scalp.shape[1]),
    )


def make_sheet(albedo: Tensor, atlas: SkinAtlas, region_names: tuple[str, ...]) -> SkinSheet:
    """Take a skin apart. albedo uint8 [H, W, 3]."""
    height, width = atlas.region.shape
    light = linear(albedo.float() / 255).permute(2, 0, 1)[None]
    small = functional.interpolate(light, (height, width), mode="area")[0].clamp(min=DARKEST).log()
    face, neck, ear = (atlas.region == region_names.index(name) for name in ("face", "neck", "ear"))
    bald = functional.interpolate(atlas.covered[None, None], (height, width), mode="area")[0, 0] < 0.02
    shown = face & bald
    tone = small[:, shown].mean(1)
    known = ((face | neck | ear) & bald).float()
    bare = _grown(small - tone[:, None, None], known)
    share = _FILL_SHARE // _ATLAS_SHARE
    return SkinSheet(albedo, tone, functional.avg_pool2d(bare[None], share)[0])


def _grown(picture: Tensor, known: Tensor) -> Tensor:
    """A picture [C, h, w] whose unknown texels (known [h, w] is 0) take smooth values from around: means of ever
    larger cells, blended from coarse to fine (push-pull, Gortler and others 1996).
    """
    layers = [torch.cat([picture * known, known[None]])[None]]
    while min(layers[-1].shape[-2:]) > 1:
        layers.append(functional.avg_pool2d(layers[-1], 2, ceil_mode=True, count_include_pad=False))
    result = layers[-1][:, :-1] / layers[-1][:, -1:].clamp(min=1e-6)
    for layer in reversed(layers[:-1]):
        result = functional.interpolate(result, layer.shape[-2:], mode="bilinear", align_corners=False)
        weight = layer[:, -1:].clamp(max=1)
        result = result * (1 - weight) + layer[:, :-1] / layer[:, -1:].clamp(min=1e-6) * weight
    return result[0]


def _tiling_noise(height: int, width: int) -> Tensor:
    generator = np.random.default_rng(0)
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    fields = []
    for size in (0.5, 2.0, 30.0):
        white = np.fft.rfft2(generator.standard_normal((height, width)))
        soft = np.fft.irfft2(white * np.exp(-2 * (np.pi * size * 0.5) ** 2 * (fx**2 + fy**2)), (height, width))
        fields.append((soft - soft.mean()) / max(float(soft.std()), 1e-6))
    return torch.from_numpy(np.stack(fields).astype(np.float32))
