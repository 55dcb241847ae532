"""Gaussians' starting points from a multi-view video: skin on the tracked head, everything else on the visual hull of the views."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn import functional

from avatarcli.gaussians.beard import Beard, carry_beard
from avatarcli.gaussians.bust import Bust
from avatarcli.gaussians.fit_state import REACH_OF_SKIN
from avatarcli.gaussians.glasses import REACH_OF_GLASSES, Glasses
from avatarcli.gaussians.hull import Hull, carve
from avatarcli.gaussians.initialise import SurfaceSamples
from avatarcli.gaussians.openings import hidden_at_rest
from avatarcli.gaussians.pictures import TrainingPicture
from avatarcli.gaussians.scene_samples import sample_skin, skin_weights
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.fill import ramp
from avatarcli.geometry.mesh import rasterize_mesh, sample_image, vertex_normals, visible_points
from avatarcli.geometry.space import neighbours
from avatarcli.head.face_points import BELOW_NOSE, CHIN
from avatarcli.head.model import PARTS, PersonalHead, is_region
from avatarcli.multiview.pictures import MultiViewVideo
from avatarcli.reproject.skin_texture import skin_likeness

# How densely each region is covered where the views show it. What they hide needs only enough to fill gaps.
_SEEN = {
    "face": 3.2, "scalp": 1.0, "ear": 1.2, "neck": 0.8, "torso": 0.4, "eyelid": 16.0, "lip": 24.0, "nose": 3.2,
    "mouth_cavity": 2.0, "eye_socket": 0.5, "eye": 18.0, "tongue": 4.0, "teeth": 17.0,
}  # fmt: skip
_HIDDEN = 0.04
# Of the hull beside plain skin: hair has detail, clothes little.
_HAIR, _CLOTHES = 0.9, 0.4
# Of clothes so near to the neck (metres): collars are narrow, and fray where starts are large.
_COLLAR, _AT_NECK = 2.5, 0.02
_MAY_BE_HIDDEN = ("scalp", "ear", "neck", "torso")
# Metres of the hull above skin from which hair or clothes hide it, and the least between skin and a start of theirs.
_COVER = 0.006
# Metres that a beard or a fringe stands off the face. A hull fills the hollows of a face, which no silhouette shows: what lies
# nearer is the face itself, and before eyes, lips and nose there is nothing at all.
_OFF_FACE = 0.010
_BARE = ("eyelid", "lip", "nose", "eye", "eye_socket", "mouth_cavity", "teeth", "tongue")
_BEARD = 0.03  # metres: what stands this near below the nose moves with the face
REACH_OF_COVER = 0.015  # metres: how far hair and clothes may move in the fit. A hull is as wrong as its views disagree
# How far views disagree about a color where a start is wholly believed, and where it is nearly transparent.
_DOUBT = (0.25, 0.6)
_FACING = 0.2  # cosine: a view that sees a surface more obliquely does not tell its color
_DEPTH_TOLERANCE = 0.004  # metres
# What the texture's color counts for beside a view's, and what all views must count for that see behind glasses.
_GUESS, _SEEN_WELL = 1e-3, 0.05
_AROUND = 16  # starts of skin whose median color one takes that glasses hide
# Metres behind the mouth's lining where skin backs it, and from the lips, which would let that show as they part.
_BACKING, _FROM_LIPS = 0.003, 0.02
_BLOCKED = (0.008, 0.016, 0.03)  # metres before a point where the hull is asked whether something hides it
_SKIN = 0.5  # likeness from which a pixel's color is the skin's
_BOX = 0.09  # metres around the bare head: long hair stands off it by less at the height of the head


def sample_views(
    head: PersonalHead,
    texture: Tensor,
    skin_color: Tensor,
    video: MultiViewVideo,
    count: int,
    generator: torch.Generator,
    beard: Beard | None = None,
    glasses: Glasses | None = None,
    photo: TrainingPicture | None = None,
) -> tuple[SurfaceSamples, Tensor, Bust | None]:
    """`count` starts, how far each may move in the fit [G] (metres), and the shape of the shoulders with what is worn there.

    texture [S, S, 3]: the head's, for what pictures seldom show (eyes, teeth, the mouth); skin_color [3]: the person's; beard,
    glasses: the person's, if the photo shows any; photo: knows outlines better than the views.
    """
    if glasses is not None:
        count -= len(glasses.starts.points)
    plan = video.plan
    heads = plan.cameras[: plan.views - plan.crops]
    pictures = [video.read_frame(view, 0) for view in range(len(heads))]
    low, high = head.neutral.amin(0) - _BOX, head.neutral.amax(0) + _BOX
    low[1] = head.neutral[:, 1].amin()
    model = head.model
    chin = model.landmarks(head.neutral)[CHIN]
    clear = _clear(head, pictures, heads, skin_color)
    smooth = partial(Bust.of, chin=chin, framing=video.framing, photo=photo)
    hull = carve(pictures, heads, low, high, clear, float(chin[1]), smooth)
    normals = vertex_normals(head.neutral, model.faces)
    visible = _shown(head, normals, hull)
    weight = skin_weights(head, _SEEN) * torch.where(visible, torch.ones(()), torch.tensor(_HIDDEN))
    cover = _cover_points(head, hull, beard)
    cover_weight = float(cover.density.sum()) * hull.cell**2
    lining = weight * _lining(head)
    head_weight = float(weight.sum() + lining.sum())
    on_head = round(count * head_weight / (head_weight + cover_weight))
    on_lining = round(on_head * float(lining.sum()) / head_weight)
    skin = sample_skin(head, texture, weight, on_head - on_lining, generator)
    colors = _seen_colors(head, skin, hull, video, pictures, heads, glasses)
    skin = skin._replace(colors=colors)
    backing = _behind(sample_skin(head, texture, lining, on_lining, generator), head, skin)
    parts = [(skin, REACH_OF_SKIN), (backing, REACH_OF_SKIN)]
    if on_head < count:
        # What hair and clothes hide takes their color, for it shows through their gaps.
        _, nearest = cKDTree(hull.points.numpy()).query(skin.points.numpy(), workers=torch.get_num_threads())
        hidden = ~visible[skin.binding][:, None]
        skin = skin._replace(colors=torch.where(hidden, hull.colors[torch.from_numpy(nearest)], colors))
        rest = _sample_cover(cover, count - on_head, hull.cell, generator)
        parts = [(skin, REACH_OF_SKIN), (backing, REACH_OF_SKIN), (rest, REACH_OF_COVER)]
    if glasses is not None:
        parts.append((glasses.starts, REACH_OF_GLASSES))
    reach = torch.cat([torch.full((len(part.points),), metres) for part, metres in parts])
    return (
        SurfaceSamples(*(torch.cat(fields) for fields in zip(*(part for part, _ in parts), strict=True))),
        reach,
        hull.bust,
    )


def _lining(head: PersonalHead) -> Tensor:
    """Which triangles [F] (bool) line the mouth away from the lips."""
    model = head.model
    lips = head.neutral[model.in_regions("lip")]
    distance, _ = neighbours(lips, head.neutral[model.faces].mean(1), 1)
    return model.faces_in("mouth_cavity") & (distance[:, 0] > _FROM_LIPS)


def _behind(lining: SurfaceSamples, head: PersonalHead, skin: SurfaceSamples) -> SurfaceSamples:
    """Starts on the mouth's lining moved to its outside, in the colors of the skin around it.

    Cheeks have gaps, if only in a view or two. Through them the lining would be seen from behind: black cracks below the ears.
    """
    bare = head.model.faces_in("face", "neck")[skin.binding].nonzero()[:, 0]
    if not (len(bare) and len(lining.points)):
        return lining
    # Its normals point into the mouth.
    points = lining.points - _BACKING * lining.normals
    _, around = neighbours(skin.points[bare], points, _AROUND)
    return lining._replace(points=points, colors=skin.colors[bare][around].median(1).values)


def _clear(head: PersonalHead, pictures: list[Tensor], heads: Camera, skin_color: Tensor) -> Tensor:
    """Metres [V, H, W] up to which pixels that show the bare face look through empty space; 0 where they show none."""
    model = head.model
    bare = model.faces_in(*_BARE)
    face = model.faces_in("face", *_BARE)
    clear = torch.zeros(len(pictures), heads.height, heads.width)
    for view, picture in enumerate(pictures):
        raster = rasterize_mesh(head.neutral, model.faces, heads[view], cull_backfaces=True)
        seen = raster.face.clamp(min=0)
        if not (raster.covered & face[seen]).any():
            continue
        color = picture[..., :3] / picture[..., 3:].clamp(min=0.3)
        skin = bare[seen] | (face[seen] & (skin_likeness(color, skin_color) > _SKIN))
        # Single pixels at the hairline decide badly.
        firm = -functional.max_pool2d(-(skin & raster.covered).float()[None], 3, stride=1, padding=1)[0]
        clear[view] = torch.where(firm > 0, raster.depth - _OFF_FACE, torch.zeros(()))
    return clear


@dataclass(frozen=True)
class _Cover:
    """Points of the hull that are not skin: points, normals, colors [P, 3]; doubt [P]: see `Hull`; binding [P]; density [P]: how
    many starts each is worth beside plain skin."""

    points: Tensor
    normals: Tensor
    colors: Tensor
    doubt: Tensor
    binding: Tensor
    density: Tensor


def _shown(head: PersonalHead, normals: Tensor, hull: Hull) -> Tensor:
    """Which triangles [F] (bool) lie at the hull's surface rather than under hair or clothes, or outside of it."""
    model = head.model
    above = hull.depth(head.neutral + _COVER * normals) < 0.5
    below = hull.depth(head.neutral - _COVER * normals) > 0.1
    shown = (above & below)[model.faces].any(-1)
    may_be_hidden = model.faces_in(*_MAY_BE_HIDDEN)
    return shown | ~may_be_hidden


