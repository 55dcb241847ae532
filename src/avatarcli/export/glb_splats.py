"""GLB with Gaussians: glTF's KHR_gaussian_splatting, for viewers that load splats beside meshes.

One primitive of points. Scales and opacities are plain numbers here, not logarithms and logits, rotations are xyzw, and the color
space is named. `COLOR_0` shows colored points where the extension is not known.

Source: KHR_gaussian_splatting (Khronos, github.com/KhronosGroup/glTF).
"""

from __future__ import annotations

from pathlib import Path

import torch

from avatarcli.export.gltf import GlbBuffer
from avatarcli.export.origin import Origin
from avatarcli.gaussians.avatar import SH_C0, Splats
from avatarcli.pictures import to_bytes

_EXTENSION = "KHR_gaussian_splatting"
_POINTS = 0  # glTF's mode of a primitive
_PROPERTIES = {
    "kernel": "ellipse",
    # Colors are the photo's, as they are shown: blending happens in them.
    "colorSpace": "srgb_rec709_display",
    "projection": "perspective",
    "sortingMethod": "cameraDistance",
}


def write_glb_splats(path: Path, splats: Splats, origin: Origin) -> None:
    """Write Gaussians in the world (metres, y up, which is glTF's). Raises OSError."""
    buffer = GlbBuffer()
    unit = torch.nn.functional.normalize(splats.quaternions, dim=-1)
    shown = torch.cat([splats.colors, splats.opacities[:, None]], dim=-1)
    attributes = {
        "POSITION": buffer.accessor(splats.means.numpy(), "VEC3"),
        "COLOR_0": buffer.accessor(to_bytes(shown), "VEC4", normalized=True),
        f"{_EXTENSION}:ROTATION": buffer.accessor(unit.roll(-1, dims=-1).numpy(), "VEC4"),
        f"{_EXTENSION}:SCALE": buffer.accessor(splats.scales.numpy(), "VEC3"),
        f"{_EXTENSION}:OPACITY": buffer.accessor(splats.opacities.numpy(), "SCALAR"),
        f"{_EXTENSION}:SH_DEGREE_0_COEF_0": buffer.accessor(((splats.colors - 0.5) / SH_C0).numpy(), "VEC3"),
    }
    primitive = {"attributes": attributes, "mode": _POINTS, "extensions": {_EXTENSION: _PROPERTIES}}
    document = {
        "extensionsUsed": [_EXTENSION],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": "avatar", "mesh": 0}],
        "meshes": [{"name": "avatar", "primitives": [primitive]}],
    }
    path.write_bytes(buffer.file(origin, document))
