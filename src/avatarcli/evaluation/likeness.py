"""Is the avatar still the person, seen from the front and from the side."""

from __future__ import annotations

from torch import Tensor

from avatarcli.capture.identity import cosine_similarity, l2_distance
from avatarcli.capture.landmarks import detect_face
from avatarcli.evaluation.sitter import Instruments, Sitter
from avatarcli.head.parameters import HeadParameters
from avatarcli.pictures import to_bytes

SIDE_YAW = 35.0  # degrees: three quarters


def photo_embedding(sitter: Sitter, instruments: Instruments) -> Tensor:
    """The face embedding [128] of the photo. Raises WeightsError."""
    photo = to_bytes(sitter.photo.portrait.photo)
    return instruments.embed(photo, detect_face(photo).points)


def render_embedding(sitter: Sitter, instruments: Instruments, yaw: float) -> Tensor:
    """The face embedding [128] of the avatar at rest, seen from `yaw` degrees. Raises PhotoError when no face is
    found."""
    picture, face = sitter.face(HeadParameters.at_rest(), sitter.orbit([yaw])[0])
    return instruments.embed(picture, face.points)


def likeness(sitter: Sitter, instruments: Instruments) -> tuple[float, float, float, float]:
    """L2 distance and CSIM between photo and avatar, from the front and (mean of both sides) from ±35°."""
    photo = photo_embedding(sitter, instruments)
    front, *sides = (render_embedding(sitter, instruments, yaw) for yaw in (0.0, SIDE_YAW, -SIDE_YAW))
    return (
        l2_distance(photo, front),
        sum(l2_distance(photo, side) for side in sides) / 2,
        cosine_similarity(photo, front),
        sum(cosine_similarity(photo, side) for side in sides) / 2,
    )
