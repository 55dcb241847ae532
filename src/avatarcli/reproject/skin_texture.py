"""The bare head's texture, taken from the photo where the photo shows it and continued where it does not."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.fill import blur, borrow, pull_push, ramp
from avatarcli.geometry.mesh import MeshRaster, rasterize_mesh, sample_image, vertex_normals, visible_points
from avatarcli.head.expressions import NAMED_EXPRESSIONS
from avatarcli.head.hidden import rolled_up
from avatarcli.head.model import PARTS, HeadModel, PersonalHead, is_region, still_head
from avatarcli.reproject.eye_texture import EYES, ShownEye, paint_eyes
from avatarcli.reproject.mouth_texture import exposure, paint_cavity, paint_teeth, paint_tongue, tooth_color
from avatarcli.reproject.shading import hollows, lit, neighbour_mean
from avatarcli.reproject.teeth import looks_like_tooth

ATLAS_SIZE = 1024  # texels: a face spans about 350 of them, as many as pixels in a 1024-pixel crop
_DEPTH_TOLERANCE = 0.003  # metres
_FAR = 40.0  # texels: how far beyond what the photo shows its skin colors go on, before the typical one takes over
_LID, _NEAR_EYE = 0.95, 0.035  # light of shut lids beside that of the skin around the eye; metres around its middle
# Metres as far as a lid's colors are like those of the skin around it; light by which skin must be lighter to count e times as
# much; texels of skin that are looked at, about.
_LID_REACH, _LIGHTER, _SKIN_TEXELS = 0.008, 0.1, 1000
_SMOOTHING = 4  # steps: borders of regions become about a centimetre wide


@dataclass(frozen=True)
class PhotoView:
    """A photo and all that is known per pixel, pictures [H, W] in [0, 1].

    image [H, W, 3]: foreground colors; matte; cover: probability that hair or clothes hide the bare head; mouth: 1 between open
    lips; inside: 1 where the crop shows the photo; skin_color, hair_color [3]: typical ones; bare_ears [2]: how bare the left and
    the right ear are; light [4, 3]: as `fit_light` gives it; camera: the photo's.
    """

    image: Tensor
    matte: Tensor
    cover: Tensor
    mouth: Tensor
    inside: Tensor
    skin_color: Tensor
    hair_color: Tensor
    bare_ears: Tensor
    light: Tensor
    camera: Camera


@dataclass(frozen=True)
class Atlas:
    """Which surface point each texel shows: texel [T, 2] (row, column), face [T], weights [T, 3], size in texels."""

    texel: Tensor
    face: Tensor
    weights: Tensor
    size: int

    @classmethod
    def of(cls, model: HeadModel, size: int = ATLAS_SIZE) -> Atlas:
        """The atlas of a head model; texels whose centre lies in no chart are left out."""
        flat = torch.cat([model.uv, torch.ones(len(model.uv), 1)], dim=-1)
        looking_down = Camera(torch.eye(4), torch.diag(torch.tensor([size, size, 1.0])), size, size)
        raster = rasterize_mesh(flat, model.face_uv, looking_down)
        texel = raster.covered.nonzero()
        rows, columns = texel.unbind(-1)
        return cls(texel, raster.face[rows, columns], raster.weights[rows, columns], size)

    def at(self, chosen: Tensor) -> Atlas:
        """Some of its texels, chosen [K] by their number."""
        return Atlas(self.texel[chosen], self.face[chosen], self.weights[chosen], self.size)

    def surface(self, attributes: Tensor, faces: Tensor) -> Tensor:
        """Per-vertex attributes [N, C] at the texels [T, C]."""
        return (attributes[faces[self.face]] * self.weights[..., None]).sum(-2)

    def picture(self, values: Tensor) -> Tensor:
        """Values per texel [T, C] as a picture [size, size, C], zero between the charts."""
        canvas = values.new_zeros(self.size, self.size, values.shape[-1])
        canvas[self.texel[:, 0], self.texel[:, 1]] = values
        return canvas

    def lookup(self, picture: Tensor) -> Tensor:
        """Values [T, C] of a picture [size, size, C] at the texels."""
        return picture[self.texel[:, 0], self.texel[:, 1]]


def bake_skin(head: PersonalHead, posed: Tensor, photo: PhotoView, atlas: Atlas) -> tuple[Tensor, Tensor]:
    """The texture [S, S, 3] of the head, and how well the photo shows each texel [S, S] in [0, 1].

    posed [N, 3]: the head as it is in the photo.
    """
    model = head.model
    raster = rasterize_mesh(posed, model.faces, photo.camera)
    normals = vertex_normals(posed, model.faces)
    normal = functional.normalize(atlas.surface(normals, model.faces), dim=-1)
    color, trust = project(atlas, posed, normals, model, photo, raster)
    mirrored, mirror_trust = project(atlas, posed[model.mirror], normals[model.mirror], model, photo, raster)
    part = model.face_part[atlas.face]
    skin = part == PARTS.index("skin")
    region = model.face_region[atlas.face]
    cavity = skin & is_region(region, "mouth_cavity")
    visible_skin = (skin & ~cavity).float()
    known = torch.stack([trust * visible_skin, mirror_trust * visible_skin], dim=-1)
    canvas = atlas.picture(torch.cat([color, mirrored, known], dim=-1))
    texture = borrow(canvas[..., :3], canvas[..., 6], canvas[..., 3:6], canvas[..., 7])
    near = (6 * blur(canvas[..., 6:].amax(-1, keepdim=True), _FAR)).clamp(0, 1)
    values, near = atlas.lookup(texture), atlas.lookup(near)
    # Unseen scalp and chest continue hair and clothes; everything else that is far from what the photo shows is skin.
    # A lid that is rolled up shows its lashes and the shadow of its fold: unrolled, it is skin.
    lid = is_region(region, "eyelid")[:, None]
    values = torch.where(lid, torch.lerp(values, 0.92 * photo.skin_color, 0.75 * (1 - trust[:, None])), values)
    dressed = ramp(atlas.surface(_smooth_region(model, "scalp", "torso"), model.faces), 0.3, 0.7)
    guess = photo.skin_color * lit(photo.light, normal, photo.skin_color)
    guess = guess * atlas.surface(hollows(model, head.neutral), model.faces)
    values = torch.lerp(torch.lerp(guess, values, near), values, dressed)
    values = _with_shut_lids(head, atlas, values, trust * skin_likeness(color, photo.skin_color))
    # What a photo shows inside a mouth is mostly teeth, which belong to the teeth alone.
    points = atlas.surface(head.neutral, model.faces)
    throat = _over(color[cavity], trust[cavity] * (color[cavity].mean(-1) < 0.4), paint_cavity(head, points[cavity]))
    values[cavity] = throat
    balls = [part == PARTS.index(name) for name in EYES]
    painted = paint_eyes(head, [ShownEye(points[ball], color[ball], trust[ball]) for ball in balls])
    for ball, eye in zip(balls, painted, strict=True):
        values[ball] = eye
    light = exposure(painted)
    rest = functional.normalize(atlas.surface(vertex_normals(head.neutral, model.faces), model.faces), dim=-1)
    tongue = part == PARTS.index("tongue")
    values[tongue] = light * paint_tongue(head, points[tongue], rest[tongue])
    # A smile shows some teeth of one row, in pieces: their color is kept, their picture is not.
    rows = {name: part == PARTS.index(name) for name in ("teeth_upper", "teeth_lower")}
    shown = color[(trust > 0.6) & torch.stack([*rows.values()]).any(0) & looks_like_tooth(color, photo.skin_color)]
    tooth = tooth_color(shown, light)
    for name, here in rows.items():
        values[here] = paint_teeth(head, points[here], rest[here], atlas.face[here], name, tooth)
    # Bilinear look-ups reach one texel past a chart's edge: let the edge colors bleed outwards.
    everywhere = pull_push(atlas.picture(values), atlas.picture(torch.ones(len(values), 1))[..., 0])
    return everywhere, atlas.picture(trust[:, None])[..., 0]


def _with_shut_lids(head: PersonalHead, atlas: Atlas, values: Tensor, bare: Tensor) -> Tensor:
    """The texture [T, 3] with lids, as far as open eyes roll them up, in the colors of the skin around the shut eye.

    Rolled up they are a narrow band in the shadow of a fold: unrolled as the photo shows them, they would be bruised.
    bare [T]: how surely the photo shows bare skin.
    """
    model = head.model
    share = atlas.surface(rolled_up(head)[:, None], model.faces)
    points = atlas.surface(head.neutral, model.faces)
    shut = head.posed(still_head(NAMED_EXPRESSIONS["blink"]))[0]
    face = is_region(model.face_region, "face")[atlas.face] & (bare > 0.5) & (share[:, 0] == 0)
    for name in EYES:
        near = (points - head.joints[model.joint_names.index(name)]).norm(dim=-1) < _NEAR_EYE
        lid, skin = ((near & chosen).nonzero()[:, 0] for chosen in (share[:, 0] > 0, face))
        skin = skin[:: len(skin) // _SKIN_TEXELS + 1]
        if len(skin):
            on_lid, around = (atlas.at(chosen).surface(shut, model.faces) for chosen in (lid, skin))
            # Shut, a lid bulges into the light: of the skin around it what lies in the shadow of the brow counts less.
            nearness = -0.5 * (torch.cdist(on_lid, around) / _LID_REACH).square() + values[skin].mean(-1) / _LIGHTER
            color = _LID * nearness.softmax(-1) @ values[skin]
            values = values.index_put((lid,), torch.lerp(values[lid], color, share[lid]))
    return values


def _smooth_region(model: HeadModel, *names: str) -> Tensor:
    """1 in the named regions, 0 elsewhere, per vertex [N, 1]; smoothed over the mesh, for the regions' borders are jagged."""
    value = model.in_regions(*names).float()[:, None]
    for _ in range(_SMOOTHING):
        value = neighbour_mean(model, value)
    return value


