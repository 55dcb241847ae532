"""Photo → cropped portrait with matte, and the head model fitted to it."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from avatarcli.capture.landmarks import detect_face
from avatarcli.capture.photo import head_crop, read_photo
from avatarcli.capture.portrait import Portrait
from avatarcli.config import PreprocessConfig
from avatarcli.head.fit import fit_photo
from avatarcli.head.model import load_head_model
from avatarcli.head.overlay import draw_overlay
from avatarcli.progress import Progress

TRACK_FILE = "track.safetensors"
OVERLAY_FILE = "overlay.png"


def preprocess_photo(photo: Path, out: Path, config: PreprocessConfig, progress: Progress) -> None:
    """Write the portrait, the track and an overlay picture of one photo into the folder `out`.

    Raises PhotoError when the photo cannot be read or shows no usable face.
    """
    with progress.task("preprocess", 4) as advance:
        picture = read_photo(photo)
        face = detect_face(picture)
        if face.faces_found > 1:
            progress.warn(f"{photo.name}: {face.faces_found} faces, taking the largest")
        crop = head_crop(picture, face.points, config.crop_size)
        # Landmarks are taken again on the crop: there the face is as large as the detector likes it.
        face = detect_face(crop.image)
        advance(1)
        portrait = Portrait.cut_out(crop.image, crop.inside)
        advance(1)
        model = load_head_model()
        size = portrait.size
        track = fit_photo(model, face.points, face.scores, size, size, matte=portrait.matte.numpy())
        advance(1)
        portrait.save(out)
        track.save(out / TRACK_FILE)
        Image.fromarray(draw_overlay(crop.image, track, model)).save(out / OVERLAY_FILE)
        advance(1)
