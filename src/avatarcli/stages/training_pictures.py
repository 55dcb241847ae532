"""The pictures that an avatar is fitted to, and how far each pixel of them is believed.

The photo knows how the person looks; the views imagine the rest, and each imagines hair and clothes a little differently. Where
both speak of the same place, one of them must give way, else the avatar shows both, torn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.capture.cover import eye_openings, mouth_opening
from avatarcli.capture.portrait import Label
from avatarcli.capture.preprocessed import Preprocessed
from avatarcli.gaussians.avatar import SH_C0, Avatar
from avatarcli.gaussians.bust import Bust
from avatarcli.gaussians.clothes import REACH_OF_SHOWN_CLOTHES
from avatarcli.gaussians.openings import RIMS
from avatarcli.gaussians.pictures import TrainingPicture
from avatarcli.gaussians.rig import lengths
from avatarcli.gaussians.start import Start
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.fill import blur, ramp
from avatarcli.geometry.mesh import rasterize_mesh, sample_image
from avatarcli.geometry.rotations import quaternion_to_matrix
from avatarcli.head.face_points import CHIN
from avatarcli.head.model import PersonalHead
from avatarcli.head.parameters import HeadParameters
from avatarcli.head.photo_fit import PhotoFit
from avatarcli.multiview.pictures import MultiViewVideo
from avatarcli.reproject.skin_texture import skin_likeness
from avatarcli.stages.below_photo import INSIDE, continued_below, view_nearest
from avatarcli.stages.shown_clothes import BEHIND, SQUARE, ShownClothes

_STILL = ("scalp", "ear", "neck", "torso")  # regions that expressions do not move
_SOFT_RIMS = 1 / 400  # of a picture's width: deviation of the border between an opening's inside and lips or lids
_CONTRADICTION = 0.5  # of alpha, by which two outlines differ
# The photo's authority: cosines between its direction and a view's (63° and 41°). Of clothes it decides for longer (107° and 72°):
# views draw collars and ties blurred, each in another place.
_NEAR, _NEAR_CLOTHES = (0.45, 0.75), (-0.3, 0.3)
# Metres by which the photo's expression moves skin: where it smiles, it does not know the face at rest.
_MOVED = (0.0005, 0.002)
_CLOSE_UP = 1.3  # of the face's height: the side of a close-up
_FINER = 1.25  # times as many pixels on a face as the whole photo has there: a close-up with fewer shows nothing new
_YIELD = 0.9  # of its trust a view loses where the photo has all the authority
_SOLID = 0.8  # alpha from which a photo's pixel tells the color of clothes
BARE = 0.2  # likeness to the face's typical skin: a neck lies in the shade
_OPAQUE = 2.2  # logit of 0.9, as plain starts have it


def photo_picture(photo: Preprocessed, size: int, moment: int = -1) -> TrainingPicture:
    """A photo as a training picture, at most `size` pixels wide. moment: every photo has one of its own, below 0.

    An open mouth does not count: its teeth cannot be matched with the model's, and would be painted on tongue and lips.
    """
    track, full = photo.track, photo.portrait.size
    portrait = photo.portrait.resized(min(size, full))
    # Of a pixel at the photo's border, only what lies inside tells how solid the person is: nobody fades out there.
    alpha = portrait.matte / portrait.inside.clamp(min=INSIDE)
    mouth = mouth_opening(track.landmarks * (portrait.size / full), portrait.size, portrait.size)
    return TrainingPicture(
        camera=track.camera.resized(portrait.size, portrait.size),
        parameters=track.parameters(),
        moment=moment,
        color=portrait.foreground * alpha[..., None],
        alpha=alpha,
        trust=portrait.inside * ~mouth,
    )


def without_contradictions(
    photo: TrainingPicture, start: Start, track: PhotoFit, size: int, clothes: Tensor | None = None
) -> TrainingPicture:
    """The photo, not believed below the chin where its matte is another than the start's outline, which all views agree on.

    Shoulders are wide, and cut off by the photo: there the views show others, and patches of both would stand beside each other.
    A raised collar that only the photo shows would become spots before the neck. Nor is it believed where it shows an eye and the
    head model a lid: lids would be painted with eyes.
    size: pixels along the side of the picture that the track's landmarks are of; clothes [S, S]: 1 where the photo shows them,
    None where that is not known.
    """
    head, width = start.avatar.head, photo.camera.width
    raster = rasterize_mesh(head.in_world(photo.parameters)[0], head.model.faces, photo.camera)
    eyes = eye_openings(track.landmarks * (width / size), *photo.alpha.shape)
    agreed = (head.model.shows(raster, "eye") > 0) | ~eyes
    outline = start.draw(photo.parameters, photo.camera).alpha
    rows = torch.arange(len(outline)) * (size / width)
    below = (rows > track.landmarks[CHIN, 1])[:, None].expand_as(outline)
    if clothes is not None:
        # A photo that is continued has more rows.
        below = below | (functional.pad(clothes, (0, 0, 0, len(outline) - len(clothes))) > 0)
    wrong = blur((outline - photo.alpha)[..., None], width / 200).abs()[..., 0] > _CONTRADICTION
    around = blur((below & wrong).float()[..., None], width / 100)[..., 0]
    return replace(photo, trust=photo.trust * (1 - (2 * around).clamp(max=1)) * agreed)


def _clothes(photo: Preprocessed, size: int) -> Tensor | None:
    """1 where a photo, at most `size` pixels wide, shows clothes; None where that is not known."""
    return photo.portrait.resized(min(size, photo.portrait.size)).region(Label.CLOTHES)


def training_photos(
    seen: Sequence[Preprocessed], start: Start, size: int, video: MultiViewVideo
) -> list[TrainingPicture]:
    """All photos of a person as training pictures, the frontal one first; where that knows better, the others give way.

    video: the views, which go on where a photo is cut off.
    """
    photos = []
    for index, photo in enumerate(seen):
        picture = photo_picture(photo, size, -1 - index)
        picture = continued_below(picture, photo.portrait, start, view_nearest(picture, video))
        photos.append(without_contradictions(picture, start, photo.track, photo.portrait.size, _clothes(photo, size)))
    frontal, *further = photos
    if not further:
        return photos
    authority = Authority.of(start, [frontal])
    return [
        frontal,
        *(replace(p, trust=p.trust * authority.trust(p.parameters, p.camera)) for p in further),
    ]


def close_up(photo: Preprocessed, start: Start, size: int) -> TrainingPicture | None:
    """The photo's face alone, `size` pixels wide at most; None where the photo is not finer than the whole of it at that size.

    The whole photo, as many pixels wide, shows a face on a third of them.
    """
    track, full = photo.track, photo.portrait.size
    low, high = track.landmarks.amin(0), track.landmarks.amax(0)
    side = float((high - low).amax()) * _CLOSE_UP
    width = min(full, round(size * full / side))
    if width < _FINER * min(size, full):
        return None
    whole = without_contradictions(photo_picture(photo, width), start, track, full, _clothes(photo, width))
    left, top = (int(edge) for edge in ((low + high - side) / 2 * (width / full)).clamp(min=0))
    right, bottom = (min(edge + round(side * width / full), width) for edge in (left, top))
    part = slice(top, bottom), slice(left, right)
    return replace(
        whole,
        camera=whole.camera.cropped(left, top, right - left, bottom - top),
        color=whole.color[part],
        alpha=whole.alpha[part],
        trust=whole.trust[part],
    )


def photo_authority(start: Start, photo: TrainingPicture) -> Tensor:
    """How far the photo decides about each of the start's Gaussians [G]: in [0, 1], 0 where its expression changes the face."""
    rest = HeadParameters.at_rest()
    still = replace(photo.parameters, expression=rest.expression, gaze=rest.gaze)
    moved = lengths(start.splats(photo.parameters).means - start.splats(still).means)
    return photo_sight(start, photo) * (1 - ramp(moved, *_MOVED))


