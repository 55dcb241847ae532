"""The files that stages leave for each other and for every later command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from avatarcli.capture.quality import QUALITY_FILE
from avatarcli.files import read_json

AVATAR_FILE = "avatar.safetensors"
FIT_FILE = "fit.json"  # how well the avatar shows the pictures it was made of
PHOTOS_FILE = "photos.json"  # of several photos: what each is and how it was fitted, the frontal one first
FILM_FILE = "film.json"  # of a film: which of its frames were taken


def fitted_photos(preprocess: Path) -> list[dict[str, Any]]:
    """What a preprocess folder says of several photos of one person, the frontal one first; nothing of a single photo."""
    return list((read_json(preprocess / PHOTOS_FILE) or {}).get("photos", []))


def film_frames(preprocess: Path) -> dict[str, Any] | None:
    """What a preprocess folder says of the film that its pictures are frames of; None where they are photos."""
    return read_json(preprocess / FILM_FILE)


def told_of_photos(preprocess: Path) -> dict[str, Any]:
    """What a preprocess folder says of its photos, as `--json` prints it."""
    return {
        "fitted_photos": fitted_photos(preprocess),
        "film": film_frames(preprocess),
        "quality": read_json(preprocess / QUALITY_FILE),
    }
