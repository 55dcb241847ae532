"""Cameras: projection and its inverse, where they look, and what resizing and cropping do to pixels."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from avatarcli.geometry.cameras import Camera, focal_for_field_of_view, intrinsics, look_at, orbit_cameras

settings.register_profile("quick", max_examples=60, deadline=None, derandomize=True)
settings.load_profile("quick")

UP = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)


def close(a: Tensor, b: Tensor, tolerance: float = 1e-7) -> None:
    torch.testing.assert_close(a, b, atol=tolerance, rtol=0)


@st.composite
def cameras(draw: st.DrawFn) -> Camera:
    """A camera 1 … 3 m from a target near the origin, never straight above or below it."""
    yaw, pitch = draw(st.floats(-math.pi, math.pi)), draw(st.floats(-1.4, 1.4))
    distance = draw(st.floats(1.0, 3.0))
    target = torch.tensor([draw(st.floats(-0.3, 0.3)) for _ in range(3)], dtype=torch.float64)
    way = [math.sin(yaw) * math.cos(pitch), math.sin(pitch), math.cos(yaw) * math.cos(pitch)]
    eye = target + distance * torch.tensor(way, dtype=torch.float64)
    width, height = draw(st.integers(16, 400)), draw(st.integers(16, 400))
    K = intrinsics(draw(st.floats(20.0, 2000.0)), width, height).double()
    return Camera(look_at(eye, target), K, width, height)


def points() -> st.SearchStrategy[Tensor]:
    number = st.floats(-0.4, 0.4)
    return st.lists(st.tuples(number, number, number), min_size=1, max_size=5).map(
        lambda rows: torch.tensor(rows, dtype=torch.float64)
    )


@given(cameras(), points())
def test_unprojecting_undoes_projecting(camera: Camera, world: Tensor) -> None:
    pixels, depth = camera.project(world)
    close(camera.unproject(pixels, depth), world, 1e-6)
    close(depth, camera.to_camera(world)[:, 2])


@given(cameras(), st.floats(0.1, 5.0))
def test_the_middle_of_the_picture_is_straight_ahead(camera: Camera, depth: float) -> None:
    middle = torch.tensor([[camera.width / 2, camera.height / 2]], dtype=torch.float64)
    ahead = camera.unproject(middle, torch.tensor([depth], dtype=torch.float64))
    assert float((ahead[0] - camera.centre).norm()) == pytest.approx(depth)
    close(camera.to_camera(camera.centre[None]), torch.zeros(1, 3, dtype=torch.float64))


@given(cameras(), points(), st.integers(8, 900), st.integers(8, 900))
def test_resized_cameras_scale_the_pixels(camera: Camera, world: Tensor, width: int, height: int) -> None:
    pixels, depth = camera.project(world)
    resized = camera.resized(width, height)
    again, again_depth = resized.project(world)
    close(again, pixels * torch.tensor([width / camera.width, height / camera.height], dtype=torch.float64), 1e-3)
    close(again_depth, depth)
    assert (resized.width, resized.height) == (width, height)


@given(cameras(), points(), st.floats(-50, 50), st.floats(-50, 50))
def test_cropped_cameras_shift_the_pixels(camera: Camera, world: Tensor, left: float, top: float) -> None:
    pixels, _ = camera.project(world)
    window = camera.cropped(left, top, 32, 24)
    close(window.project(world)[0], pixels - torch.tensor([left, top], dtype=torch.float64), 1e-6)
    assert (window.width, window.height) == (32, 24)
    close(camera.project(world)[0], pixels)  # the original is untouched


def test_rays_lead_from_the_camera_through_its_pixels() -> None:
    camera = orbit_cameras(
        torch.tensor([0.7]), torch.tensor([0.3]), distance=1.3, target=torch.tensor([0.1, 0.0, 0.0]), focal=20.0, size=8
    )[0].cropped(1, 2, 5, 4)
    rays = camera.rays()
    assert rays.shape == (4, 5, 3)
    pixels, depth = camera.project((camera.centre + 0.6 * rays).view(-1, 3))
    x, y = torch.meshgrid(torch.arange(5) + 0.5, torch.arange(4) + 0.5, indexing="xy")
    torch.testing.assert_close(pixels, torch.stack([x, y], dim=-1).view(-1, 2), atol=1e-3, rtol=0)
    assert (depth > 0).all()
    torch.testing.assert_close(rays.norm(dim=-1), torch.ones(4, 5))


@given(cameras())
def test_look_at_is_a_rotation_that_keeps_up_up(camera: Camera) -> None:
    rotation = camera.world_to_camera[:3, :3]
    close(rotation @ rotation.T, torch.eye(3, dtype=torch.float64))
    assert float(torch.linalg.det(rotation)) == pytest.approx(1.0)
    # The camera's y points down in the picture, its x stays level.
    assert float(rotation[1] @ UP) < 0
    assert float(rotation[0] @ UP) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("height", [1.0, -1.0])
def test_look_at_straight_down_or_up_is_still_a_camera(height: float) -> None:
    eye = torch.tensor([0.2, height, 0.1], dtype=torch.float64)
    target = torch.tensor([0.2, 0.0, 0.1], dtype=torch.float64)
    camera = Camera(look_at(eye, target), intrinsics(50.0, 40, 40).double(), 40, 40)
    rotation = camera.world_to_camera[:3, :3]
    close(rotation @ rotation.T, torch.eye(3, dtype=torch.float64))
    assert float(torch.linalg.det(rotation)) == pytest.approx(1.0)
    pixels, depth = camera.project(target[None])
    close(pixels, torch.tensor([[20.0, 20.0]], dtype=torch.float64))
    assert float(depth[0]) == pytest.approx(1.0)


def test_orbit_signs() -> None:
    """Yaw to the subject's left (+x), pitch to above; ahead of the face, +x is on the right of the picture."""
    target = torch.tensor([0.1, -0.2, 0.3])
    yaw = torch.tensor([0.0, 0.5, -0.5, math.pi, 0.0])
    pitch = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.4])
    orbit = orbit_cameras(yaw, pitch, distance=1.5, target=target, focal=100.0, size=64)
    assert len(orbit) == 5
    offset = orbit.centre - target
    close(offset[0], torch.tensor([0.0, 0.0, 1.5]), 1e-6)
    assert float(offset[1, 0]) > 0.5
    assert float(offset[2, 0]) < -0.5
    close(offset[3], torch.tensor([0.0, 0.0, -1.5]), 1e-6)
    assert float(offset[4, 1]) > 0.5
    close(offset.norm(dim=-1), torch.full((5,), 1.5), 1e-5)
    left_ear, right_ear = target + torch.tensor([[0.08, 0.0, 0.0], [-0.08, 0.0, 0.0]])
    for camera, nearer_left in ((orbit[1], True), (orbit[2], False)):
        _, depth = camera.project(torch.stack([left_ear, right_ear]))
        assert bool(depth[0] < depth[1]) is nearer_left
    pixels, _ = orbit[0].project(torch.stack([target, left_ear, target + torch.tensor([0.0, 0.1, 0.0])]))
    close(pixels[0], torch.tensor([32.0, 32.0]), 1e-4)
    assert float(pixels[1, 0]) > 32
    assert float(pixels[2, 1]) < 32


