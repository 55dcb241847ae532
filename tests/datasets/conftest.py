"""Pictures of a person for tests: the shipped head with painted brows, eyes and lips, before calibrated cameras."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from avatarcli.geometry.cameras import Camera, orbit_cameras
from avatarcli.geometry.mesh import rasterize_mesh, vertex_normals
from avatarcli.head.expressions import EXPRESSION_INDEX
from avatarcli.head.model import HeadModel, PersonalHead
from avatarcli.head.parameters import HeadParameters

SIZE = 352  # pixels: a frontal face has some 50 between its eyes
_BROWS = (70, 63, 105, 66, 107, 46, 53, 52, 65, 55, 300, 293, 334, 296, 336, 276, 283, 282, 295, 285)
_BACKGROUND = 0.55


@dataclass(frozen=True)
class Sitting:
    """V cameras around a head, F frames: images uint8 [V, F, S, S, 3], mattes uint8 [V, F, S, S]."""

    head: PersonalHead
    cameras: Camera
    parameters: HeadParameters
    images: NDArray[np.uint8]
    mattes: NDArray[np.uint8]


def paint(model: HeadModel) -> Tensor:
    """A color for every vertex [N, 3]."""
    color = torch.tensor([0.78, 0.58, 0.48]).repeat(model.vertex_count, 1)
    for region, rgb in (
        ("lip", (0.66, 0.33, 0.32)), ("mouth_cavity", (0.2, 0.07, 0.07)), ("scalp", (0.22, 0.15, 0.1)),
        ("torso", (0.3, 0.4, 0.6)), ("teeth", (0.85, 0.8, 0.75)),
    ):  # fmt: skip
        color[model.in_regions(region)] = torch.tensor(rgb)
    for name in ("eye_l", "eye_r"):
        rows = model.part(name)
        centre = model.joint_mean[model.joint_names.index(name)]
        forward = functional.normalize(model.mean[rows] - centre, dim=-1)[:, 2:]
        iris = torch.where(forward > 0.97, 0.03, torch.tensor([0.3, 0.22, 0.15]))
        color[rows] = torch.where(forward > 0.86, iris, torch.tensor([0.92, 0.9, 0.88]))
    brows = model.landmarks(model.mean)[list(_BROWS)]
    near = (torch.cdist(model.mean, brows).amin(1) < 0.006) & model.in_regions("face")
    color[near] = torch.tensor([0.25, 0.17, 0.12])
    return color


def photograph(head: PersonalHead, cameras: Camera, parameters: HeadParameters) -> Sitting:
    model = head.model
    color, light = paint(model), functional.normalize(torch.tensor([0.3, 0.6, 1.0]), dim=0)
    images = np.zeros((len(cameras), len(parameters), cameras.height, cameras.width, 3), np.uint8)
    mattes = np.zeros(images.shape[:-1], np.uint8)
    for frame in range(len(parameters)):
        one = parameters[frame : frame + 1]
        posed = head.in_world(one)[0]
        normals = vertex_normals(posed, model.faces)
        shaded = color * (0.45 + 0.55 * (normals @ light).clamp(min=0))[:, None]
        for view in range(len(cameras)):
            raster = rasterize_mesh(posed, model.faces, cameras[view])
            picture = raster.interpolate(shaded, model.faces)
            picture = torch.where(raster.covered[..., None], picture, torch.tensor(_BACKGROUND))
            images[view, frame] = (picture * 255).byte().numpy()
            mattes[view, frame] = raster.covered.numpy() * np.uint8(255)
    return Sitting(head, cameras, parameters, images, mattes)


@pytest.fixture(scope="session")
def around() -> Callable[[list[float]], Camera]:
    """Makes cameras at eye level; degrees."""

    def make(yaw: list[float]) -> Camera:
        angles, target = torch.deg2rad(torch.tensor(yaw)), torch.tensor([0.0, -0.02, 0.0])
        return orbit_cameras(angles, torch.zeros(len(yaw)), distance=1.2, target=target, focal=SIZE * 2.4, size=SIZE)

    return make


@pytest.fixture(scope="session")
def sitting(mean_head: PersonalHead, around: Callable[[list[float]], Camera]) -> Sitting:
    """Five frames of somebody who opens the mouth and turns a little, seen by cameras all around."""
    parameters = HeadParameters.at_rest(5)
    parameters.expression[:, EXPRESSION_INDEX["jawOpen"]] = torch.linspace(0, 0.4, 5)
    angle = torch.linspace(0, 0.08, 5)
    parameters.head_pose[:, 0, 0] = parameters.head_pose[:, 2, 2] = angle.cos()
    parameters.head_pose[:, 0, 2], parameters.head_pose[:, 2, 0] = angle.sin(), -angle.sin()
    return photograph(mean_head, around([0.0, 30.0, 90.0, 180.0, -30.0]), parameters)
