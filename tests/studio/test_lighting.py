"""The studio's light against formulas and a slow point-by-point twin."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatarcli.geometry import colors
from avatarcli.geometry.mesh import rasterize_mesh
from avatarcli.head.model import PersonalHead
from avatarcli.studio import lighting
from avatarcli.studio.lighting import VertexLight, harmonics, light_vertices
from avatarcli.studio.materials import finishes
from avatarcli.studio.render import render
from avatarcli.studio.scene import Light, Material, PosedMesh, RenderMesh, TextureBank
from avatarcli.studio.shading import Points, shade_strands, shade_surfaces, tone
from avatarcli.studio.textures import Textures
from toy_scenes import facing, head_scene, lamps, plain, scene, square, varied_light

Vector = NDArray[np.float64]


def lit(mesh: RenderMesh, posed: PosedMesh, light: Light) -> VertexLight:
    return light_vertices(mesh, posed, light, Textures.of(mesh, posed.vertices[0]))


def test_convex_body_in_a_uniform_surround_gets_pi_everywhere(sphere: tuple[Tensor, Tensor]) -> None:
    vertices, faces = sphere
    mesh, posed = scene((0.1 * vertices, faces, torch.zeros(len(faces), 3, 2), Material.CLOTH, plain((255,) * 4)))
    light = lit(mesh, posed, lamps(ambient=1.0))
    used = mesh.faces.unique()
    assert float((light.irradiance[0, used] / math.pi - 1).abs().max()) < 0.08
    assert float((light.openness[0, used] - 1).abs().max()) < 0.12


def test_lamp_falls_off_with_angle_and_distance() -> None:
    floor = square(0.0, 0.25, 10)
    mesh, posed = scene((*floor, Material.FRAME, plain((255,) * 4)))
    place = torch.tensor([0.3, 0.1, 0.6])
    light = lit(mesh, posed, lamps((0.3, 0.1, 0.6)))
    way = place - posed.vertices[0]
    distance = way.norm(dim=-1)
    wanted = math.pi * (place.norm() / distance).square() * way[:, 2] / distance
    torch.testing.assert_close(light.visible[0, :, 0], torch.ones(len(wanted)))
    torch.testing.assert_close(light.irradiance[0], wanted[:, None].expand(-1, 3), rtol=1e-4, atol=0)


def test_shadows_lie_where_rays_are_blocked_and_are_softer_under_larger_lamps() -> None:
    floor, blind = square(-0.2, 0.3, 40), square(0.0, 0.1)
    lamp = torch.tensor([0.25, 0.0, 1.0])
    mesh, posed = scene((*floor, Material.SKIN, plain((255,) * 4)), (*blind, Material.HAT, plain((255,) * 4)))
    count = len(floor[0])
    # Where the ray from a floor's vertex to the lamp crosses the blind's height.
    start = posed.vertices[0, :count]
    crossing = start + (lamp - start) * ((0.0 - start[:, 2]) / (lamp[2] - start[:, 2]))[:, None]
    depth_inside = 0.1 - crossing[:, :2].abs().amax(-1)
    partial = []
    for size in (0.01, 0.15):
        seen = lit(mesh, posed, lamps(tuple(lamp.tolist()), size=size)).visible[0, :count, 0]
        margin = 0.012 + 0.2 * size
        assert float(seen[depth_inside > margin].max()) <= 0.021  # what the finish lets in
        assert float(seen[depth_inside < -margin].min()) == 1
        partial.append(int(((seen > 0.05) & (seen < 0.95)).sum()))
    assert partial[1] > 2 * partial[0]
    # The sky is seen past the blind: less in the middle of the shade, all of it at the corner of the floor.
    openness = lit(mesh, posed, lamps(ambient=1.0)).openness[0, :count]
    ratio = 0.5 / math.sqrt(1.25)  # half the blind's side over its height: the form factor of a square overhead
    covered = 4 / math.pi * ratio * math.atan(ratio)
    assert abs(float(openness[start.norm(dim=-1).argmin()]) - (1 - covered)) < 0.06
    assert float(openness[0]) > 0.9


def test_wrapped_light_reaches_past_the_terminator_red_first(sphere: tuple[Tensor, Tensor]) -> None:
    vertices, faces = sphere
    mesh, posed = scene((0.1 * vertices, faces, torch.zeros(len(faces), 3, 2), Material.SKIN, plain((255,) * 4)))
    light = lit(mesh, posed, lamps((0.0, 0.0, 2.0)))
    edge = (vertices[:, 2] > 0.05) & (vertices[:, 2] < 0.3)
    red, green, blue = light.irradiance[0][edge].mean(0).tolist()
    assert red > 1.2 * green > 1.2 * blue > 0


def linear(encoded: Vector) -> Vector:
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def lamp(light: Light, k: int, point: Vector, view: Vector) -> tuple[Vector, Vector, Vector]:
    """Of one lamp: the way to it, how strong it is there, and the way between it and the eye."""
    place = light.position[k].double().numpy()
    to = place - point
    distance = np.linalg.norm(to)
    to /= distance
    strength = light.color[k].double().numpy() * (np.linalg.norm(place) / distance) ** 2
    return to, strength, (to + view) / np.linalg.norm(to + view)


def slow_surface(points: Points, light: Light, i: int) -> Vector:
    """Radiance of one point, as the formulas in the documentation of shading read."""
    p, n = points.position[i].double().numpy(), points.normal[i].double().numpy()
    v = points.eye[i].double().numpy() - p
    v /= np.linalg.norm(v)
    n = n / np.linalg.norm(n)
    n = -n if n @ v < 0 else n
    finish = points.finish[i].tolist()
    reflectance, m1, s1, m2, s2, sheen, _, glossy, _ = finish[7:]
    texel = points.albedo[i].double().numpy()
    gloss = texel[3] * 255 / 128 if glossy else 1.0
    radiance = linear(texel[:3]) * points.irradiance[i].double().numpy() / math.pi
    openness = float(points.openness[i])
    for k in range(len(light.position)):
        to, strength, h = lamp(light, k, p, v)
        lobes = sum(s * (m + 8) / (8 * math.pi) * max(n @ h, 0) ** m for m, s in ((m1, s1), (m2, s2)))
        fresnel = reflectance + (1 - reflectance) * (1 - h @ v) ** 5
        radiance = (
            radiance + strength * lobes * fresnel * max(n @ to, 0) * float(points.visible[i, k]) * openness * gloss
        )
    away = 2 * (n @ v) * n - v
    surround = (harmonics(torch.from_numpy(away)).numpy() @ light.ambient.double().numpy()).clip(0)
    return radiance + surround * (0.6 * reflectance + sheen * (1 - n @ v) ** 5) * openness**2 * gloss


def slow_strand(points: Points, light: Light, i: int) -> Vector:
    p, n, t = (getattr(points, name)[i].double().numpy() for name in ("position", "normal", "tangent"))
    v = points.eye[i].double().numpy() - p
    v, n, t = v / np.linalg.norm(v), n / np.linalg.norm(n), t / np.linalg.norm(t)
    n = -n if n @ v < 0 else n
    encoded = points.albedo[i, :3].double().numpy()
    color = linear(encoded)
    radiance = color * points.irradiance[i].double().numpy() / math.pi
    tilt = 0.5 * (encoded.mean() - 0.35)
    tint = color / max(color.max(), 1e-3) * math.sqrt(max(color.max(), 1e-4))
    for k in range(len(light.position)):
        to, strength, h = lamp(light, k, p, v)
        shine = float(points.finish[i, 13]) * math.sqrt(float(points.openness[i])) * max(0.6 * (n @ to) + 0.4, 0)
        for shift, exponent, share, hue in ((-0.10, 70, 0.035, np.ones(3)), (0.14, 14, 0.11, tint)):
            leaning = t + (shift + tilt) * n
            cosine = leaning / np.linalg.norm(leaning) @ h
            radiance = (
                radiance
                + strength * shine * float(points.visible[i, k]) * share * (1 - cosine**2) ** (exponent / 2) * hue
            )
    return np.asarray(radiance)


def random_points(count: int, materials: list[Material]) -> Points:
    g = torch.Generator().manual_seed(2)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=g)

    def share(*size: int) -> Tensor:
        return torch.rand(*size, generator=g)

    index = torch.randint(0, len(materials), (count,), generator=g)
    material = torch.tensor([int(m) for m in materials])[index]
    eye = torch.nn.functional.normalize(normal(count, 3), dim=-1) * 1.3
    return Points(
        share(count, 4), finishes(eye.device)[material], 0.1 * normal(count, 3), normal(count, 3), normal(count, 3),
        3 * share(count, 3), share(count), share(count, 2), eye,
    )  # fmt: skip


def test_shading_agrees_with_the_slow_twins() -> None:
    light = varied_light()
    solid = [Material.SKIN, Material.EYE, Material.TEETH, Material.TONGUE, Material.CLOTH, Material.HAT, Material.FRAME]
    for materials, fast, slow in (
        (solid, shade_surfaces, slow_surface),
        ([Material.HAIR, Material.BROW, Material.LASH, Material.BEARD], shade_strands, slow_strand),
    ):
        points = random_points(60, materials)
        radiance, normal = fast(points, light)
        wanted = np.stack([slow(points, light, i) for i in range(60)])
        np.testing.assert_allclose(radiance.numpy(), wanted, rtol=2e-3, atol=1e-4)
        torch.testing.assert_close(normal.norm(dim=-1), torch.ones(60))
        assert ((normal * (points.eye - points.position)).sum(-1) >= 0).all()


def test_picture_agrees_with_the_slow_twin(mean_head: PersonalHead) -> None:
    """One sample a pixel, plain colors: rasterised by the twin for one picture, interpolated and shaded point by point."""
    mesh, posed = head_scene(mean_head)
    dyes = [(200, 140, 120, 150), (70, 50, 30, 255)]
    mesh = replace(mesh, textures=TextureBank.of([plain(dye) for dye in dyes]))
    light, camera = varied_light(), facing(24, yaw=0.4)
    frames = render(mesh, posed, camera, light, supersample=1)
    vertices = lit(mesh, posed, light)
    seen = rasterize_mesh(posed.vertices[0], mesh.faces, camera[0])
    covered = seen.covered
    assert torch.equal(frames.rgba[0, 0, ..., 3] > 0, covered)

    def at(values: Tensor) -> Tensor:
        return seen.interpolate(values, mesh.faces)[covered]

    face = seen.face[covered]
    texel = (torch.tensor(dyes) / 255)[mesh.texture[face]]
    points = Points(
        texel, finishes(texel.device)[mesh.material[face]], at(posed.vertices[0]), at(vertices.normal[0]),
        at(vertices.tangent[0]), at(vertices.irradiance[0]), at(vertices.openness[0, :, None])[:, 0],
        at(vertices.visible[0]), camera.centre.expand(len(face), 3),
    )  # fmt: skip
    strand = mesh.material[face] == int(Material.HAIR)
    assert bool(strand.any())
    assert not bool(strand.all())
    slow = [(slow_strand if strand[i] else slow_surface)(points, light, i) for i in range(len(face))]
    wanted = colors.encoded(tone(torch.from_numpy(np.stack(slow)).float() * light.gain))
    found = frames.rgba[0, 0][covered][:, :3]
    # A few skin triangles are seen from behind (the cut at the shoulders); pictures leave those out.
    assert float(((found - wanted).abs().amax(-1) < 4e-3).float().mean()) > 0.99


def test_colors_survive_coding() -> None:
    values = torch.linspace(0, 1, 256)
    assert float((colors.encoded(colors.linear(values)) - values).abs().max()) < 1e-4
    curve = tone(torch.linspace(0, 6, 100))
    assert bool((curve[1:] > curve[:-1]).all())


def test_shadows_do_not_depend_on_how_many_places_are_looked_up_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    depth = 1 + torch.rand(2, 64, 64, generator=generator)
    screen = torch.rand(2, 3, 500, generator=generator) * torch.tensor([64.0, 64.0, 2.0])[:, None]
    bias, strand = torch.full((500,), 0.004), torch.arange(500) % 3 == 0
    shares = []
    for at_once in (1, 2500, 1 << 20):
        monkeypatch.setattr(lighting, "_LOOKED_UP", {"cpu": at_once})
        shares.append(
            lighting._share_of_lamp(
                depth, screen, bias, strand, torch.tensor([[0.1], [0.3]]), torch.full((2, 1), 300.0)
            )
        )
    assert 0.1 < shares[0].mean() < 0.9
    assert torch.equal(shares[0], shares[1])
    assert torch.equal(shares[0], shares[2])
