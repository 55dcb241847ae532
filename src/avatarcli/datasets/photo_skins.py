"""Skins of real people for the studio: photos of a person from five sides, carried onto the pack's texture.

For training only. The shipped head model has the pack's uv, so the projection is that of the reprojected person; what is baked is
the skin alone, without light, hair, brows and lashes, which the studio puts on by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.capture.cover import bare_skin, cover_map, mouth_opening
from avatarcli.capture.matte import foreground_colors
from avatarcli.datasets.photos import LondonPerson, london_people
from avatarcli.errors import PhotoError, WorkspaceError
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.colors import encoded, linear
from avatarcli.geometry.fill import blur, ramp
from avatarcli.geometry.mesh import rasterize_mesh, vertex_normals
from avatarcli.head.model import PARTS, HeadModel, PersonalHead, is_region, load_head_model
from avatarcli.head.parameters import HeadParameters
from avatarcli.pictures import write_png
from avatarcli.progress import Progress
from avatarcli.reproject.shading import fit_light, lit
from avatarcli.reproject.skin_texture import Atlas, PhotoView, project, skin_likeness
from avatarcli.studio.skin_sheets import DARKEST

_SIZE = 1024  # texels on a side
_FITTED_SIZE = 256  # pixels for which the reference is fitted: the texture is read from the whole photo
_KEYS = (
    ("neutral", "front"), ("neutral", "left_3quarter"), ("neutral", "right_3quarter"), ("neutral", "left_profile"),
    ("neutral", "right_profile"),
)  # fmt: skip
# The neck lies on pieces of the texture of their own, mostly in shadow: its edges would show.
_SKIN = ("face", "nose", "lip", "eyelid", "ear")
# MediaPipe's points along both brows and on the edges of the lids; metres around them that are not skin alone, and over which
# it fades.
_BROWS = (70, 63, 105, 66, 107, 46, 53, 52, 65, 55, 300, 293, 334, 296, 336, 276, 283, 282, 295, 285)
_LIDS = (
    33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7,
    263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249,
)  # fmt: skip
_BROW_REACH, _LID_REACH, _FADE = 0.008, 0.003, 0.004
# Exponent on a view's trust: the squarest view has the say, for means of two views are blurred.
_SHARPNESS = 4.0
_EDGE = 0.012  # of the texture's side: over which the photo's skin fades into the pack's
_DARK = 0.16  # linear luminance of a face's albedo below which the pack's dark skins continue it better
# Logarithm by which red light of the chin and upper lip is darker than the cheeks' where a beard was shaved: lips and shadows
# beside them are as red as the rest.
_SHAVED = -0.2


@dataclass(frozen=True)
class Baked:
    """What a run did: skins made, those that were there, and whose photos could not be used."""

    made: int
    kept: int
    unusable: tuple[str, ...]


@dataclass(frozen=True)
class PhotoSkin:
    """texture [S, S, 4]: sRGB-encoded albedo and how well the photos show it; is_dark: its tone; is_shaved: whether it shows a
    shaved beard."""

    texture: Tensor
    is_dark: bool
    is_shaved: bool


def bake_skins(
    folder: Path, out: Path, progress: Progress, *, evaluated: str | None = None, limit: int | None = None
) -> Baked:
    """Write the skins of a London-style folder's people as PNG files into `out`; files that are there are kept.

    evaluated: why the people of the benchmark are wanted too.

    Raises:
        UsageError: there is nobody in the folder. WorkspaceError: `out` cannot be written.
    """
    people = list(london_people(folder, evaluated).items())[:limit]
    model = load_head_model()
    atlas = Atlas.of(model, _SIZE)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkspaceError(f"cannot write skins to {out}: {error.strerror}") from error
    made = kept = 0
    unusable: list[str] = []
    with progress.task("skins", len(people)) as advance:
        for name, photos in people:
            if any(out.glob(f"*-{name}.png")):
                kept += 1
            else:
                try:
                    skin = bake_photo_skin(LondonPerson(photos, model), atlas)
                except PhotoError as error:
                    progress.warn(f"{name} is left out: {error}")
                    unusable.append(name)
                else:
                    _save(skin, out, name)
                    made += 1
            advance(1)
    return Baked(made, kept, tuple(unusable))


def bake_photo_skin(person: LondonPerson, atlas: Atlas) -> PhotoSkin:
    """The skin that a person's neutral photos show together.

    Raises:
        PhotoError: the frontal photo cannot be used.
    """
    model = person.model
    _, track, whole = person.reference(_KEYS[0], _FITTED_SIZE)
    head = PersonalHead.of(model, track)
    layers = []
    for key in _KEYS:
        if key not in person.photos:
            continue
        if key == _KEYS[0]:
            layers.append(_view(person, key, head, whole, track.parameters(), atlas))
            continue
        pose = person.pose(key, head, track)
        if pose is not None:
            layers.append(_view(person, key, head, pose.camera, pose.parameters, atlas))
    albedo, trust = _blended(layers)
    trust = trust * _plain_skin(model, atlas)
    picture = atlas.picture(torch.cat([albedo, trust[:, None]], dim=-1))
    # Fading needs colors a little beyond what is known.
    reach = _EDGE * atlas.size
    soft = blur(picture[..., 3:], reach / 2)
    known = picture[..., 3:].clamp(min=1e-4)
    spread = blur(picture[..., :3] * known, reach) / blur(known, reach)
    color = torch.lerp(spread, picture[..., :3], ramp(picture[..., 3:], 0.0, 0.3))
    opacity = torch.minimum(ramp(2 * soft - 1, 0.0, 1.0), ramp(picture[..., 3:], 0.0, 0.3))
    places = atlas.surface(model.mean, model.faces)
    cheeks, beard = (_mean(albedo, trust * where) for where in (_cheeks(places), _beard(places)))
    luminance = float(cheeks.exp() @ torch.tensor([0.2126, 0.7152, 0.0722]))
    texture = torch.cat([encoded(color.exp()), opacity], dim=-1)
    return PhotoSkin(texture, luminance < _DARK, float(beard[0] - cheeks[0]) < _SHAVED)


def _view(
    person: LondonPerson,
    key: tuple[str, str],
    head: PersonalHead,
    camera: Camera,
    parameters: HeadParameters,
    atlas: Atlas,
) -> tuple[Tensor, Tensor]:
    """Logarithm of the albedo [T, 3] that one photo shows at the texels, and how far it can be trusted [T]."""
    model, matte = head.model, person.matte(key)
    image = torch.from_numpy(foreground_colors(person.picture(key), matte)).float() / 255
    opacity = torch.from_numpy(matte)
    posed = head.in_world(parameters)[0]
    raster = rasterize_mesh(posed, model.faces, camera)
    landmarks = camera.project(model.landmarks(posed))[0]
    cover = cover_map(image, opacity, raster, model, landmarks)
    normals = vertex_normals(posed, model.faces)
    skin = bare_skin(opacity, cover, raster, model)
    if not skin.any():
        raise PhotoError("its photos show no bare skin")
    flat = functional.normalize(raster.interpolate(normals, model.faces), dim=-1)
    tone = image[skin].median(0).values
    light = fit_light(linear(image[skin]), flat[skin], torch.ones(int(skin.sum())))
    photo = PhotoView(
        image, opacity, cover, mouth_opening(landmarks, *matte.shape).float(), torch.ones_like(opacity), tone, tone,
        torch.ones(2), light, camera,
    )  # fmt: skip
    color, trust = project(atlas, posed, normals, model, photo, raster)
    normal = functional.normalize(atlas.surface(normals, model.faces), dim=-1)
    albedo = linear(color) / lit(light, normal, linear(tone))
    # Hair and cloth that the cover map lets through would be worn by everybody who wears the skin.
    plain = is_region(model.face_region[atlas.face], "face", "ear", "neck")
    likely = ramp(skin_likeness(color, tone), 0.1, 0.4)
    return albedo.clamp(min=DARKEST).log(), trust * torch.where(plain, likely, 1.0)


def _blended(layers: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """All views' albedo as one, in the first one's tone, and the trust in it."""
    first, certain = layers[0]
    total, weights = torch.zeros_like(first), torch.zeros_like(certain)
    for color, trust in layers:
        shared = (trust > 0.5) & (certain > 0.5)
        if int(shared.sum()) > len(trust) // 200:
            color = color + (first - color)[shared].median(0).values
        weight = trust**_SHARPNESS
        total, weights = total + weight[:, None] * color, weights + weight
    return total / weights.clamp(min=1e-6)[:, None], torch.stack([trust for _, trust in layers]).amax(0)


def _plain_skin(model: HeadModel, atlas: Atlas) -> Tensor:
    """1 [T] at texels of the face and ears, 0 near brows and lashes and everywhere else."""
    part = model.face_part[atlas.face] == PARTS.index("skin")
    skin = part & is_region(model.face_region[atlas.face], *_SKIN)
    places, landmarks = atlas.surface(model.mean, model.faces), model.landmarks(model.mean)
    result = skin.float()
    for points, reach in ((_BROWS, _BROW_REACH), (_LIDS, _LID_REACH)):
        away = torch.cdist(places, landmarks[list(points)]).amin(-1)
        result = result * ramp(away, reach, reach + _FADE)
    return result


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean [3] of values [T, 3]."""
    return (values * weight[:, None]).sum(0) / weight.sum().clamp(min=1e-6)


def _cheeks(places: Tensor) -> Tensor:
    return ((places[:, 0].abs() - 0.042).square() + (places[:, 1] + 0.028).square() < 0.015**2) & (places[:, 2] > 0.04)


def _beard(places: Tensor) -> Tensor:
    """Upper lip beside the nose and the sides of the chin, on the average head."""
    x, y, z = places.unbind(-1)
    return (x.abs() > 0.012) & (x.abs() < 0.032) & (y < -0.05) & (y > -0.1) & (z > 0.06)


def _save(skin: PhotoSkin, out: Path, name: str) -> None:
    """Named as the pack's skins are; ages are not known, and adults of all ages are taken for young."""
    shade, sex = "dark" if skin.is_dark else "light", "male" if skin.is_shaved else "any"
    path = out / f"young_{shade}_{sex}-{name}.png"
    try:
        write_png(path, skin.texture)
    except OSError as error:
        raise WorkspaceError(f"cannot write {path}: {error.strerror}") from error
