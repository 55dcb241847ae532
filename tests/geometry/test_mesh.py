"""The z-buffer against rays cast one triangle at a time, and what is looked up with it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatarcli.geometry.cameras import Camera, intrinsics, look_at
from avatarcli.geometry.mesh import rasterize_mesh, sample_image, vertex_normals, visible_points

Float = NDArray[np.float64]
NEAR = 0.01  # metres, as the z-buffer has it


def camera_at(eye: tuple[float, float, float], *, focal: float = 22.0, width: int = 30, height: int = 22) -> Camera:
    pose = look_at(torch.tensor(eye, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    return Camera(pose, intrinsics(focal, width, height).double(), width, height)


def cast_rays(vertices: Tensor, faces: Tensor, camera: Camera, cull: bool) -> tuple[NDArray[np.int64], Float, Float]:
    """Nearest triangle [H, W], its weights [H, W, 3] and depth [H, W]: for each triangle, the plane's crossing with all rays."""
    local = camera.to_camera(vertices).numpy()
    K = camera.K.numpy()
    x = (np.arange(camera.width) + 0.5 - K[0, 2]) / K[0, 0]
    y = (np.arange(camera.height) + 0.5 - K[1, 2]) / K[1, 1]
    rays = np.stack([*np.meshgrid(x, y), np.ones((camera.height, camera.width))], axis=-1)
    nearest = np.full(rays.shape[:2], -1)
    weights, depth = np.zeros(rays.shape), np.full(rays.shape[:2], np.inf)
    for index, face in enumerate(faces.numpy()):
        a, b, c = local[face]
        if min(a[2], b[2], c[2]) < NEAR:
            continue
        normal = np.cross(b - a, c - a)
        if cull and normal @ a > 0:  # the outer side looks away from the camera
            continue
        z = (normal @ a) / (rays @ normal)
        hit = rays * z[..., None]
        # Barycentric weights: shares of the triangle's area, measured along its normal.
        shares = np.stack(
            [np.cross(c - b, hit - b) @ normal, np.cross(a - c, hit - c) @ normal, np.cross(b - a, hit - a) @ normal],
            axis=-1,
        ) / (normal @ normal)
        closer = (shares >= 0).all(-1) & (z > 0) & (z < depth)
        nearest[closer], weights[closer], depth[closer] = index, shares[closer], z[closer]
    return nearest, weights, depth


def soup(seed: int, count: int = 40) -> tuple[Tensor, Tensor]:
    """Triangles of all sizes around the origin; the camera at 1.2 m has some of them behind it and many off the picture."""
    generator = torch.Generator().manual_seed(seed)
    centres = 3.0 * torch.rand(count, 1, 3, generator=generator, dtype=torch.float64) - 1.5
    corners = 0.5 * torch.randn(count, 3, 3, generator=generator, dtype=torch.float64)
    return (centres + corners).view(-1, 3), torch.arange(3 * count).view(count, 3)