def project(
    atlas: Atlas, posed: Tensor, normals: Tensor, model: HeadModel, photo: PhotoView, raster: MeshRaster
) -> tuple[Tensor, Tensor]:
    """The photo's colors [T, 3] at the texels of a posed mesh, and how far they can be trusted [T]."""
    points = atlas.surface(posed, model.faces)
    normal = functional.normalize(atlas.surface(normals, model.faces), dim=-1)
    pixels, facing, visible = visible_points(points, normal, photo.camera, raster.depth, tolerance=_DEPTH_TOLERANCE)
    # Beside hair, skin lies in its shadow and single hairs run over it: keep away from the border by about half a percent.
    reach = 2 * (photo.camera.width // 200) + 1
    near_cover = functional.max_pool2d(photo.cover[None, None], reach, stride=1, padding=reach // 2)[0, 0]
    masks = torch.stack([photo.matte, near_cover, photo.mouth, photo.inside], dim=-1)
    matte, cover, mouth, inside = sample_image(masks, pixels).unbind(-1)
    # Hair dyes the scalp below it, and clothes are painted on the chest: only the face, ears and neck must stay bare.
    region = model.face_region[atlas.face]
    cover = torch.where(is_region(region, "scalp", "torso"), torch.zeros_like(cover), cover)
    color = sample_image(photo.image, pixels)
    # At the rim, what does not look like skin is a hair or a shadow beside it, and would be smeared over the side of the head.
    bare = is_region(region, "face", "ear", "neck")
    likeness = skin_likeness(color, photo.skin_color)
    credible = torch.where(bare, torch.maximum(likeness, ramp(facing, 0.5, 0.75)), 1.0)
    # Lashes and the fold's shadow would be rolled out with the lid.
    credible = torch.where(is_region(region, "eyelid"), likeness, credible)
    # Teeth must not be painted on lips.
    credible = torch.where(is_region(region, "lip"), credible * (1 - mouth), credible)
    trust = ramp(facing, 0.15, 0.5) * ramp(matte, 0.85, 1.0) * (1 - cover) * inside * visible * credible
    return color, trust


def skin_likeness(color: Tensor, skin: Tensor) -> Tensor:
    """How much colors [..., 3] look like a skin [3] in more or less light: 1 … 0 [...]."""
    difference = color - skin
    brightness = difference.mean(-1)
    tint = (difference - brightness[..., None]).norm(dim=-1)
    return torch.exp(-((brightness / 0.22).square()) - (tint / 0.08).square())


def without_skin(clothes: Tensor, image: Tensor, skin: Tensor) -> Tensor:
    """Clothes [H, W] of a picture [H, W, 3] without what looks like the person's skin [3]: labels may take an open neckline for
    clothes. Where most of them look so, they are of that color, and stay."""
    plain = clothes * (skin_likeness(image, skin) < 0.5)
    return plain if plain.sum() > 0.5 * clothes.sum() else clothes


def _over(color: Tensor, trust: Tensor, generic: Tensor) -> Tensor:
    return color * trust[:, None] + generic * (1 - trust[:, None])
