"""What the studio's parts hand to each other: meshes that follow a head, a subject ready to be drawn, light, and pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import torch
from torch import Tensor


class Material(IntEnum):
    """How a surface answers light, and which region mask it counts to."""

    SKIN = 0
    EYE = 1
    CORNEA = 2
    TEETH = 3
    TONGUE = 4
    CLOTH = 5
    BROW = 6
    LASH = 7
    HAIR = 8
    BEARD = 9
    HAT = 10
    FRAME = 11  # of glasses
    LENS = 12


# Materials whose texture's alpha decides, pixel by pixel, whether they are there at all.
CUT_OUT = (Material.HAIR, Material.BEARD)
# Materials in one thin layer that the texture's alpha blends over what lies behind it.
SHEETS = (Material.BROW, Material.LASH)
# Materials that only add a reflection and a tint (by the texture's alpha) to what lies behind them.
CLEAR = (Material.CORNEA, Material.LENS)
REGION_NAMES = ("skin", "hair", "clothes", "glasses")


@dataclass(frozen=True)
class BoundMesh:
    """A mesh that follows a head: hair, brows, clothes, glasses.

    A vertex rests at `bind_weight · head[bind_index] + offset` on the expressive head and is then skinned. bind_index
    [n, 3] rows of the pack's head; bind_weight [n, 3]; offset [n, 3] metres, for one person's neutral head; skinning
    [n, 5] weights of the chain torso > neck01 > neck02 > neck03 > head; faces [f, 3]; uv [f, 3, 2] per corner (u right,
    v down, in [0, 1]); texture uint8 [H, W, 4], sRGB-encoded straight RGBA; depth_bias: metres by which the mesh is
    drawn nearer to the camera than it is, so that what lies close on the skin wins over it; occlusion [n]: how much of
    the sky a vertex sees (None: all of it), as roots and inner layers of hair are dark.
    """

    material: Material
    bind_index: Tensor
    bind_weight: Tensor
    offset: Tensor
    skinning: Tensor
    faces: Tensor
    uv: Tensor
    texture: Tensor
    depth_bias: float = 0.0
    occlusion: Tensor | None = None

    def resting(self, head: Tensor) -> Tensor:
        """Its vertices [n, 3] on a head [N, 3] at rest."""
        return (head[self.bind_index] * self.bind_weight[..., None]).sum(-2) + self.offset

    def to(self, device: torch.device | str) -> BoundMesh:
        moved: dict[str, Any] = {k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **moved)


@dataclass(frozen=True, eq=False)
class TextureBank:
    """Textures of any sizes, one after another.

    texels uint8 [P, 4], sRGB-encoded straight RGBA; layout [L, 3] int64: first texel, height, width.
    """

    texels: Tensor
    layout: Tensor

    @classmethod
    def of(cls, textures: list[Tensor]) -> TextureBank:
        """From pictures uint8 [H, W, 4]."""
        sizes = torch.tensor([[t.shape[0] * t.shape[1], t.shape[0], t.shape[1]] for t in textures])
        layout = torch.cat([sizes[:, :1].cumsum(0) - sizes[:, :1], sizes[:, 1:]], dim=1)
        return cls(torch.cat([t.reshape(-1, 4) for t in textures]), layout.to(textures[0].device))

    def to(self, device: torch.device | str) -> TextureBank:
        return TextureBank(self.texels.to(device), self.layout.to(device))


@dataclass(frozen=True, eq=False)
class RenderMesh:
    """All parts of one subject as one mesh, ready to be drawn in any pose.

    faces [T, 3] rows of the posed vertices; uv [T, 3, 2]; material [T] of Material; texture [T] layer of `textures`;
    depth_bias [T] metres; canonical [N, 3] metres: position on the average head (zero off the head); head_faces: how many
    of the first faces belong to the bare head (skin, eyes, teeth, tongue); `hidden` [T] bool: faces that clothes or hats
    cover, left out of the picture but part of the bare head.
    """

    faces: Tensor
    uv: Tensor
    material: Tensor
    texture: Tensor
    depth_bias: Tensor
    canonical: Tensor
    hidden: Tensor
    head_faces: int
    textures: TextureBank

    def to(self, device: torch.device | str) -> RenderMesh:
        moved: dict[str, Any] = {k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor | TextureBank)}
        return replace(self, **moved)


@dataclass(frozen=True)
class PosedMesh:
    """F frames of a RenderMesh.

    vertices [F, N, 3] metres in the world; offset [F, N, 3] metres: what the expression adds to each vertex at rest,
    before the neck turns it; zero off the head. occlusion [F, N]: how much of the sky a vertex sees, 1 where unknown;
    it changes as the mouth opens and the eyes turn.
    """

    vertices: Tensor
    offset: Tensor
    occlusion: Tensor

    def __len__(self) -> int:
        return len(self.vertices)

    def __getitem__(self, frames: slice) -> PosedMesh:
        return PosedMesh(self.vertices[frames], self.offset[frames], self.occlusion[frames])

    def to(self, device: torch.device | str) -> PosedMesh:
        return PosedMesh(self.vertices.to(device), self.offset.to(device), self.occlusion.to(device))


@dataclass(frozen=True)
class Light:
    """Linear light in the world's frame.

    ambient [9, 3]: real spherical-harmonic coefficients (orders 0-2, in the order and scale of Ramamoorthi and Hanrahan
    2001) of the radiance that arrives from each direction; position [P, 3] metres, color [P, 3] (irradiance at the
    origin), size [P] metres (radius: the softness of shadows) of point lights; gain [3]: exposure times the camera's
    white balance.
    """

    ambient: Tensor
    position: Tensor
    color: Tensor
    size: Tensor
    gain: Tensor

    def to(self, device: torch.device | str) -> Light:
        return Light(*(value.to(device) for value in vars(self).values()))


@dataclass(frozen=True)
class StudioFrames:
    """What V cameras see of F frames of one subject.

    rgba [V, F, H, W, 4]: premultiplied, sRGB-encoded, before any background; normal [V, F, H, W, 3] of the visible
    surface, in the world; regions [V, F, H, W, 4]: share of each pixel that shows REGION_NAMES; and of the bare head,
    whatever covers it: position [V, F, H, W, 3] on the average head, offset [V, F, H, W, 3] by the expression, metres,
    and depth [V, F, H, W] (infinite off the head).
    """

    rgba: Tensor
    normal: Tensor
    regions: Tensor
    position: Tensor
    offset: Tensor
    depth: Tensor
