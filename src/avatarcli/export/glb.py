"""GLB: the head as a mesh with the 52 ARKit expressions as morph targets, and the hair as a still shell around it.

What game engines, Blender and three.js open. Skin, eyes, teeth and tongue are one mesh with one texture; the `eyeLook*`
targets also turn the eyes. Textures are baked from the avatar's Gaussians and carry the photo's light, so the materials
are unlit (KHR_materials_unlit). Morph targets are sparse: only the vertices that move are stored.

Source: glTF 2.0 specification (Khronos). Container and buffers are written here, for they are short and no library that
writes glTF writes sparse morph targets.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from avatarcli.export import bake, shell_shape
from avatarcli.export.origin import Origin
from avatarcli.gaussians.avatar import Avatar
from avatarcli.generation.scene import Scene
from avatarcli.generation.shell import Shell
from avatarcli.geometry.mesh import vertex_normals
from avatarcli.head.expressions import EXPRESSION_NAMES
from avatarcli.head.model import PersonalHead, gaze_from_expression

STEPS = bake.STEPS + shell_shape.STEPS  # that `write_glb` advances

_FLOAT, _USHORT, _UINT = 5126, 5123, 5125  # glTF's component types
_VERTICES, _INDICES = 34962, 34963  # its kinds of buffers
_LEAST_MOVE = 1e-6  # metres: smaller offsets are not stored
_JPEG_QUALITY = 92

Array = npt.NDArray[Any]


def write_glb(path: Path, avatar: Avatar, scene: Scene, origin: Origin, advance: Callable[[int], None]) -> None:
    """Bake the textures and write the file. scene: what the avatar was made from. Raises OSError."""
    # The scene's shell is a guess from the photo; the avatar has been fitted to views from all sides since.
    shell = shell_shape.fit_to_avatar(scene.shell, avatar, advance)
    skin, cover = bake.bake_head(avatar, scene, advance), bake.bake_shell(avatar, shell, advance)
    document = _Document(origin)
    document.add_head(avatar.head, _picture(skin, "JPEG"))
    document.add_shell(shell, _picture(cover, "PNG"))
    path.write_bytes(document.content())


@dataclass
class _Document:
    """A glTF document that grows, and its binary buffer."""

    origin: Origin
    buffer: bytearray = field(default_factory=bytearray)
    views: list[dict[str, Any]] = field(default_factory=list)
    accessors: list[dict[str, Any]] = field(default_factory=list)
    images: list[dict[str, Any]] = field(default_factory=list)
    materials: list[dict[str, Any]] = field(default_factory=list)
    meshes: list[dict[str, Any]] = field(default_factory=list)

    def add_head(self, head: PersonalHead, texture: tuple[bytes, str]) -> None:
        model = head.model
        # A vertex on a seam of the atlas has several places in the texture and becomes several vertices.
        pairs = torch.stack([model.faces, model.face_uv], dim=-1).view(-1, 2)
        pairs, corners = torch.unique(pairs, dim=0, return_inverse=True)
        vertex, uv = pairs.unbind(-1)
        normals = vertex_normals(head.neutral, model.faces)[vertex]
        material = self._material("head", texture, {"doubleSided": True})
        primitive = self._primitive(head.neutral[vertex], normals, model.uv[uv], corners.view(-1, 3), material)
        primitive["targets"] = [{"POSITION": self._sparse(delta[vertex])} for delta in _morphs(head)]
        self.meshes.append(
            {
                "name": "head",
                "primitives": [primitive],
                "weights": [0.0] * len(EXPRESSION_NAMES),
                "extras": {"targetNames": list(EXPRESSION_NAMES)},
            }
        )

    def add_shell(self, shell: Shell, texture: tuple[bytes, str]) -> None:
        # The last column of the grid meets the first: those triangles get corners beyond the right edge, where the
        # texture repeats.
        u = shell.uv[:, 0][shell.faces]
        beyond = (u.amax(1, keepdim=True) - u) > 0.5
        rows, corners = torch.unique(shell.faces + beyond * len(shell.vertices), return_inverse=True)
        vertex, wraps = rows % len(shell.vertices), rows >= len(shell.vertices)
        uv = shell.uv[vertex] + torch.stack([wraps.float(), torch.zeros(len(rows))], dim=-1)
        normals = vertex_normals(shell.vertices, shell.faces)[vertex]
        material = self._material("hair and clothes", texture, {"alphaMode": "BLEND"})
        primitive = self._primitive(shell.vertices[vertex], normals, uv, corners, material)
        self.meshes.append({"name": "hair", "primitives": [primitive]})

    def content(self) -> bytes:
        """The whole file."""
        names = [mesh["name"] for mesh in self.meshes]
        document = {
            "asset": {
                "version": "2.0",
                "generator": self.origin.tool,
                "copyright": self.origin.statement(),
                "extras": json.loads(self.origin.to_json()),
            },
            "extensionsUsed": ["KHR_materials_unlit"],
            "scene": 0,
            "scenes": [{"nodes": [0]}],
            "nodes": [
                {"name": "avatar", "children": list(range(1, len(names) + 1))},
                *({"name": name, "mesh": index} for index, name in enumerate(names)),
            ],
            "meshes": self.meshes,
            "materials": self.materials,
            "textures": [{"source": index, "sampler": 0} for index in range(len(self.images))],
            "images": self.images,
            "samplers": [{"magFilter": 9729, "minFilter": 9987, "wrapS": 10497, "wrapT": 33071}],
            "accessors": self.accessors,
            "bufferViews": self.views,
            "buffers": [{"byteLength": len(self.buffer)}],
        }
        text = json.dumps(document, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        size = 12 + 8 + len(text) + 8 + len(self.buffer)
        header = struct.pack("<4sII", b"glTF", 2, size) + struct.pack("<I4s", len(text), b"JSON")
        return header + text + struct.pack("<I4s", len(self.buffer), b"BIN\0") + bytes(self.buffer)

    def _primitive(self, points: Tensor, normals: Tensor, uv: Tensor, faces: Tensor, material: int) -> dict[str, Any]:
        return {
            "attributes": {
                "POSITION": self._accessor(points.numpy(), "VEC3", _VERTICES),
                "NORMAL": self._accessor(normals.numpy(), "VEC3", _VERTICES),
                "TEXCOORD_0": self._accessor(uv.numpy(), "VEC2", _VERTICES),
            },
            "indices": self._accessor(faces.reshape(-1).numpy().astype(np.uint32), "SCALAR", _INDICES),
            "material": material,
        }

    def _material(self, name: str, texture: tuple[bytes, str], more: dict[str, Any]) -> int:
        content, kind = texture
        self.images.append({"name": name, "bufferView": self._view(content), "mimeType": kind})
        self.materials.append(
            {
                "name": name,
                "pbrMetallicRoughness": {
                    "baseColorTexture": {"index": len(self.images) - 1},
                    "metallicFactor": 0.0,
                    "roughnessFactor": 0.7,
                },
                "extensions": {"KHR_materials_unlit": {}},
                **more,
            }
        )
        return len(self.materials) - 1

    def _accessor(self, values: Array, shape: str, target: int) -> int:
        kind = _UINT if values.dtype == np.uint32 else _FLOAT
        dtype = "<u4" if kind == _UINT else "<f4"
        flat = values.astype(dtype).reshape(len(values), -1)
        entry = {
            "bufferView": self._view(flat.tobytes(), target),
            "componentType": kind,
            "count": len(values),
            "type": shape,
            "min": flat.min(0).tolist(),
            "max": flat.max(0).tolist(),
        }
        self.accessors.append(entry)
        return len(self.accessors) - 1

    def _sparse(self, offsets: Tensor) -> int:
        """An accessor of offsets [N, 3] that are zero except where stored."""
        moved = (offsets.abs().amax(-1) > _LEAST_MOVE).nonzero()[:, 0]
        values = offsets[moved].numpy().astype("<f4")
        reach = np.concatenate([values, np.zeros((1, 3), np.float32)])
        index = moved.numpy().astype("<u2" if len(offsets) <= 1 << 16 else "<u4")
        self.accessors.append(
            {
                "componentType": _FLOAT,
                "count": len(offsets),
                "type": "VEC3",
                "min": reach.min(0).tolist(),
                "max": reach.max(0).tolist(),
                "sparse": {
                    "count": len(moved),
                    "indices": {
                        "bufferView": self._view(index.tobytes()),
                        "componentType": _USHORT if index.itemsize == 2 else _UINT,
                    },
                    "values": {"bufferView": self._view(values.tobytes())},
                },
            }
        )
        return len(self.accessors) - 1

    def _view(self, content: bytes, target: int | None = None) -> int:
        view = {"buffer": 0, "byteOffset": len(self.buffer), "byteLength": len(content)}
        if target is not None:
            view["target"] = target
        self.views.append(view)
        self.buffer += content + b"\0" * (-len(content) % 4)
        return len(self.views) - 1


def _morphs(head: PersonalHead) -> Tensor:
    """What each expression at 1 moves [52, N, 3], the eyes included."""
    each = torch.eye(len(EXPRESSION_NAMES))
    return head.vertices(each, gaze_from_expression(each), torch.zeros(len(each), 3)) - head.neutral


def _picture(values: Tensor, kind: str) -> tuple[bytes, str]:
    """An encoded picture [H, W, C] in [0, 1], and its media type."""
    stream = io.BytesIO()
    pixels = (values * 255).round().byte().numpy()
    Image.fromarray(pixels).save(stream, kind, quality=_JPEG_QUALITY, optimize=True)
    return stream.getvalue(), f"image/{kind.lower()}"