def photo_sight(start: Start, photo: TrainingPicture, nearest: Tensor | None = None) -> Tensor:
    """How well the photo sees each of the start's Gaussians [G]: in [0, 1].

    nearest [H, W]: the start's depth as the photo shows it, if that is at hand.
    """
    splats = start.splats(photo.parameters)
    pixels, depth = photo.camera.project(splats.means)
    # The start's Gaussians are discs; their last axis is the normal, outward.
    normals = quaternion_to_matrix(splats.quaternions)[..., 2]
    facing = (functional.normalize(photo.camera.centre - splats.means, dim=-1) * normals).sum(-1)
    nearest = start.depth(photo.parameters, photo.camera) if nearest is None else nearest
    seen = sample_image(torch.stack([nearest, photo.alpha, photo.trust], dim=-1), pixels)
    size = torch.tensor([photo.camera.width, photo.camera.height])
    visible = ((pixels >= 0) & (pixels < size)).all(-1) & (depth > 0) & (depth < seen[:, 0] + BEHIND)
    # Where the photo shows background, nothing stands, however obliquely it looks there.
    square = torch.maximum(ramp(facing, *SQUARE), (seen[:, 1] < 1 - _CONTRADICTION).float())
    return visible * seen[:, 2] * square


@dataclass(frozen=True)
class Authority:
    """What pictures at rest leave to the photos.

    share [P, G]: see `photo_authority`; eyes [P, 3]: the photos' cameras in the head's frame.
    """

    start: Start
    share: Tensor
    eyes: Tensor

    @classmethod
    def of(cls, start: Start, photos: Sequence[TrainingPicture]) -> Authority:
        eyes = [photo.parameters.in_head(photo.camera.centre) for photo in photos]
        return cls(start, torch.stack([photo_authority(start, photo) for photo in photos]), torch.stack(eyes))

    def trust(self, parameters: HeadParameters, camera: Camera) -> Tensor:
        """How far a view is believed [H, W]: less the nearer it looks from where a photo does, at what that photo knows."""
        means = self.start.splats(parameters).means
        ours, theirs = (functional.normalize(eye - means, dim=-1) for eye in (camera.centre, self.eyes[:, None]))
        along = (ours * theirs).sum(-1)
        near = torch.where(self.start.dressed, ramp(along, *_NEAR_CLOTHES), ramp(along, *_NEAR))
        share = (self.share * near).amax(0)
        drawn = self.start.draw(parameters, camera, share[:, None])
        return 1 - _YIELD * drawn.color[..., 0].clamp(0, 1)