def test_a_batch_of_cameras_projects_as_each_of_them() -> None:
    yaw = torch.linspace(-2, 2, 4)
    orbit = orbit_cameras(yaw, 0.1 * yaw, distance=1.0, target=torch.zeros(3), focal=80.0, size=50)
    world = 0.2 * torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    pixels, depth = orbit.project(world)
    assert pixels.shape == (4, 7, 2)
    for index in range(4):
        one_pixels, one_depth = orbit[index].project(world)
        close(pixels[index], one_pixels, 1e-4)
        close(depth[index], one_depth, 1e-5)
    assert len(orbit[1:3]) == 2


def test_points_behind_the_camera_have_negative_depth() -> None:
    camera = orbit_cameras(torch.zeros(1), torch.zeros(1), distance=1.0, target=torch.zeros(3), focal=80.0, size=50)[0]
    _, depth = camera.project(torch.tensor([[0.0, 0.0, 0.5], [0.0, 0.0, 1.5]]))
    assert float(depth[0]) == pytest.approx(0.5)
    assert float(depth[1]) == pytest.approx(-0.5)


@given(st.floats(5.0, 150.0), st.integers(16, 2048))
def test_the_field_of_view_spans_the_picture(degrees: float, size: int) -> None:
    focal = focal_for_field_of_view(degrees, size)
    edge = math.tan(math.radians(degrees / 2)) * focal + size / 2
    assert edge == pytest.approx(size)


@pytest.mark.parametrize(("pose", "lens"), [((3, 4), (3, 3)), ((4, 4), (3, 4))])
def test_wrong_shapes_are_refused(pose: tuple[int, int], lens: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="world_to_camera"):
        Camera(torch.zeros(pose), torch.zeros(lens), 10, 10)
