"""Are the ears bare? Drawn heads with known answers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.geometry.cameras import Camera, orbit_cameras
from avatarcli.geometry.mesh import MeshRaster, rasterize_mesh
from avatarcli.head.model import REGIONS, HeadModel, load_head_model
from avatarcli.reproject.ears import bare_ears

SIZE = 256
SKIN, HAIR = torch.tensor([0.8, 0.6, 0.5]), torch.tensor([0.2, 0.14, 0.1])


@pytest.fixture(scope="module")
def model() -> HeadModel:
    return load_head_model()


def seen(model: HeadModel, yaw: float) -> tuple[MeshRaster, Camera]:
    angle = torch.tensor([yaw])
    camera = orbit_cameras(
        angle, torch.zeros(1), distance=1.3, target=torch.tensor([0.0, -0.03, 0.0]), focal=SIZE * 2.75, size=SIZE
    )[0]
    return rasterize_mesh(model.mean, model.faces, camera), camera


def ears(model: HeadModel, hair: Tensor, yaw: float = 0.0) -> Tensor:
    """bare_ears of the average head with `hair` [S, S] (bool) painted over and around it."""
    raster, camera = seen(model, yaw)
    picture = torch.where(hair[..., None], HAIR, SKIN.expand(SIZE, SIZE, 3))
    matte = (raster.covered | hair).float()
    return bare_ears(picture, matte, raster, model, model.mean, camera, SKIN, HAIR)


def curtain(model: HeadModel, left: bool, right: bool) -> Tensor:
    """Hair that hides the chosen ears and hangs 20 pixels (4 cm) beyond them."""
    raster, _ = seen(model, 0.0)
    ear = raster.covered & (model.region[model.faces[:, 0]][raster.face.clamp(min=0)] == REGIONS.index("ear"))
    wide = functional.max_pool2d(ear.float()[None, None], 41, stride=1, padding=20)[0, 0] > 0
    on_left = (torch.arange(SIZE) > SIZE / 2).expand(SIZE, SIZE)
    return wide & ((on_left & left) | (~on_left & right))


@pytest.mark.parametrize(("left", "right"), [(False, False), (True, True), (True, False), (False, True)])
def test_each_ear_is_judged_on_its_own(model: HeadModel, left: bool, right: bool) -> None:
    bare = ears(model, curtain(model, left, right))
    assert (bare < 0.2).tolist() == [left, right]
    assert (bare > 0.8).tolist() == [not left, not right]


def test_an_ear_out_of_sight_is_taken_to_be_like_the_other(model: HeadModel) -> None:
    bare = ears(model, torch.zeros(SIZE, SIZE, dtype=torch.bool), yaw=1.2)
    assert bare[0] == bare[1]
    assert bare[0] > 0.8
