"""Which way is up: file formats of Gaussians agree on everything else.

Our world has x to the subject's left, y up and z out of the face. PlayCanvas and SuperSplat turn PLY, SPZ and SOG by 180° about
z when they open them; files for Blender or Unreal are often z up.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from avatarcli.export.formats import Up
from avatarcli.gaussians.avatar import Splats
from avatarcli.geometry.rotations import quaternion_multiply, quaternion_to_matrix

# Half turns and quarter turns, wxyz. y: none. -y: 180° about z. z: 90° about x, so that the face looks along -y.
_TURNS: dict[Up, tuple[float, float, float, float]] = {
    "y": (1.0, 0.0, 0.0, 0.0),
    "-y": (0.0, 0.0, 0.0, 1.0),
    "z": (math.sqrt(0.5), math.sqrt(0.5), 0.0, 0.0),
}
DESCRIPTIONS: dict[Up, str] = {
    "y": "y up, z out of the face",
    "-y": "y down, z out of the face",
    "z": "z up, -y out of the face",
}


def turned(splats: Splats, up: Up) -> Splats:
    """The Gaussians in a world whose axis `up` points to the top of the head."""
    if up == "y":
        return splats
    turn: Tensor = torch.tensor(_TURNS[up], dtype=splats.means.dtype, device=splats.means.device)
    return splats._replace(
        means=splats.means @ quaternion_to_matrix(turn).T,
        quaternions=quaternion_multiply(turn.expand_as(splats.quaternions), splats.quaternions),
    )