def _cover_points(head: PersonalHead, hull: Hull, worn: Beard | None) -> _Cover:
    model = head.model
    skin = (model.face_part == PARTS.index("skin")).nonzero()[:, 0]
    centres = head.neutral[model.faces[skin]].mean(1)
    found = cKDTree(centres.numpy()).query(hull.points.numpy(), workers=torch.get_num_threads())
    distance, nearest = (torch.from_numpy(part) for part in found)
    triangle = skin[nearest]
    region = model.region[model.faces[triangle]].amax(1)
    on_face, bare = is_region(region, "face"), is_region(region, *_BARE)
    kept = ~bare & (distance > torch.where(on_face, _OFF_FACE, _COVER))
    nose = model.landmarks(head.neutral)[BELOW_NOSE]
    beard = on_face & (distance < _BEARD) & (hull.points[:, 1] < nose[1])
    binding = torch.where(beard, triangle, len(model.faces) + triangle)
    if worn is not None:
        hair = kept & worn.holds(head, hull.points, hull.colors)
        binding[hair] = carry_beard(head, triangle[hair])
    density = torch.where(is_region(region, "torso"), _CLOTHES, _HAIR)
    to_neck = neighbours(head.neutral[model.in_regions("neck")], hull.points, 1)[0][:, 0]
    density[is_region(region, "torso", "neck") & (to_neck < _AT_NECK)] = _COLLAR
    hull_parts = (hull.points, hull.normals, hull.colors, hull.doubt, binding, density)
    return _Cover(*(part[kept] for part in hull_parts))


