"""Photo → cropped portrait with matte and labels, and the head model fitted to it; refused when it is not good enough."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from avatarcli.capture.exposure import face_light, lift_gain, lifted
from avatarcli.capture.labels import hair_before_backdrop, labelled
from avatarcli.capture.landmarks import FaceLandmarks, choose_face, find_faces, measure_face, upright
from avatarcli.capture.measures import measure_photo
from avatarcli.capture.photo import HeadCrop, head_crop
from avatarcli.capture.portrait import Portrait, find_hair
from avatarcli.capture.preprocessed import Preprocessed
from avatarcli.capture.quality import PhotoQuality
from avatarcli.config import PreprocessConfig
from avatarcli.errors import PhotoError
from avatarcli.head.model import HeadModel, load_head_model
from avatarcli.head.photo_fit import PhotoFit
from avatarcli.pictures import write_png
from avatarcli.progress import Progress
from avatarcli.stages.source import Source
from avatarcli.tracking.fit import SeenFace, fit_photos
from avatarcli.tracking.overlay import draw_overlay

OVERLAY_FILE = "overlay.png"


def preprocess_photo(
    photo: Source, out: Path, config: PreprocessConfig, progress: Progress, *, force: bool = False
) -> Preprocessed:
    """Write the portrait, the track, what was measured and an overlay picture of one photo into the folder `out`.

    A photo that lies on its side or stands on its head is turned upright first, and a dim one brightened. `force` takes what the
    quality gate would refuse. Returns what later stages read of it.

    Raises:
        PhotoError: the photo cannot be read, shows no face, or is not good enough; then nothing is written.
    """
    with progress.task("preprocess", 4) as advance:
        look = Look.at(photo, config)
        advance(2)
        model = load_head_model()
        track = fit_photos(model, [look.seen()])[0]
        advance(1)
        judged = look.judged(track, model)
        check_quality(photo, judged.quality, progress, force=force)
        judged.save(out, model)
        advance(1)
    return judged.photo


@dataclass(frozen=True)
class Look:
    """A photo in which a face was found, before the head model is fitted to it.

    face: in pixels of the crop, which is upright; portrait: without labels; hair [S, S]: as `find_hair` gives it; light: as
    `face_light` does; gain: what the photo's light was multiplied by; faces, index: how many there are, and which was taken, from
    0; turns: quarter turns clockwise that the photo was given; pictures: as of `Source`.
    """

    crop: HeadCrop
    face: FaceLandmarks
    portrait: Portrait
    hair: NDArray[np.float32]
    light: float
    gain: float
    faces: int
    index: int
    chosen: bool
    turns: int
    pictures: int

    @classmethod
    def at(cls, photo: Source, config: PreprocessConfig) -> Look:
        """Read a photo, find the face and cut the person out. Raises PhotoError (NoFaceError when none is found)."""
        picture, turns = upright(photo.read())
        try:
            faces = find_faces(picture)
            index = choose_face(faces, config.face)
        except PhotoError as error:
            raise type(error)(f"{photo}: {error}") from None
        face = measure_face(picture, faces[index])
        crop = head_crop(picture, face.points, config.crop_size)
        face = replace(face, points=crop.to_crop(face.points).astype(face.points.dtype))
        light = face_light(crop.image, face, crop.inside)
        gain = lift_gain(light)
        crop = replace(crop, image=lifted(crop.image, gain))
        # Landmarks are taken again on the crop: there the face is as large as the detector likes it.
        face = measure_face(crop.image, face)
        hair = find_hair(crop.image, crop.inside)
        portrait = Portrait.cut_out(crop.image, crop.inside, hair)
        chosen = config.face != "largest"
        return cls(crop, face, portrait, hair, light, gain, len(faces), index, chosen, turns, photo.pictures)

    def seen(self) -> SeenFace:
        """What the tracker looks at."""
        size = self.portrait.size
        return SeenFace(self.face.points, self.face.scores, size, size, self.portrait.matte.numpy())

    def judged(self, track: PhotoFit, model: HeadModel, *, any_side: bool = False) -> Judged:
        """The photo with its track, labelled and measured. any_side: it may show the head from any side."""
        portrait = labelled(self.portrait, torch.from_numpy(self.hair), track, model)
        values = measure_photo(self.crop, self.face, portrait.matte.numpy(), track, model)
        values |= {"light": 100 * self.light, "backdrop": 100 * hair_before_backdrop(portrait)}
        quality = PhotoQuality(
            values, self.gain, self.faces, self.index + 1, self.chosen, any_side, 90 * self.turns, self.pictures
        )
        return Judged(Preprocessed(portrait, track, self.crop.place), quality, self.crop.image)


@dataclass(frozen=True)
class Judged:
    """A photo that has been tracked and measured; image uint8 [S, S, 3]: the crop."""

    photo: Preprocessed
    quality: PhotoQuality
    image: NDArray[np.uint8]

    def save(self, folder: Path, model: HeadModel) -> None:
        """Write the files of one photo into a folder that exists."""
        self.photo.save(folder)
        self.quality.save(folder)
        write_png(folder / OVERLAY_FILE, draw_overlay(self.image, self.photo.track, model))


def check_quality(photo: Source, quality: PhotoQuality, progress: Progress, *, force: bool) -> None:
    """Say what may make the avatar worse. Raises PhotoError when the photo is refused, unless `force` takes it."""
    refusal = quality.refusal()
    if refusal is not None and not force:
        raise PhotoError(f"{photo}: {refusal}")
    for warning in quality.warnings():
        progress.warn(f"{photo.name}: {warning}")
