"""Several photos of one person: the frontal one is preprocessed as a single photo is, the others lie in folders beside it.

    preprocess/photos.json    all photos, the frontal one first
    preprocess/…              the frontal photo's files, as of a single photo
    preprocess/further/1/…    the same files of the next one

One identity is fitted to all photos in which a face is found. A profile shows none to the detector: there the fitted head's
outline is laid along the matte's. The order in which the photos are given decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.capture.exposure import decoded, encoded
from avatarcli.capture.film import unrest
from avatarcli.capture.labels import labelled
from avatarcli.capture.landmarks import MAX_YAW
from avatarcli.capture.matte import person_matte
from avatarcli.capture.measures import head_angles
from avatarcli.capture.photo import head_crop
from avatarcli.capture.portrait import Label, Portrait, find_hair
from avatarcli.capture.preprocessed import Preprocessed
from avatarcli.capture.profile_points import find_near_ear
from avatarcli.capture.quality import MEASURES, PhotoQuality
from avatarcli.config import PreprocessConfig
from avatarcli.errors import NoFaceError, PhotoError
from avatarcli.files import write_json
from avatarcli.geometry.mesh import rasterize_mesh, sample_image, vertex_normals, visible_points
from avatarcli.head.model import HeadModel, PersonalHead, load_head_model
from avatarcli.head.photo_fit import PhotoFit
from avatarcli.progress import Progress
from avatarcli.stages.artefacts import PHOTOS_FILE
from avatarcli.stages.preprocess import Judged, Look, check_quality
from avatarcli.stages.same_person import check_same_person
from avatarcli.stages.source import Source
from avatarcli.tracking.fit import fit_photos
from avatarcli.tracking.profile import find_profile

_FURTHER = "further"
_SEARCH = 768  # pixels: a profile is looked for at this size
# Regions whose skin tells the light of two photos apart, and how squarely both must see it (cosine).
_SKIN, _SQUARE = ("face", "nose"), 0.3
_FEW = 60  # vertices: seen by both photos, fewer do not tell their light
_MOST_GAIN = 2.5  # of linear light; more is another picture, not another lamp

BY_LANDMARKS, _BY_OUTLINE = "landmarks", "outline"  # how a photo was fitted


@dataclass(frozen=True)
class _Fitted:
    """A photo and what became of it; gain [3]: what its linear light is multiplied by, to be the frontal photo's."""

    source: Source
    judged: Judged
    gain: Tensor
    distance: float | None  # of its face from the frontal photo's, see `check_same_person`

    def to_json(self, folder: str) -> dict[str, Any]:
        """The photo's entry in `photos.json`. folder: where its files lie, from the preprocess folder."""
        yaw = head_angles(self.judged.photo.track)[0]
        moment = {} if self.source.time is None else {"time": round(self.source.time, 3)}
        return {
            "photo": self.source.name,
            "sha256": self.source.sha256,
            **moment,
            "folder": folder,
            "yaw": round(yaw, 1),
            "fitted_by": BY_LANDMARKS if self.judged.photo.exact else _BY_OUTLINE,
            "gain": [round(float(value), 3) for value in self.gain],
            "face_distance": self.distance if self.distance is None else round(self.distance, 3),
            "quality": self.judged.quality.to_json(),
        }


def preprocess_photos(
    photos: Sequence[Source],
    out: Path,
    config: PreprocessConfig,
    progress: Progress,
    *,
    force: bool = False,
    leave_out: Callable[[Source, PhotoError], None] | None = None,
) -> dict[Source, Path]:
    """Write what `preprocess_photo` writes, of all photos of one person, into `out`. Returns each photo's folder.

    `force` takes photos that the quality gate refuses, and photos of somebody else. leave_out: told of each photo beside the
    reference that cannot be used; None: that is an error.

    Raises:
        PhotoError: a photo cannot be used, or shows another person; then nothing is written.
    """
    by_key = {photo.key: photo for photo in photos}
    model = load_head_model()
    with progress.task("preprocess", 2 * len(by_key)) as advance:
        looks = _look_at_faces(by_key, config, advance)
        if not looks:
            raise PhotoError(f"none of the {len(by_key)} photos shows a face from the front: add one that does")
        order = sorted(looks, key=lambda key: _as_reference(looks[key]))
        order += sorted(set(by_key) - set(looks))
        tracks = dict(zip(looks, fit_photos(model, [look.seen() for look in looks.values()]), strict=True))
        first = order[0]
        reference = looks[first].judged(tracks[first], model)
        check_quality(by_key[first], reference.quality, progress, force=force)
        done = [_Fitted(by_key[first], reference, torch.ones(3), None)]
        for key in order[1:]:
            photo, distance = by_key[key], None
            try:
                if key in looks:
                    judged = looks[key].judged(tracks[key], model, any_side=True)
                    distance = check_same_person(looks[first], looks[key], photo, progress, force=force)
                else:
                    judged = _profile(photo, reference.photo.track, model, config)
                check_quality(photo, judged.quality, progress, force=force)
            except PhotoError as error:
                if leave_out is None:
                    raise
                leave_out(photo, error)
                advance(1)
                continue
            gain = _gain(reference.photo, judged.photo, model)
            lit = replace(judged.photo, portrait=_with_gain(judged.photo.portrait, gain))
            done.append(_Fitted(photo, replace(judged, photo=lit), gain, distance))
            advance(1)
        folders = _write(done, out, model)
        advance(1)
    return folders


