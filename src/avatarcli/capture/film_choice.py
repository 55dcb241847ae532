"""Which frames of a film stand for photos of its person: the best one from the front, and a few from other sides.

Profiles show the detector no face. They are looked for where the face was lost while it turned away, at the moment when it
should have come to 90°.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from avatarcli.capture.film import FaceSight, Sight
from avatarcli.capture.landmarks import MAX_YAW
from avatarcli.capture.quality import MEASURES
from avatarcli.errors import PhotoError

MOST_FURTHER = 5  # frames beside the reference
_FEWEST_DEGREES = 18.0  # between the directions of any two
_ENOUGH_DEGREES = 45.0  # more between them is no better
# What a frame costs, in degrees of turning: per % of blur, and per 8-bit level of noise. A degree of cost counts as much as
# so many degrees between directions.
_BY_BLUR, _BY_NOISE, _PER_DEGREE = 10.0, 1.0, 0.6
_MORE_BLUR = 1.25  # times the reference's, that other frames may have, even if that is more than a photo should
_OTHERS_SHARE = 0.1  # of the moments; less of another person is somebody who walks by
# A face that is lost when turned by so much, degrees, has turned away and not just been covered.
_TURNED_AWAY = 25.0
_RATE_SPAN, _SLOWEST = 0.7, 10.0  # seconds before the loss that tell how fast it turns; degrees a second, at least
# Degrees: moments so near to the likeliest one are looked at for the sharpest; and the share of its sharpness that the farthest
# of them must have more.
_ABOUT_90, _BY_ANGLE = 12.0, 0.3
_PROFILE = 90.0
_UNDERSTATED = 1.3  # the detector's yaw of a head that is turned far is that much too small (50° of 65°)
_LEVELS = {measure.name: measure for measure in MEASURES}


@dataclass(frozen=True)
class Chosen:
    """A chosen moment (seconds). yaw: as the detector says; of a profile, in which it sees no face, about what is expected."""

    time: float
    yaw: float
    profile: bool = False


def choose_frames(sights: Sequence[Sight], *, force: bool = False) -> list[Chosen]:
    """The frames to use, the reference first; it alone where nobody turns. `force` takes what would be refused.

    Raises:
        PhotoError: no face, none that is good enough, or several people.
    """
    faces = [(sight.time, sight.face) for sight in sights if sight.face is not None]
    if not faces:
        raise PhotoError("no face is seen in it; use a film of one well-lit person who starts out facing the camera")
    several = sum(sight.others > 0 for sight in sights)
    if several > _OTHERS_SHARE * len(sights) and not force:
        raise PhotoError(
            f"it shows several people at {100 * several / len(sights):.0f} % of the moments looked at: use a film of one person,"
            " or take the largest face with --force"
        )
    usable = [(moment, face) for moment, face in faces if abs(face.yaw) <= MAX_YAW and not _fault(face)]
    if not usable:
        if not force:
            raise PhotoError(_refusal([face for _, face in faces]))
        usable = faces
    start, reference = min(usable, key=lambda found: math.hypot(found[1].yaw, found[1].pitch) + _cost(found[1]))
    chosen = [Chosen(start, reference.yaw)]
    chosen += [profile for side in (-1, 1) if (profile := _profile(sights, side)) is not None]
    most_blur = max(_LEVELS["blur"].warn, _MORE_BLUR * reference.blur)
    others = [(moment, face) for moment, face in usable if face.blur <= most_blur]
    while len(chosen) <= MOST_FURTHER:
        directions = [frame.yaw for frame in chosen]
        far = [found for found in others if _apart(found[1].yaw, directions) >= _FEWEST_DEGREES]
        if not far:
            break
        moment, face = max(far, key=lambda found: _worth(found[1], directions))
        chosen.append(Chosen(moment, face.yaw))
    return chosen


def _apart(yaw: float, directions: Sequence[float]) -> float:
    return min(abs(yaw - other) for other in directions)


def _worth(face: FaceSight, directions: Sequence[float]) -> float:
    return min(_apart(face.yaw, directions), _ENOUGH_DEGREES) - _PER_DEGREE * (_cost(face) + abs(face.pitch))


def _cost(face: FaceSight) -> float:
    return face.unrest + _BY_BLUR * face.blur + _BY_NOISE * face.noise


def _fault(face: FaceSight) -> str:
    """Why no picture of this face should be taken: the name of a measure of the quality gate; empty: it may."""
    if face.closed > _LEVELS["eyes_closed"].warn:
        return "eyes_closed"
    if not face.blur <= _LEVELS["blur"].refuse:
        return "blur"
    return "pitch" if _LEVELS["pitch"].level(face.pitch) == "refuse" else ""


def _refusal(faces: Sequence[FaceSight]) -> str:
    faults = [_fault(face) or "yaw" for face in faces]
    said = {
        "eyes_closed": "the eyes are closed",
        "blur": "the face is blurred",
        "pitch": "the head is tipped back or forward",
        "yaw": "the head is turned away",
    }[max(faults, key=faults.count)]
    return f"in all of the {len(faces)} frames with a face it is not good enough (mostly {said}): use another film, or --force"


def _profile(sights: Sequence[Sight], side: int) -> Chosen | None:
    """The sharpest of the moments at which a profile should be seen; side: +1 for a face turned to the subject's left."""
    found = [candidate for gap in _gaps(sights) for candidate in _in_gap(sights, *gap, side)]
    if not found:
        return None
    best = min(off for _, off in found)
    near = [(sight, (off - best) / _ABOUT_90) for sight, off in found if off <= best + _ABOUT_90]
    sharpest, _ = max(near, key=lambda found: found[0].detail * (1.0 - _BY_ANGLE * found[1]))
    return Chosen(sharpest.time, side * _PROFILE, profile=True)


