"""A photo as preprocessing left it: what it shows, and the head that was fitted to it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from avatarcli.capture.photo import CropPlace
from avatarcli.capture.portrait import Portrait
from avatarcli.files import read_json, write_json
from avatarcli.head.photo_fit import PhotoFit

TRACK_FILE = "track.safetensors"
_PLACE_FILE = "crop.json"


@dataclass(frozen=True)
class Preprocessed:
    """place: where the portrait was cut out of the photo; None in workspaces of older versions, and for pictures that no
    photo was cut for. exact: its face was found. A profile laid along its outline is some millimetres off."""

    portrait: Portrait
    track: PhotoFit
    place: CropPlace | None = None
    exact: bool = True

    def save(self, folder: Path) -> None:
        """Write all but `exact`, which the list of a person's photos says."""
        self.portrait.save(folder)
        self.track.save(folder / TRACK_FILE)
        if self.place is not None:
            write_json(folder / _PLACE_FILE, asdict(self.place))

    @classmethod
    def load(cls, folder: Path, *, exact: bool = True) -> Preprocessed:
        """Read what `save` wrote. Raises OSError when a file is missing."""
        place = read_json(folder / _PLACE_FILE)
        return cls(
            Portrait.load(folder),
            PhotoFit.load(folder / TRACK_FILE),
            None if place is None else CropPlace(**place),
            exact,
        )