@pytest.mark.parametrize("cull", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_triangle_soup_is_seen_as_rays_see_it(seed: int, cull: bool) -> None:
    vertices, faces = soup(seed)
    camera = camera_at((0.4, 0.3, 1.2))
    depths = camera.to_camera(vertices)[:, 2]
    assert (depths < 0).any()  # the case is there
    raster = rasterize_mesh(vertices, faces, camera, cull_backfaces=cull)
    face, weights, depth = cast_rays(vertices, faces, camera, cull)
    assert 0.15 < raster.covered.double().mean() <= 1
    np.testing.assert_array_equal(raster.face.numpy(), face)
    np.testing.assert_array_equal(raster.covered.numpy(), face >= 0)
    np.testing.assert_allclose(raster.weights.numpy(), weights, atol=1e-5)
    np.testing.assert_allclose(raster.depth.numpy(), depth, rtol=1e-5)


def test_culling_leaves_the_outside_only(sphere: tuple[Tensor, Tensor]) -> None:
    vertices, faces = sphere
    camera = camera_at((0.0, 0.0, 4.0))
    outside = rasterize_mesh(vertices, faces, camera, cull_backfaces=True)
    inside = rasterize_mesh(vertices, faces.flip(-1), camera, cull_backfaces=True)
    both = rasterize_mesh(vertices, faces, camera)
    assert both.covered.any()
    torch.testing.assert_close(outside.depth, both.depth)
    on = both.covered & inside.covered
    assert (inside.depth[on] > outside.depth[on]).float().mean() > 0.95


def test_interpolated_positions_lie_where_the_depth_says() -> None:
    vertices, faces = soup(11)
    camera = camera_at((0.4, 0.3, 1.2))
    raster = rasterize_mesh(vertices, faces, camera)
    points = raster.interpolate(vertices, faces)
    rows, columns = raster.covered.nonzero().unbind(-1)
    pixels = torch.stack([columns, rows], -1) + 0.5
    expected = camera.unproject(pixels.double(), raster.depth[rows, columns].double())
    torch.testing.assert_close(points[rows, columns], expected, atol=1e-5, rtol=0)
    assert (points[~raster.covered] == 0).all()
    assert not raster.covered.all()


def test_an_empty_view_is_empty() -> None:
    vertices, faces = soup(1)
    raster = rasterize_mesh(vertices + torch.tensor([0.0, 100.0, 0.0]), faces, camera_at((0.0, 0.0, 3.0)))
    assert not raster.covered.any()
    assert torch.isinf(raster.depth).all()
    assert (raster.weights == 0).all()


def test_vertex_normals_of_a_sphere_point_outwards(sphere: tuple[Tensor, Tensor]) -> None:
    vertices, faces = sphere
    used = torch.zeros(len(vertices), dtype=torch.bool)
    used[faces] = True
    normals = vertex_normals(vertices, faces)
    torch.testing.assert_close(normals[used].norm(dim=-1), torch.ones(int(used.sum()), dtype=torch.float64))
    away_from_poles = used & (vertices[:, 1].abs() < 0.95)
    assert ((normals * vertices).sum(-1)[away_from_poles] > 0.999).all()
    batch = torch.stack([vertices, vertices @ torch.diag(torch.tensor([1.0, 2.0, 1.0], dtype=torch.float64))])
    torch.testing.assert_close(vertex_normals(batch, faces)[0], normals)


def test_only_the_near_unhidden_side_is_visible(sphere: tuple[Tensor, Tensor]) -> None:
    vertices, faces = sphere
    size = torch.zeros(len(vertices))
    size[faces] = 1
    points = vertices[size > 0]
    camera = camera_at((0.0, 0.0, 4.0), focal=160.0, width=96, height=96)
    raster = rasterize_mesh(vertices, faces, camera)
    pixels, facing, visible = visible_points(points, points, camera, raster.depth, tolerance=0.1)
    torch.testing.assert_close(pixels, camera.project(points)[0])
    # A point of the unit sphere faces a camera at 4 m when its z is above 1/4.
    assert (facing[points[:, 2] > 0.26] > 0).all()
    assert (facing[points[:, 2] < 0.24] < 0).all()
    on_picture = (pixels > 1).all(-1) & (pixels < 95).all(-1)
    assert visible[on_picture & (points[:, 2] > 0.35)].all()
    assert not visible[points[:, 2] < 0.24].any()
    assert not visible[~((pixels >= 0) & (pixels < 96)).all(-1)].any()
    # A wall between camera and sphere hides all of it.
    wall = torch.full_like(raster.depth, 1.0)
    assert not visible_points(points, points, camera, wall, tolerance=0.02)[2].any()
    # And what is behind the camera is not seen, however it faces.
    behind = points + torch.tensor([0.0, 0.0, 10.0], dtype=torch.float64)
    assert not visible_points(behind, -points, camera, torch.full_like(raster.depth, math.inf), tolerance=0.02)[2].any()


def test_bilinear_samples_of_a_ramp_are_exact() -> None:
    x, y = torch.meshgrid(torch.arange(8) + 0.5, torch.arange(6) + 0.5, indexing="xy")
    image = torch.stack([x, y, 2 * x - y], dim=-1)
    pixels = torch.tensor([[0.5, 0.5], [3.2, 4.7], [7.5, 5.5], [5.0, 1.0]])
    values = sample_image(image, pixels)
    torch.testing.assert_close(values[:, :2], pixels, atol=1e-5, rtol=0)
    torch.testing.assert_close(values[:, 2], 2 * pixels[:, 0] - pixels[:, 1], atol=1e-5, rtol=0)
    beyond = sample_image(image, torch.tensor([[-50.0, 3.5], [100.0, 100.0]]))
    torch.testing.assert_close(beyond[:, :2], torch.tensor([[0.5, 3.5], [7.5, 5.5]]))
