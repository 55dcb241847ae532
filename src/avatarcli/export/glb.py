"""GLB: the head as a mesh with the 52 ARKit expressions as morph targets, and the hair as a still shell around it.

What game engines, Blender and three.js open. Skin, eyes, teeth and tongue are one mesh with one texture; the `eyeLook*`
targets also turn the eyes. Textures are baked from the avatar's Gaussians and carry the photo's light, so the materials
are unlit (KHR_materials_unlit). Morph targets are sparse: only the vertices that move are stored.

Source: glTF 2.0 specification (Khronos).
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from avatarcli.export import bake, shell_shape
from avatarcli.export.gltf import INDICES, VERTICES, GlbBuffer
from avatarcli.export.origin import Origin
from avatarcli.gaussians.avatar import Avatar
from avatarcli.geometry.mesh import vertex_normals
from avatarcli.head.expressions import EXPRESSION_NAMES
from avatarcli.head.model import PersonalHead, still_heads
from avatarcli.pictures import to_bytes
from avatarcli.reproject.scene import Scene
from avatarcli.reproject.shell import Shell

STEPS = bake.STEPS + shell_shape.STEPS  # that `write_glb` advances

_JPEG_QUALITY = 92


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
    buffer: GlbBuffer = field(default_factory=GlbBuffer)
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
        primitive["targets"] = [{"POSITION": self.buffer.sparse(delta[vertex])} for delta in _morphs(head)]
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
        }
        return self.buffer.file(self.origin, document)

    def _primitive(self, points: Tensor, normals: Tensor, uv: Tensor, faces: Tensor, material: int) -> dict[str, Any]:
        return {
            "attributes": {
                "POSITION": self.buffer.accessor(points.numpy(), "VEC3", VERTICES),
                "NORMAL": self.buffer.accessor(normals.numpy(), "VEC3", VERTICES),
                "TEXCOORD_0": self.buffer.accessor(uv.numpy(), "VEC2", VERTICES),
            },
            "indices": self.buffer.accessor(faces.reshape(-1).numpy().astype(np.uint32), "SCALAR", INDICES),
            "material": material,
        }

    def _material(self, name: str, texture: tuple[bytes, str], more: dict[str, Any]) -> int:
        content, kind = texture
        self.images.append({"name": name, "bufferView": self.buffer.view(content), "mimeType": kind})
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


def _morphs(head: PersonalHead) -> Tensor:
    """What each expression at 1 moves [52, N, 3], the eyes included."""
    each = torch.eye(len(EXPRESSION_NAMES))
    return head.posed(still_heads(each)) - head.neutral


def _picture(values: Tensor, kind: str) -> tuple[bytes, str]:
    """An encoded picture [H, W, C] in [0, 1], and its media type."""
    stream = io.BytesIO()
    Image.fromarray(to_bytes(values)).save(stream, kind, quality=_JPEG_QUALITY, optimize=True)
    return stream.getvalue(), f"image/{kind.lower()}"