def _gaps(sights: Sequence[Sight]) -> Iterator[tuple[int, int]]:
    """First moments and ends (as of `range`) of the times at which no face is seen, or one that is turned too far to be read."""
    start = None
    for index, sight in enumerate(sights):
        lost = sight.face is None or abs(sight.face.yaw) > MAX_YAW
        if lost and start is None:
            start = index
        elif not lost and start is not None:
            yield start, index
            start = None
    if start is not None:
        yield start, len(sights)


def _in_gap(sights: Sequence[Sight], start: int, end: int, side: int) -> Iterator[tuple[Sight, float]]:
    """The moments of a gap that begins or ends with a face turned to this side, and how far from 90° it should be then."""
    edges = [
        (sights[edge].time, _UNDERSTATED * abs(face.yaw), _UNDERSTATED * _rate(sights, edge, step))
        for edge, step in ((start - 1, -1), (end, 1))
        if 0 <= edge < len(sights)
        for face in [sights[edge].face]
        if face is not None and face.yaw * side >= _TURNED_AWAY
    ]
    for sight in sights[start:end] if edges else ():
        # Whichever edge is nearer, in degrees, tells more of where the head is.
        turned = min(yaw + rate * abs(sight.time - moment) for moment, yaw, rate in edges)
        yield sight, abs(turned - _PROFILE)


def _rate(sights: Sequence[Sight], edge: int, step: int) -> float:
    """How fast the face turns away, degrees a second, at the edge of a gap; `step` leads away from the gap."""
    here, face = sights[edge], sights[edge].face
    rates = []
    for index in range(edge + step, len(sights) if step > 0 else -1, step):
        other = sights[index]
        span = abs(other.time - here.time)
        if other.face is None or face is None or span > _RATE_SPAN:
            break
        rates.append(math.copysign(1.0, face.yaw) * (face.yaw - other.face.yaw) / span)
    return max([_SLOWEST, *rates[-1:]])