def with_shown_clothes(
    start: Start, reach: Tensor, photos: Sequence[TrainingPicture], authority: Authority
) -> tuple[Start, Tensor]:
    """The start with the clothes that photos decide about: in the photo's colors, opaque, and with little reach [G].

    The views would start them in means of what they disagree about, and as transparent; whatever a photo does not see behind
    others nobody would correct then, and it shines through from aside.
    """
    sh, opacity, worn = start.avatar.sh, start.avatar.opacity_logits, start.dressed
    skin = face_color(start.avatar)
    # What all views show as skin lies on a neck beside the collar that the photo shows at its place.
    bare = skin_likeness(SH_C0 * sh[:, 0] + 0.5, skin) > BARE
    for photo, share in zip(photos, authority.share, strict=True):
        pixels, _ = photo.camera.project(start.splats(photo.parameters).means)
        rgba = sample_image(torch.cat([photo.color, photo.alpha[..., None]], dim=-1), pixels)
        color = rgba[:, :3] / rgba[:, 3:].clamp(min=_SOLID)
        shown = worn & (share > 0.5) & (rgba[:, 3] > _SOLID) & ~(bare & (skin_likeness(color, skin) < BARE))
        sh = torch.where(shown[:, None, None], (color[:, None] - 0.5) / SH_C0, sh)
        opacity = torch.where(shown, opacity.clamp(min=_OPAQUE), opacity)
        reach = torch.where(shown, reach.clamp(max=REACH_OF_SHOWN_CLOTHES), reach)
        worn = worn & ~shown
    return replace(start, avatar=replace(start.avatar, sh=sh, opacity_logits=opacity)), reach


