"""Photo → cropped portrait with matte and labels, and the head model fitted to it; refused when it is not good enough."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image

from avatarcli.capture.exposure import face_light, lift_gain, lifted
from avatarcli.capture.landmarks import choose_face, find_faces, measure_face
from avatarcli.capture.measures import measure_photo
from avatarcli.capture.photo import head_crop, read_photo
from avatarcli.capture.portrait import Portrait, find_hair
from avatarcli.capture.quality import PhotoQuality
from avatarcli.config import PreprocessConfig
from avatarcli.errors import PhotoError
from avatarcli.generation.labels import hair_before_backdrop, label_portrait
from avatarcli.head.fit import fit_photo
from avatarcli.head.model import load_head_model
from avatarcli.head.overlay import draw_overlay
from avatarcli.progress import Progress

TRACK_FILE = "track.safetensors"
OVERLAY_FILE = "overlay.png"


def preprocess_photo(
    photo: Path, out: Path, config: PreprocessConfig, progress: Progress, *, force: bool = False
) -> None:
    """Write the portrait, the track, what was measured and an overlay picture of one photo into the folder `out`.

    A dim photo is brightened first. `force` takes what the quality gate would refuse.

    Raises:
        PhotoError: the photo cannot be read, shows no face, or is not good enough; then nothing is written.
    """
    with progress.task("preprocess", 4) as advance:
        picture = read_photo(photo)
        faces = find_faces(picture)
        index = choose_face(faces, config.face)
        face = measure_face(picture, faces[index])
        crop = head_crop(picture, face.points, config.crop_size)
        face = replace(face, points=crop.to_crop(face.points).astype(face.points.dtype))
        light = face_light(crop.image, face, crop.inside)
        gain = lift_gain(light)
        crop = replace(crop, image=lifted(crop.image, gain))
        # Landmarks are taken again on the crop: there the face is as large as the detector likes it.
        face = measure_face(crop.image, face)
        advance(1)
        hair = find_hair(crop.image, crop.inside)
        portrait = Portrait.cut_out(crop.image, crop.inside, hair)
        matte = portrait.matte.numpy()
        advance(1)
        model = load_head_model()
        track = fit_photo(model, face.points, face.scores, portrait.size, portrait.size, matte=matte)
        portrait = replace(portrait, labels=label_portrait(portrait, torch.from_numpy(hair), track, model))
        values = measure_photo(crop, face, matte, track, model)
        values |= {"light": 100 * light, "backdrop": 100 * hair_before_backdrop(portrait)}
        quality = PhotoQuality(values, gain, len(faces), index + 1, chosen=config.face != "largest")
        refusal = quality.refusal()
        if refusal is not None and not force:
            raise PhotoError(f"{photo}: {refusal}")
        for warning in quality.warnings():
            progress.warn(f"{photo.name}: {warning}")
        advance(1)
        portrait.save(out)
        track.save(out / TRACK_FILE)
        quality.save(out)
        Image.fromarray(draw_overlay(crop.image, track, model)).save(out / OVERLAY_FILE)
        advance(1)
