"""From a subject's description to a mesh that can be posed and drawn."""

from __future__ import annotations

import torch
from torch import Tensor

from avatarcli.studio.assets import StudioAssets
from avatarcli.studio.features import brow_meshes, eye_texture, teeth_texture, tongue_texture
from avatarcli.studio.glasses import glasses_meshes
from avatarcli.studio.hair import grow_beard, grow_hair, scalp_tint
from avatarcli.studio.hats import hat_meshes, make_room
from avatarcli.studio.pack_head import DRAWN_PARTS
from avatarcli.studio.posing import Poser
from avatarcli.studio.scene import BoundMesh, RenderMesh, TextureBank
from avatarcli.studio.skin import bake_skin
from avatarcli.studio.subject import StudioSubject
from avatarcli.studio.wear import clothes_meshes, covered_skin

# Which of the head's textures each of DRAWN_PARTS wears: skin, eyes, tongue, teeth; the corneas' is not looked at.
_TEXTURE_OF = {"skin": 0, "eye_l": 1, "eye_r": 1, "tongue": 2, "teeth_upper": 3, "teeth_lower": 3}


def assemble(assets: StudioAssets, subject: StudioSubject, device: torch.device | str) -> tuple[RenderMesh, Poser]:
    """Everything that is drawn of a subject, and what moves it, both on `device`. `assets` lie on the CPU."""
    local = assets.on(device)
    still = subject.neutral(assets)
    joints = assets.head.joints(torch.tensor(subject.person.identity))
    neutral = still.to(device)
    worn = [*brow_meshes(local, subject.features, neutral), *clothes_meshes(local, subject.clothes, neutral)]
    # What is built to measure is built on the CPU: it is small, full of decisions, and the same everywhere.
    worn += [mesh.to(device) for mesh in _made_to_measure(assets, subject, still, joints)]
    points = assets.atlas.position.reshape(-1, 3).numpy()
    dye = torch.from_numpy(scalp_tint(subject.hair, subject.hair_color).dye(points)).view(assets.atlas.region.shape)
    textures = [
        bake_skin(local, subject.skin, dye.to(device)),
        eye_texture(local, subject.features),
        tongue_texture(local),
        teeth_texture(local, subject.features),
    ]
    hidden = covered_skin(local, subject.clothes)
    return _joined(local, textures, worn, hidden), Poser(local.head, neutral, joints.to(device), worn)


def _made_to_measure(assets: StudioAssets, subject: StudioSubject, neutral: Tensor, joints: Tensor) -> list[BoundMesh]:
    """Hair, beard, hat and glasses on a head [N, 3] at rest."""
    meshes = grow_hair(assets, neutral, subject.hair, subject.hair_color)
    if subject.hat is not None:
        hats = hat_meshes(assets, subject.hat, neutral)
        meshes = [*make_room(meshes, hats, subject.hat, neutral), *hats]
    if subject.beard is not None:
        meshes = [*meshes, *grow_beard(assets, neutral, subject.beard, subject.hair_color.natural())]
    if subject.glasses is not None:
        meshes = [*meshes, *glasses_meshes(assets.head, subject.glasses, neutral, joints)]
    return meshes


def _joined(assets: StudioAssets, textures: list[Tensor], worn: list[BoundMesh], hidden: Tensor) -> RenderMesh:
    """The head and what it wears as one mesh. hidden [quads of the skin] bool: what clothes cover."""
    drawn = assets.head.drawn
    device = drawn.faces.device
    kinds = torch.tensor([int(material) for _, material in DRAWN_PARTS], device=device)
    layers = torch.tensor([_TEXTURE_OF.get(name, 0) for name, _ in DRAWN_PARTS], device=device)
    faces, uv = [drawn.faces], [drawn.uv]
    material, texture = [kinds[drawn.part]], [layers[drawn.part]]
    bias = [torch.zeros(len(drawn.faces), device=device)]
    start, layer = len(drawn.mean), len(textures)
    pictures = list(textures)
    for mesh in worn:
        count = len(mesh.faces)
        faces.append(mesh.faces + start)
        uv.append(mesh.uv)
        material.append(torch.full((count,), int(mesh.material), device=device))
        texture.append(torch.full((count,), layer, device=device))
        bias.append(torch.full((count,), mesh.depth_bias, device=device))
        pictures.append(mesh.texture)
        start, layer = start + len(mesh.offset), layer + 1
    covered = torch.cat([hidden, torch.zeros(1, dtype=torch.bool, device=device)])[drawn.quad]
    others = torch.zeros(sum(len(mesh.faces) for mesh in worn), dtype=torch.bool, device=device)
    canonical = torch.zeros(start, 3, device=device)
    canonical[: len(drawn.mean)] = drawn.mean
    return RenderMesh(
        faces=torch.cat(faces),
        uv=torch.cat(uv),
        material=torch.cat(material),
        texture=torch.cat(texture),
        depth_bias=torch.cat(bias),
        canonical=canonical,
        hidden=torch.cat([covered, others]),
        head_faces=drawn.bare_faces,
        textures=TextureBank.of(pictures),
    )