def _look_at_faces(
    by_key: Mapping[str, Source], config: PreprocessConfig, advance: Callable[[int], None]
) -> dict[str, Look]:
    """The photos, by their keys and in the order of these, that show a face which is not turned too far for landmarks.

    A profile in which the detector sees a face now and then, which is none, shows no face.
    """
    looks: dict[str, Look] = {}
    for key, photo in sorted(by_key.items()):
        try:
            look = None if photo.profile else Look.at(photo, config)
        except NoFaceError:
            look = None
        if look is not None and look.face.steady and abs(look.face.yaw) <= MAX_YAW:
            looks[key] = look
        advance(1)
    return looks


def _write(done: Sequence[_Fitted], out: Path, model: HeadModel) -> dict[Source, Path]:
    """Write all photos, the frontal one first, and the list of them into `out`. Returns each photo's folder."""
    folders = {}
    for index, found in enumerate(done):
        folder = out if index == 0 else out / _FURTHER / str(index)
        folder.mkdir(parents=True, exist_ok=True)
        found.judged.save(folder, model)
        folders[found.source] = folder
    listed = [found.to_json(folders[found.source].relative_to(out).as_posix()) for found in done]
    write_json(out / PHOTOS_FILE, {"photos": listed})
    return folders


def _as_reference(look: Look) -> float:
    """How little a photo tells of the face at rest, seen from the front; the least is the best reference."""
    face = look.face
    return math.hypot(face.yaw, face.pitch) + unrest(face, face.interocular / look.crop.scale)


def _profile(photo: Source, frontal: PhotoFit, model: HeadModel, config: PreprocessConfig) -> Judged:
    """A photo without a face to find. Raises PhotoError when the head's outline is not found either."""
    picture = photo.read()
    height, width = picture.shape[:2]
    ratio = min(1.0, _SEARCH / max(height, width))
    size = (max(1, round(height * ratio)), max(1, round(width * ratio)))
    whole_matte = torch.from_numpy(person_matte(picture))[None, None]
    matte = functional.interpolate(whole_matte, size, mode="area")[0, 0].numpy()
    ear = find_near_ear(picture)
    head = PersonalHead.of(model, frontal)
    parameters = frontal.parameters()
    distance = float(frontal.camera.to_camera(torch.zeros(1, 3))[0, 2])
    fit = find_profile(head, parameters, distance, matte, None if ear is None else ear.scaled(size[1] / width))
    if ear is not None and not fit.trusted:
        fit = find_profile(head, parameters, distance, matte)
    if not fit.trusted:
        raise PhotoError(f"{photo}: neither a face nor the outline of a profile is found: leave this photo out")
    whole = fit.camera.resized(width, height)
    landmarks = model.landmarks(head.posed(parameters)[0])
    crop = head_crop(picture, whole.project(landmarks)[0].numpy(), config.crop_size)
    camera = crop.camera_of(whole)
    track = replace(
        frontal, camera=camera, landmarks=camera.project(landmarks)[0], scores=torch.zeros_like(frontal.scores)
    )
    hair = find_hair(crop.image, crop.inside)
    portrait = Portrait.cut_out(crop.image, crop.inside, hair)
    portrait = labelled(portrait, torch.from_numpy(hair), track, model)
    # Nod and tilt are as good as exchanged at 90°: only the turn is told.
    values = {measure.name: math.nan for measure in MEASURES} | {"yaw": head_angles(track)[0]}
    quality = PhotoQuality(values, 1.0, 1, 1, True, any_side=True, pictures=photo.pictures)
    return Judged(Preprocessed(portrait, track, crop.place, exact=False), quality, crop.image)


def _gain(reference: Preprocessed, other: Preprocessed, model: HeadModel) -> Tensor:
    """The factors [3] of linear light that make skin in another photo what it is in the reference; 1 where that cannot be told."""
    ours, theirs = _skin_light(reference, model), _skin_light(other, model)
    both = ours.isfinite().all(-1) & theirs.isfinite().all(-1)
    if int(both.sum()) < _FEW:
        return torch.ones(3)
    ratio = (ours[both] / theirs[both].clamp(min=1e-3)).median(0).values
    return ratio.clamp(1 / _MOST_GAIN, _MOST_GAIN)


def _skin_light(photo: Preprocessed, model: HeadModel) -> Tensor:
    """The linear light [N, 3] of the face's vertices in a photo; NaN where it shows none of their skin."""
    track, portrait = photo.track, photo.portrait
    posed = PersonalHead.of(model, track).posed(track.parameters())[0]
    depth = rasterize_mesh(posed, model.faces, track.camera).depth
    normals = vertex_normals(posed, model.faces)
    pixels, facing, visible = visible_points(posed, normals, track.camera, depth, tolerance=0.004)
    skin = portrait.region(Label.SKIN)
    masks = portrait.matte * portrait.inside * (1.0 if skin is None else skin)
    usable = (
        visible & (facing > _SQUARE) & model.in_regions(*_SKIN) & (sample_image(masks[..., None], pixels)[:, 0] > 0.95)
    )
    light = torch.from_numpy(decoded(sample_image(portrait.foreground, pixels).double().numpy())).float()
    return torch.where(usable[:, None], light, torch.full((), math.nan))


def _with_gain(portrait: Portrait, gain: Tensor) -> Portrait:
    def lit(picture: Tensor) -> Tensor:
        light = decoded(picture.double().numpy()) * gain.numpy()
        return torch.from_numpy(encoded(np.clip(light, 0, 1))).float()

    return replace(portrait, photo=lit(portrait.photo), foreground=lit(portrait.foreground))
