"""Studio pictures: holes, layers and maps against what they must show."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from avatarcli.geometry.cameras import orbit_cameras
from avatarcli.geometry.mesh import rasterize_mesh
from avatarcli.head.model import PersonalHead
from avatarcli.studio.render import composite, render
from avatarcli.studio.scene import Material, PosedMesh, StudioFrames
from avatarcli.studio.textures import Textures
from toy_scenes import facing, head_scene, lamps, plain, scene, square, varied_light


def test_fields_hold_together_and_do_not_depend_on_chunks(mean_head: PersonalHead) -> None:
    mesh, posed = head_scene(mean_head)
    moved = PosedMesh(
        torch.cat([posed.vertices, posed.vertices + 0.01]), posed.offset.repeat(2, 1, 1), posed.occlusion.repeat(2, 1)
    )
    camera = orbit_cameras(
        torch.tensor([0.0, 1.2, 3.0]), torch.zeros(3), distance=1.3, target=torch.zeros(3), focal=100.0, size=40
    )
    frames = render(mesh, moved, camera, varied_light())
    assert frames.rgba.shape == (3, 2, 40, 40, 4)
    again, chunked = (render(mesh, moved, camera, varied_light(), chunk=chunk) for chunk in (None, 5))
    for name, value in vars(frames).items():
        assert torch.equal(value, getattr(again, name)), name
        torch.testing.assert_close(value, getattr(chunked, name), msg=name)
    alpha = frames.rgba[..., 3]
    assert (frames.rgba[..., :3] <= alpha[..., None] + 1e-6).all()
    torch.testing.assert_close(frames.regions.sum(-1), alpha)
    torch.testing.assert_close(frames.normal.norm(dim=-1), (alpha > 0).float(), atol=1e-3, rtol=0)
    assert 0 < float(frames.regions[0, ..., 1].mean()) < float(frames.regions[0, ..., 0].mean())
    background = torch.rand(40, 40, 3, generator=torch.Generator().manual_seed(0))
    over = composite(frames.rgba, background)
    empty = alpha == 0
    assert torch.equal(over[empty], background.expand_as(over)[empty])


def test_maps_show_the_bare_head_through_all_that_covers_it(mean_head: PersonalHead) -> None:
    mesh, posed = head_scene(mean_head)
    mesh = replace(mesh, hidden=torch.arange(len(mesh.faces)) % 3 == 0)
    camera = facing(48, yaw=0.3)
    frames = render(mesh, posed, camera, lamps(ambient=1.0))
    head = mesh.faces[: mesh.head_faces]
    seen = rasterize_mesh(posed.vertices[0], head, camera[0])
    same = (frames.depth[0, 0].isinf() == ~seen.covered).float().mean()
    assert float(same) > 0.999
    for found, values in ((frames.position, mesh.canonical), (frames.offset, posed.offset[0])):
        error = (found[0, 0] - seen.interpolate(values, head)).norm(dim=-1)
        assert float((error < 1e-4).float().mean()) > 0.998


def card(material: Material, alpha: Tensor) -> StudioFrames:
    """A grey card of a texture's alpha before a white wall of skin, seen squarely."""
    texture = torch.cat([torch.full((*alpha.shape, 3), 90, dtype=torch.uint8), alpha[..., None]], dim=-1)
    mesh, posed = scene(
        (*square(-0.1, 0.3), Material.SKIN, plain((255, 255, 255, 0))), (*square(0.0, 0.2), material, texture)
    )
    return render(mesh, posed, facing(64, span=0.36), lamps(ambient=0.5))


def test_half_transparent_hair_covers_half_without_a_pattern() -> None:
    generator = torch.Generator().manual_seed(0)
    alpha = torch.randint(110, 145, (128, 128), generator=generator, dtype=torch.uint8)
    share = card(Material.HAIR, alpha).regions[0, 0, ..., 1]
    assert abs(float(share.mean()) - 0.5) < 0.05
    # Less noise than four throws of the dice a pixel would make, which vary by α (1 − α) / 4.
    assert float(share.var()) < 0.8 * 0.25 / 4
    rows, columns = share.mean(0), share.mean(1)
    assert float(torch.stack([rows, columns]).std()) < 0.06


