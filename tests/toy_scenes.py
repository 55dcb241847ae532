"""Small scenes and lights for tests of the studio, and a tracker without faults."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from avatarcli.geometry.cameras import Camera, orbit_cameras
from avatarcli.head.model import PersonalHead
from avatarcli.studio.scene import Light, Material, PosedMesh, RenderMesh, TextureBank
from avatarcli.studio.tracker_error import COVARIATES, ERROR_SIZE, SHAPE_SIZE, ErrorStatistics


def plain(color: tuple[int, int, int, int]) -> Tensor:
    return torch.tensor(color, dtype=torch.uint8).expand(4, 4, 4)


def scene(*parts: tuple[Tensor, Tensor, Tensor, Material, Tensor]) -> tuple[RenderMesh, PosedMesh]:
    """A mesh of parts (vertices [n, 3], faces [f, 3], uv [f, 3, 2], material, texture), in one frame; the first is the head."""
    starts = np.cumsum([0, *[len(part[0]) for part in parts]]).tolist()
    counts = [len(part[1]) for part in parts]
    vertices = torch.cat([part[0] for part in parts]).float()
    number = torch.arange(len(parts)).repeat_interleave(torch.tensor(counts))
    canonical = torch.zeros_like(vertices)
    canonical[: starts[1]] = 2 * vertices[: starts[1]]
    mesh = RenderMesh(
        faces=torch.cat([part[1] + start for part, start in zip(parts, starts, strict=False)]),
        uv=torch.cat([part[2] for part in parts]).float(),
        material=torch.tensor([int(part[3]) for part in parts])[number],
        texture=number,
        depth_bias=torch.zeros(len(number)),
        canonical=canonical,
        hidden=torch.zeros(len(number), dtype=torch.bool),
        head_faces=counts[0],
        textures=TextureBank.of([part[4] for part in parts]),
    )
    offset = torch.zeros_like(vertices)
    offset[: starts[1]] = 0.1 * vertices[: starts[1]].flip(-1)
    return mesh, PosedMesh(vertices[None], offset[None], torch.ones(1, len(vertices)))


def square(z: float, half: float = 0.2, cells: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Vertices, faces and uv of a square that faces +z."""
    steps = torch.linspace(0, 1, cells + 1)
    v, u = torch.meshgrid(steps, steps, indexing="ij")
    vertices = torch.stack([half * (2 * u - 1), half * (1 - 2 * v), torch.full_like(u, z)], dim=-1).view(-1, 3)
    index = torch.arange((cells + 1) ** 2).view(cells + 1, cells + 1)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    faces = torch.cat([torch.stack([a, c, b], -1).view(-1, 3), torch.stack([a, d, c], -1).view(-1, 3)])
    return vertices, faces, torch.stack([u, v], dim=-1).view(-1, 2)[faces]


def head_scene(head: PersonalHead) -> tuple[RenderMesh, PosedMesh]:
    model = head.model
    generator = torch.Generator().manual_seed(0)
    skin = torch.randint(60, 220, (64, 64, 4), generator=generator, dtype=torch.uint8)
    hair = square(0.13, 0.09, 6)  # a fringe before the face
    strands = torch.randint(0, 255, (32, 32, 4), generator=generator, dtype=torch.uint8)
    mesh, posed = scene(
        (head.neutral, model.faces, model.uv[model.face_uv], Material.SKIN, skin),
        (hair[0] + torch.tensor([0.02, 0.05, 0.0]), hair[1], hair[2], Material.HAIR, strands),
    )
    material = mesh.material.clone()
    for part, kind in (
        (1, Material.EYE),
        (2, Material.EYE),
        (3, Material.TONGUE),
        (4, Material.TEETH),
        (5, Material.TEETH),
    ):
        material[: mesh.head_faces][model.face_part == part] = int(kind)
    return replace(mesh, material=material), posed


def facing(size: int, *, yaw: float = 0.0, span: float = 0.5) -> Camera:
    focal = size * 1.3 / span
    return orbit_cameras(
        torch.tensor([yaw]), torch.zeros(1), distance=1.3, target=torch.zeros(3), focal=focal, size=size
    )


def lamps(*position: tuple[float, float, float], ambient: float = 0.0, size: float = 0.02) -> Light:
    """Lamps of irradiance π at the origin, in a uniform surround of radiance `ambient`."""
    count = len(position)
    coefficients = torch.zeros(9, 3)
    coefficients[0] = ambient * math.sqrt(4 * math.pi)
    places = torch.tensor(position).view(count, 3)
    return Light(coefficients, places, torch.full((count, 3), math.pi), torch.full((count,), size), torch.ones(3))


def varied_light() -> Light:
    generator = torch.Generator().manual_seed(1)
    ambient = 0.15 * torch.randn(9, 3, generator=generator)
    ambient[0] += 1.2
    light = lamps((0.8, 0.7, 1.0), (-1.0, 0.2, 0.5), size=0.1)
    return replace(light, ambient=ambient, gain=torch.tensor([0.9, 1.0, 1.1]))


def faultless_tracker() -> ErrorStatistics:
    """Everything is found, and nothing goes wrong."""
    return ErrorStatistics(
        mean=torch.zeros(COVARIATES, ERROR_SIZE),
        factors=torch.zeros(1, ERROR_SIZE),
        noise=torch.zeros(ERROR_SIZE),
        sizes=torch.ones(21),
        expression_gain=torch.ones(52),
        shape_gain=torch.ones(SHAPE_SIZE),
        source="a test",
    )
