"""The reprojected person: the fitted head painted from the photo, inside a painted shell of hair and clothes.

It needs no network. It is the generator of last resort, the source of the warped-reference map, and where the Gaussians start.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.caching import once_each
from avatarcli.capture.cover import bare_skin, cover_map, mouth_opening
from avatarcli.capture.portrait import Label
from avatarcli.capture.preprocessed import Preprocessed
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.mesh import MeshRaster, look_up, rasterize_mesh, vertex_normals
from avatarcli.head.model import HeadModel, PersonalHead, is_region
from avatarcli.head.parameters import HeadParameters
from avatarcli.reproject.ears import bare_ears
from avatarcli.reproject.shading import fit_light
from avatarcli.reproject.shell import Shell, fit_shell
from avatarcli.reproject.shell_texture import paint_shell
from avatarcli.reproject.skin_texture import Atlas, PhotoView, bake_skin
from avatarcli.reproject.teeth import fit_upper_teeth

_SUPERSAMPLING = 2  # rays per pixel along each axis
_FEW = 30  # pixels: fewer do not tell the hair's color
_LINING = 0.75  # how bright the inner side of hair is beside its outer one


@dataclass(frozen=True)
class Scene:
    """One person, ready to be rendered from anywhere.

    skin [S, S, 3]: the head's texture; trust [S, S]: how well the photo shows each of its texels; cover [Rk, Ck, 4]: the
    shell's RGBA picture.
    """

    head: PersonalHead
    shell: Shell
    skin: Tensor
    trust: Tensor
    cover: Tensor

    def render(self, parameters: HeadParameters, camera: Camera) -> Tensor:
        """Premultiplied RGBA picture [H, W, 4] of a single frame of head parameters."""
        fine = camera.resized(camera.width * _SUPERSAMPLING, camera.height * _SUPERSAMPLING)
        vertices = self.head.in_world(parameters)[0]
        shell = parameters.placed(self.head.carry(self.shell.vertices, self.shell.skinning, parameters.neck))[0]
        model = self.head.model
        skin = rasterize_mesh(vertices, model.faces, fine)
        cover = rasterize_mesh(shell, self.shell.faces, fine, cull_backfaces=True)
        lining = rasterize_mesh(shell, self.shell.faces.flip(-1), fine, cull_backfaces=True)
        uv = (model.uv[model.face_uv[skin.face.clamp(min=0)]] * skin.weights[..., None]).sum(-2)
        color = look_up(self.skin, uv)
        picture = torch.cat([color, torch.ones_like(color[..., :1])], dim=-1) * skin.covered[..., None]
        # Far to near: the shell's inner side, the head, the shell's outer side.
        inner = self._cover_color(lining) * torch.tensor([_LINING, _LINING, _LINING, 1.0])
        picture = _over(picture, inner * (lining.depth < skin.depth)[..., None])
        picture = _over(self._cover_color(cover) * (cover.depth < skin.depth)[..., None], picture)
        return functional.avg_pool2d(picture.permute(2, 0, 1)[None], _SUPERSAMPLING)[0].permute(1, 2, 0)

    def _cover_color(self, raster: MeshRaster) -> Tensor:
        """Premultiplied RGBA [H, W, 4] of the shell where a raster sees it."""
        faces = self.shell.faces[raster.face.clamp(min=0)]
        uv = self.shell.uv[faces]
        # The grid's last column meets its first: bring the corners of a triangle across the seam together.
        u = uv[..., 0]
        u = torch.where((u.amax(-1, keepdim=True) - u) > 0.5, u + 1, u)
        uv = (torch.stack([u, uv[..., 1]], dim=-1) * raster.weights[..., None]).sum(-2)
        rgba = look_up(
            torch.cat([self.cover, self.cover[:, : self.cover.shape[1] // 8]], dim=1), uv / torch.tensor([1.125, 1])
        )
        rgba = torch.cat([rgba[..., :3] * rgba[..., 3:], rgba[..., 3:]], dim=-1)
        return rgba * raster.covered[..., None]


@dataclass(frozen=True, eq=False)
class SeenPerson:
    """A person as one photo shows them: the head, its vertices `posed` [N, 3] there, what is known of the photo's pixels, and
    whether it shows where the upper teeth end."""

    head: PersonalHead
    posed: Tensor
    photo: PhotoView
    shows_teeth: bool

    @classmethod
    def of(cls, model: HeadModel, preprocessed: Preprocessed) -> SeenPerson:
        """Look at a photo: where hair, clothes and ears are, the light, and the colors of skin and hair."""
        track, portrait = preprocessed.track, preprocessed.portrait
        image, matte = portrait.foreground, portrait.matte
        head = PersonalHead.of(model, track)
        posed = head.posed(track.parameters())[0]
        raster = rasterize_mesh(posed, model.faces, track.camera)
        cover = cover_map(image, matte, raster, model, track.landmarks, portrait.region(Label.HAIR))
        mouth = mouth_opening(track.landmarks, *matte.shape).to(matte)
        skin = bare_skin(matte, cover, raster, model)
        skin_color = image[skin].median(0).values if skin.any() else image.reshape(-1, 3).median(0).values
        normals = functional.normalize(raster.interpolate(vertex_normals(posed, model.faces), model.faces), dim=-1)
        head, shows_teeth = fit_upper_teeth(head, posed, image, track.camera, track.landmarks, skin_color)
        posed = head.posed(track.parameters())[0]
        light = fit_light(image[skin], normals[skin], torch.ones(int(skin.sum())))
        hair_color = _hair_color(image, matte, cover, track.landmarks, skin_color)
        bare = bare_ears(image, matte, raster, model, posed, track.camera, skin_color, hair_color)
        cover = cover * (1 - _ear_pixels(raster, model, bare))
        inside, camera = portrait.inside, track.camera
        photo = PhotoView(image, matte, cover, mouth, inside, skin_color, hair_color, bare, light, camera)
        return cls(head, posed, photo, shows_teeth)

    @cached_property
    def shell(self) -> Shell:
        """Around hair and clothes."""
        return fit_shell(self.head, self.posed, self.photo.camera, self.photo.matte, self.photo.inside)

    @cached_property
    def skin(self) -> tuple[Tensor, Tensor]:
        """The head's texture, and how well the photo shows each texel: see `bake_skin`."""
        return bake_skin(self.head, self.posed, self.photo, Atlas.of(self.head.model))

    @once_each
    def scene(self, seed: int) -> Scene:
        """The person in paint. seed: of what nobody sees."""
        generator = torch.Generator().manual_seed(seed)
        cover = paint_shell(self.head, self.shell, self.posed, self.photo, generator)
        return Scene(self.head, self.shell, *self.skin, cover)