def test_holes_stay_on_the_surface_when_the_camera_moves() -> None:
    alpha = torch.full((64, 64), 128, dtype=torch.uint8)
    texture = torch.cat([torch.full((64, 64, 3), 90, dtype=torch.uint8), alpha[..., None]], dim=-1)
    mesh, posed = scene((*square(0.0), Material.HAIR, texture))
    textures = Textures.of(mesh, posed.vertices[0])
    generator = torch.Generator().manual_seed(3)
    weights = torch.rand(500, 3, generator=generator)
    weights = weights / weights.sum(-1, keepdim=True)
    face = torch.randint(0, 2, (500,), generator=generator)
    near, nearer = (textures.solid(face, weights, torch.full((500,), area)) for area in (2048.0, 2300.0))
    assert torch.equal(near, nearer)
    assert 150 < int(near.sum()) < 350


def test_textures_shrink_to_their_means_and_keep_colors_of_holes_out() -> None:
    board = (torch.arange(64)[:, None] + torch.arange(64)) % 2
    texture = torch.stack([255 * board, 0 * board, 100 + 0 * board, 255 * board], dim=-1).to(torch.uint8)
    mesh, posed = scene((*square(0.0), Material.HAIR, texture), (*square(0.1), Material.SKIN, plain((10, 20, 30, 40))))
    textures = Textures.of(mesh, posed.vertices[0])
    weights = torch.tensor([[0.2, 0.3, 0.5]])
    uv = textures.coordinates(torch.tensor([0]), weights)
    torch.testing.assert_close(uv, (weights[..., None] * mesh.uv[0]).sum(1))
    for samples, wanted in ((32.0, (1.0, 0.0, 100 / 255, 0.5)), (2048.0, None)):
        texel = textures.sample(torch.tensor([0]), uv, torch.tensor([samples]))[0]
        if wanted is not None:
            torch.testing.assert_close(texel, torch.tensor(wanted), atol=0.02, rtol=0)
    other = textures.sample(torch.tensor([2]), uv, torch.tensor([1.0]))[0]
    torch.testing.assert_close(other * 255, torch.tensor([10.0, 20.0, 30.0, 40.0]), atol=1e-3, rtol=0)


def test_full_size_textures_are_bilinear() -> None:
    generator = torch.Generator().manual_seed(4)
    picture = torch.randint(0, 255, (9, 7, 4), generator=generator, dtype=torch.uint8)
    mesh, posed = scene((*square(0.0), Material.SKIN, picture))
    textures = Textures.of(mesh, posed.vertices[0])
    uv = torch.rand(50, 2, generator=generator)
    found = textures.sample(torch.zeros(50, dtype=torch.int64), uv, torch.full((50,), 1e4))
    wanted = torch.nn.functional.grid_sample(
        picture.permute(2, 0, 1)[None] / 255, (2 * uv - 1)[None, None], padding_mode="border", align_corners=False
    )[0, :, 0].T
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("material", "region"), [(Material.BROW, 0), (Material.LENS, 3)])
def test_brows_and_lenses_blend_evenly(material: Material, region: int) -> None:
    bare, half, full = (
        card(material, torch.full((8, 8), alpha, dtype=torch.uint8)) for alpha in (0, 125 if region == 0 else 128, 255)
    )
    # Linear light before the tone curve adds up; encoded pictures lie between.
    inner = (slice(None), slice(None), slice(8, -8), slice(8, -8))
    dark, middle, bright = (frames.rgba[inner][..., :3] for frames in (full, half, bare))
    assert bool(((dark < middle) & (middle < bright)).all())
    assert float(middle.std()) < 0.02  # no dither
    torch.testing.assert_close(half.rgba[inner][..., 3], torch.ones_like(half.rgba[inner][..., 3]))
    share = half.regions[inner][..., region]
    wanted = 1.0 if region == 0 else 128 / 255
    torch.testing.assert_close(share, torch.full_like(share, wanted), atol=0.02, rtol=0)
