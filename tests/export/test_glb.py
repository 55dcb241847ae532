"""The GLB, read by trimesh and by hand."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import trimesh
from scipy.spatial import cKDTree
from torch.nn import functional

from avatarcli.export.bake import bake_shell
from avatarcli.export.glb import STEPS, write_glb
from avatarcli.export.origin import Origin
from avatarcli.export.shell_shape import fit_to_avatar
from avatarcli.gaussians.avatar import Avatar
from avatarcli.geometry.rays import outermost_hit
from avatarcli.head.expressions import EXPRESSION_NAMES
from avatarcli.multiview.framing import Framing
from avatarcli.reproject.scene import Scene
from avatarcli.reproject.shell import Shell
from avatarcli.reproject.skin_texture import ATLAS_SIZE
from origin_reader import from_json

ROWS, COLUMNS = 6, 12
SKIN, HAIR = (0.8, 0.5, 0.4), (0.3, 0.2, 0.1)


def _shell(rows: int = ROWS, columns: int = COLUMNS) -> Shell:
    """A tube of 15 cm radius around the head, on a grid whose columns go round."""
    height, azimuth = torch.meshgrid(
        torch.linspace(0.15, -0.2, rows), (torch.arange(columns) + 0.5) / columns * 2 * math.pi, indexing="ij"
    )
    directions = torch.stack([azimuth.sin(), torch.zeros_like(azimuth), azimuth.cos()], dim=-1)
    origins = height[..., None] * torch.tensor([0.0, 1.0, 0.0])
    index = torch.arange(rows * columns).view(rows, columns)
    a, b, c, d = index[:-1], index[:-1].roll(-1, 1), index[1:], index[1:].roll(-1, 1)
    faces = torch.cat([torch.stack([a, c, b], -1).view(-1, 3), torch.stack([b, c, d], -1).view(-1, 3)])
    v, u = torch.meshgrid((torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns, indexing="ij")
    skinning = torch.zeros(rows * columns, 5)
    skinning[:, 4] = 1
    return Shell(
        vertices=(0.15 * directions + origins).view(-1, 3),
        faces=faces,
        uv=torch.stack([u, v], dim=-1).view(-1, 2),
        thickness=torch.full((rows, columns), 0.05),
        origins=origins.view(-1, 3),
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
    assert skin.std() > 0.05  # the Gaussians' random colors
    # Deep in the mouth no Gaussian of this avatar is: the scene's own color stays.
    assert (np.abs(skin - SKIN).max(-1) < 0.03).mean() > 0.02


def test_the_file_says_where_it_comes_from(document: tuple[dict[str, Any], bytes], mark: Origin) -> None:
    asset = document[0]["asset"]
    assert from_json(json.dumps(asset["extras"])) == mark
    assert asset["copyright"] == mark.statement()


def test_hair_has_the_avatars_shape_and_takes_strands_that_hang_on_the_face(make_avatar: Callable[..., Avatar]) -> None:
    """Everything above the eyes is lifted off the skin by 3 cm, three quarters of it bound to the moving face."""
    bald = make_avatar(4000)
    lifted = bald.means[:, 1] > 0.03
    outwards = functional.normalize(bald.means, dim=-1) * lifted[:, None]
    avatar = replace(
        bald,
        means=bald.means + 0.03 * outwards,
        log_scales=bald.log_scales + 0.5 * lifted[:, None],
        framing=Framing(bald.framing.target, bald.framing.span + 0.06),
    )
    rows, columns = 48, 96
    with torch.inference_mode():
        guess = _shell(rows, columns)
        shell = fit_to_avatar(guess, avatar, lambda steps: None)
        picture = bake_shell(avatar, shell, lambda steps: None)
    height = shell.origins[:, 1]
    above = (height > 0.06) & (height < 0.09)
    below = (height > 0.0) & (height < 0.015)
    skin = avatar.head.model.faces[avatar.head.model.face_part == 0]
    bare = outermost_hit(shell.origins, shell.directions, avatar.head.neutral, skin)
    stands_off = ((shell.vertices - shell.origins) * shell.directions).sum(-1) - bare
    assert 0.02 < stands_off[above].median() < 0.04  # metres
    assert stands_off[below].median() < 0.008
    alpha = functional.avg_pool2d(picture[None, ..., 3], picture.shape[0] // rows)[0].reshape(-1)
    assert alpha[above].median() > 0.7
