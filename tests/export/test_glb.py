"""The GLB, read by trimesh and by hand."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import trimesh
from scipy.spatial import cKDTree

from avatarcli.export.glb import STEPS, write_glb
from avatarcli.export.origin import Origin
from avatarcli.gaussians.avatar import Avatar
from avatarcli.generation.scene import Scene
from avatarcli.generation.shell import Shell
from avatarcli.generation.skin_texture import ATLAS_SIZE
from avatarcli.head.expressions import EXPRESSION_NAMES

ROWS, COLUMNS = 6, 12
SKIN, HAIR = (0.8, 0.5, 0.4), (0.3, 0.2, 0.1)


def _shell() -> Shell:
    """A tube of 15 cm radius around the head, on a grid whose columns go round."""
    height, azimuth = torch.meshgrid(
        torch.linspace(0.15, -0.2, ROWS), (torch.arange(COLUMNS) + 0.5) / COLUMNS * 2 * math.pi, indexing="ij"
    )
    directions = torch.stack([azimuth.sin(), torch.zeros_like(azimuth), azimuth.cos()], dim=-1)
    index = torch.arange(ROWS * COLUMNS).view(ROWS, COLUMNS)
    a, b, c, d = index[:-1], index[:-1].roll(-1, 1), index[1:], index[1:].roll(-1, 1)
    faces = torch.cat([torch.stack([a, c, b], -1).view(-1, 3), torch.stack([b, c, d], -1).view(-1, 3)])
    v, u = torch.meshgrid((torch.arange(ROWS) + 0.5) / ROWS, (torch.arange(COLUMNS) + 0.5) / COLUMNS, indexing="ij")
    skinning = torch.zeros(ROWS * COLUMNS, 5)
    skinning[:, 4] = 1
    return Shell(
        vertices=(0.15 * directions + height[..., None] * torch.tensor([0.0, 1.0, 0.0])).view(-1, 3),
        faces=faces,
        uv=torch.stack([u, v], dim=-1).view(-1, 2),
        thickness=torch.full((ROWS, COLUMNS), 0.05),
        directions=directions.view(-1, 3),
        skinning=skinning,
    )


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, toy: Avatar, mark: Origin) -> Path:
    skin = torch.tensor(SKIN).expand(ATLAS_SIZE, ATLAS_SIZE, 3)
    cover = torch.tensor([*HAIR, 1.0]).expand(ROWS, COLUMNS, 4)
    scene = Scene(toy.head, _shell(), skin, torch.ones(ATLAS_SIZE, ATLAS_SIZE), cover)
    path, steps = tmp_path_factory.mktemp("glb") / "toy.glb", []
    with torch.inference_mode():
        write_glb(path, toy, scene, mark, steps.append)
    assert sum(steps) == STEPS
    return path


@pytest.fixture(scope="module")
def document(file: Path) -> tuple[dict[str, Any], bytes]:
    content = file.read_bytes()
    magic, version, size, length = struct.unpack("<4sIII", content[:16])
    assert (magic, version, size) == (b"glTF", 2, len(content))
    return json.loads(content[20 : 20 + length]), content[20 + length + 8 :]


def _morph(document: tuple[dict[str, Any], bytes], name: str) -> npt.NDArray[np.float32]:
    """The dense offsets [N, 3] of one morph target."""
    gltf, buffer = document
    mesh = next(mesh for mesh in gltf["meshes"] if mesh["name"] == "head")
    target = mesh["primitives"][0]["targets"][mesh["extras"]["targetNames"].index(name)]
    accessor = gltf["accessors"][target["POSITION"]]

    def read(part: dict[str, Any], dtype: str) -> npt.NDArray[Any]:
        view = gltf["bufferViews"][part["bufferView"]]
        return np.frombuffer(buffer, dtype, view["byteLength"] // np.dtype(dtype).itemsize, view["byteOffset"])

    offsets = np.zeros((accessor["count"], 3), np.float32)
    sparse = accessor["sparse"]
    offsets[read(sparse["indices"], "<u2")] = read(sparse["values"], "<f4").reshape(-1, 3)
    return offsets


def test_trimesh_finds_both_meshes_and_52_names(file: Path, toy: Avatar) -> None:
    scene = trimesh.load(file)
    head, hair = scene.geometry["head"], scene.geometry["hair"]
    assert head.metadata["targetNames"] == list(EXPRESSION_NAMES)
    assert len(head.faces) == len(toy.head.model.faces)
    distance, _ = cKDTree(head.vertices).query(toy.head.neutral.numpy())
    assert distance.max() < 1e-6
    assert hair.visual.uv[:, 0].max() > 1  # the seam's triangles reach across the right edge
    assert np.ptp(hair.visual.uv[:, 0][hair.faces], axis=1).max() < 0.2


def test_jaw_open_moves_the_lower_lip(file: Path, document: tuple[dict[str, Any], bytes], toy: Avatar) -> None:
    head, model = trimesh.load(file).geometry["head"], toy.head.model
    _, row = cKDTree(head.vertices).query(toy.head.neutral.numpy())
    moved = _morph(document, "jawOpen")[row]
    assert np.abs(moved - model.expression_basis[EXPRESSION_NAMES.index("jawOpen")].numpy()).max() < 2e-6
    assert moved[model.in_regions("lip").numpy(), 1].min() < -0.015  # metres down
    assert np.abs(moved[model.part("eye_l")]).max() == 0


def test_looking_up_turns_the_eyes(file: Path, document: tuple[dict[str, Any], bytes], toy: Avatar) -> None:
    head, model = trimesh.load(file).geometry["head"], toy.head.model
    eye = toy.head.neutral[model.part("eye_l")]
    _, row = cKDTree(head.vertices).query(eye.numpy())
    front = int(eye[:, 2].argmax())
    assert _morph(document, "eyeLookUpLeft")[row][front, 1] > 0.003
    assert np.abs(_morph(document, "eyeLookUpRight")[row]).max() < 1e-6


def test_textures_show_the_avatar_and_the_scene_where_it_is_unseen(file: Path) -> None:
    scene = trimesh.load(file)
    skin = np.asarray(scene.geometry["head"].visual.material.baseColorTexture.convert("RGB")) / 255
    assert skin.shape == (ATLAS_SIZE, ATLAS_SIZE, 3)
    assert skin.std() > 0.05  # the Gaussians' random colours
    # Deep in the mouth no Gaussian of this avatar is: the scene's own colour stays.
    assert (np.abs(skin - SKIN).max(-1) < 0.03).mean() > 0.02


def test_the_file_says_where_it_comes_from(document: tuple[dict[str, Any], bytes], mark: Origin) -> None:
    asset = document[0]["asset"]
    assert Origin.from_json(json.dumps(asset["extras"])) == mark
    assert asset["copyright"] == mark.statement()
