"""A photo as preprocessing left it: what it shows, and the head that was fitted to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from avatarcli.capture.portrait import Portrait
from avatarcli.head.photo_fit import PhotoFit

TRACK_FILE = "track.safetensors"


@dataclass(frozen=True)
class Preprocessed:
    """exact: its face was found. A profile laid along its outline is some millimetres off."""

    portrait: Portrait
    track: PhotoFit
    exact: bool = True

    def save(self, folder: Path) -> None:
        """Write all but `exact`, which the list of a person's photos says."""
        self.portrait.save(folder)
        self.track.save(folder / TRACK_FILE)

    @classmethod
    def load(cls, folder: Path, *, exact: bool = True) -> Preprocessed:
        return cls(Portrait.load(folder), PhotoFit.load(folder / TRACK_FILE), exact)