def _sample_cover(cover: _Cover, count: int, cell: float, generator: torch.Generator) -> SurfaceSamples:
    """`count` starts, spread over the cover's points by their density; where there are fewer points, some serve twice."""
    # The points are in an order that keeps neighbours together, so that equal steps along it are evenly spread in space.
    edges = cover.density.double().cumsum(0)
    steps = (torch.arange(count) + torch.rand((), generator=generator).double()) * (edges[-1] / count)
    index = torch.searchsorted(edges, steps).clamp(max=len(edges) - 1)
    spacing = cell * (edges[-1] / count / cover.density[index]).sqrt().float()
    points, normals = cover.points[index], cover.normals[index]
    up = torch.tensor([0.0, 1.0, 0.0]).expand_as(normals)
    tangents = functional.normalize(torch.linalg.cross(normals, up + 0.01), dim=-1)
    jitter = (torch.rand(count, 3, generator=generator) - 0.5) * cell
    points = points + jitter - (jitter * normals).sum(-1, keepdim=True) * normals
    return SurfaceSamples(
        points=points,
        normals=normals,
        tangents=tangents,
        spacing=spacing,
        colors=cover.colors[index],
        opacity=0.9 - 0.65 * ramp(cover.doubt[index], *_DOUBT),
        binding=cover.binding[index],
    )


def _seen_colors(
    head: PersonalHead,
    skin: SurfaceSamples,
    hull: Hull,
    video: MultiViewVideo,
    pictures: list[Tensor],
    heads: Camera,
    glasses: Glasses | None,
) -> Tensor:
    """Colors [G, 3] of skin as the views at rest show it; the texture's where none of them does.

    What glasses hide in all views continues the skin around it: the texture shows the glasses there.
    """
    model = head.model
    plan = video.plan
    faces = [video.read_frame(view, 0) for view in range(len(heads), plan.views)]
    total, weight = torch.zeros_like(skin.points), torch.full((len(skin.points), 1), _GUESS)
    total += weight * skin.colors
    behind = torch.zeros(len(skin.points), dtype=torch.bool)
    for view, picture in enumerate([*pictures, *faces]):
        camera = plan.cameras[view]
        depth = rasterize_mesh(head.neutral, model.faces, camera).depth
        pixels, facing, visible = visible_points(skin.points, skin.normals, camera, depth, tolerance=_DEPTH_TOLERANCE)
        towards = functional.normalize(camera.centre - skin.points, dim=-1)
        for step in _BLOCKED:
            visible &= hull.depth(skin.points + step * towards) < 0.6
        if glasses is not None:
            blocked = visible & (sample_image(glasses.before(camera).float()[..., None], pixels)[:, 0] > 0)
            behind |= blocked
            visible &= ~blocked
        rgba = sample_image(picture, pixels)
        # A picture of the face alone shows it larger.
        finer = float(camera.K[0, 0] / heads.K[0, 0, 0])
        share = (visible & (rgba[:, 3] > 0.8)) * (facing - _FACING).clamp(min=0).square() * finer
        total += share[:, None] * rgba[:, :3] / rgba[:, 3:].clamp(min=0.3)
        weight += share[:, None]
    # Eyes, rolled-up lids and what is inside the mouth keep the texture's colors.
    plain = (model.face_part[skin.binding] == PARTS.index("skin")) & ~hidden_at_rest(head)[skin.binding]
    colors = torch.where(plain[:, None], total / weight, skin.colors)
    unseen = behind & plain & (weight[:, 0] < _SEEN_WELL)
    known = (plain & ~unseen).nonzero()[:, 0]
    if unseen.any() and len(known):
        _, around = neighbours(skin.points[known], skin.points[unseen], _AROUND)
        colors[unseen] = colors[known[around]].median(1).values
    return colors
