"""The head cut out of a photo, with the face in it measured where it is large."""

from __future__ import annotations

from dataclasses import dataclass

from avatarcli.arrays import Pixels
from avatarcli.capture.landmarks import FaceLandmarks, detect_face
from avatarcli.capture.photo import HeadCrop, head_crop


@dataclass(frozen=True)
class FaceCrop:
    """A crop, and the face in pixels of it."""

    crop: HeadCrop
    face: FaceLandmarks

    @classmethod
    def of(cls, photo: Pixels, size: int, found: FaceLandmarks | None = None) -> FaceCrop:
        """Of an upright photo [H, W, 3], at most `size` pixels wide. found: its face, if it was looked for already.

        The face is measured again in the crop: there it is as large as the detector likes it. Raises as `detect_face`.
        """
        found = detect_face(photo) if found is None else found
        crop = head_crop(photo, found.points, size)
        return cls(crop, detect_face(crop.image))