def face_color(start: Avatar) -> Tensor:
    """The middle color [3] of the face's skin."""
    face = start.head.model.faces_in("face")
    on_face = face[start.binding % len(face)] & (start.binding < len(face))
    return SH_C0 * start.sh[on_face, 0].median(0).values + 0.5


@dataclass(frozen=True)
class ViewPictures:
    """The photos, the frontal one first, and close-ups of it, then every picture of the video, read when it is asked for.

    hidden: which triangles [F] (bool) are drawn as the start has them in pictures at rest, and in those with an expression.
    """

    photos: Sequence[TrainingPicture]
    video: MultiViewVideo
    head: PersonalHead
    authority: Authority
    hidden: tuple[Tensor, Tensor]
    clothes: ShownClothes | None = None
    bust: Bust | None = None

    def __len__(self) -> int:
        return len(self.photos) + len(self.video.plan.pictures)

    def __getitem__(self, index: int) -> TrainingPicture:
        if index < len(self.photos):
            return self.photos[index]
        view, frame = self.video.plan.pictures[index - len(self.photos)]
        picture = self.video.read_frame(view, frame)
        camera, parameters = self.video.plan.cameras[view], self.video.plan.parameters[frame : frame + 1]
        # With another expression a model may imagine other hair. It is wanted for the face.
        trust = self.authority.trust(parameters, camera) if frame == 0 else face_mask(self.head, parameters, camera)
        if frame == 0 and self.bust is not None:
            picture = self.bust.outlined(picture, camera)
        if frame == 0 and self.clothes is not None:
            picture, painted = self.clothes.paint(picture, parameters, camera)
            trust = trust + painted * (1 - trust)
        draw_openings(picture, self.authority.start, self.hidden[frame > 0], parameters, camera)
        return TrainingPicture(
            camera=camera,
            parameters=parameters,
            moment=frame,
            color=picture[..., :3],
            alpha=picture[..., 3],
            trust=trust,
        )


def draw_openings(picture: Tensor, start: Start, hidden: Tensor, parameters: HeadParameters, camera: Camera) -> None:
    """Draw around eyes and mouth what is hidden at rest as the start has it into a premultiplied RGBA picture [H, W, 4].

    hidden [F] (bool): its triangles.
    """
    model = start.avatar.head.model
    vertices = start.avatar.head.in_world(parameters)[0]
    size = torch.tensor([camera.width, camera.height])
    for rim in RIMS:
        edge, _ = camera.project(vertices[model.in_regions(rim)])
        low, high = (torch.minimum(end.long().clamp(min=0), size) for end in (edge.amin(0), edge.amax(0) + 1))
        if (high <= low).any():
            continue
        (left, top), (right, bottom) = low.tolist(), high.tolist()
        window = camera.cropped(left, top, right - left, bottom - top)
        raster = rasterize_mesh(vertices, model.faces, window)
        inside = (raster.covered & hidden[raster.face.clamp(min=0)]).float()
        if inside.any():
            drawn = start.draw(parameters, window)
            opening = torch.cat([drawn.color, drawn.alpha[..., None]], dim=-1)
            part = picture[top:bottom, left:right]
            part.lerp_(opening, blur(inside[..., None], camera.width * _SOFT_RIMS))


def face_mask(head: PersonalHead, parameters: HeadParameters, camera: Camera) -> Tensor:
    """1 [H, W] where a camera sees the moving part of the face, softly ending at its border."""
    model = head.model
    raster = rasterize_mesh(head.in_world(parameters)[0], model.faces, camera)
    still = model.in_regions(*_STILL)[model.faces].any(-1)
    face = raster.covered & ~still[raster.face.clamp(min=0)]
    return blur(face.float()[..., None], camera.width / 100)[..., 0]