def _hair_color(image: Tensor, matte: Tensor, cover: Tensor, landmarks: Tensor, skin: Tensor) -> Tensor:
    """The median color [3] of the hair above the brows, the skin's where there is none.

    Away from the outline, where light shines through and the background is near.
    """
    reach = 2 * (matte.shape[1] // 80) + 1
    eroded = -functional.max_pool2d(-matte[None, None], reach, stride=1, padding=reach // 2)[0, 0]
    above = torch.arange(len(matte), dtype=matte.dtype)[:, None] < landmarks[[66, 296], 1].mean()
    hair = image[(eroded > 0.95) & (cover > 0.95) & above]
    return hair.median(0).values if len(hair) > _FEW else skin


def _ear_pixels(raster: MeshRaster, model: HeadModel, bare: Tensor) -> Tensor:
    """1 [H, W] where the fitted head shows a bare ear. bare [2]: how bare the left and the right one are."""
    corner = model.faces[:, 0][raster.face.clamp(min=0)]
    ear = raster.covered & is_region(model.region[corner], "ear")
    return ear * torch.where(model.mean[corner, 0] > 0, bare[0], bare[1])


def _over(front: Tensor, back: Tensor) -> Tensor:
    """Porter and Duff's over, for premultiplied RGBA [H, W, 4]."""
    return front + back * (1 - front[..., 3:])
