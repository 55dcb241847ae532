"""Looking through a film of a person who turns: which way the face looks at some moments, and how good a picture each is.

At most `MOST_LOOKS` frames are looked at, and no picture is kept, so that neither time nor memory grow with the film: one of
up to `WHOLE` seconds is decoded in full, of a longer one only frames that need no others to be decoded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter

from avatarcli.arrays import Pixels
from avatarcli.capture.exposure import face_area
from avatarcli.capture.face_sequence import find_in_frames
from avatarcli.capture.landmarks import FaceLandmarks
from avatarcli.capture.sharpness import noise_level, smear
from avatarcli.capture.video import Times, VideoInfo, read_frames, read_key_frames
from avatarcli.head.expressions import EXPRESSION_INDEX

MOST_LOOKS = 240
WHOLE = 90.0  # seconds
_LOOKS_A_SECOND = 10.0  # a quick turn of the head takes a second
_FEWEST_KEYS = 40  # frames that decode alone in a long film; with fewer, its beginning is looked at as a short film is
# A second face is another person, and no picture on the wall, if it is as large as this share of the first.
_OTHER_SIZE = 0.5
# What makes a picture a worse reference, in degrees of turning: an expression, and a face of few pixels.
_EXPRESSIONS = ("jawOpen", "mouthSmileLeft", "mouthSmileRight", "eyeBlinkLeft", "eyeBlinkRight")
_BY_EXPRESSION, _BY_SIZE = 15.0, 600.0
_HEAD_REACH = 1.1  # face heights from its middle: hair and all
# Detail of a picture: its edges after a blur of this many pixels, so that noise is none.
_DETAIL_SIDE, _DETAIL_BLUR, _DETAIL_EDGES = 480, 1.5, 0.98  # pixels along the longer side; pixels; quantile
_BY_NOISE = 0.3  # of the noise: so much of it is left after that blur


@dataclass(frozen=True)
class FaceSight:
    """A face in a film's frame. yaw (positive to the subject's left) and pitch in degrees; unrest: see `unrest`; blur: in % of the
    distance between the eyes; noise: in 8-bit levels; closed: the eyes, in %."""

    yaw: float
    pitch: float
    unrest: float
    blur: float
    noise: float
    closed: float


@dataclass(frozen=True)
class Sight:
    """A moment of a film (seconds). face: None where none is found; others: how many more faces of about its size there are;
    detail: how much of it the picture shows, to be compared with other moments at which the same is seen."""

    time: float
    face: FaceSight | None
    others: int
    detail: float


def looks(info: VideoInfo) -> tuple[Times, bool]:
    """The moments [N] of a film that are looked at, and whether these are frames that decode alone."""
    if info.duration > WHOLE and len(info.key_times) >= _FEWEST_KEYS:
        return _spread(info.key_times, info.key_times[-1] / MOST_LOOKS), True
    times = info.times[info.times < WHOLE]
    return _spread(times, max(1.0 / _LOOKS_A_SECOND, times[-1] / MOST_LOOKS)), False


def look_through(info: VideoInfo, advance: Callable[[int], None] = lambda steps: None) -> list[Sight]:
    """What a film shows at the moments that `looks` names; `advance` hears of each.

    Raises:
        VideoError: it cannot be decoded.
        AvatarError: MediaPipe cannot start.
    """
    sights, place = [], None
    for moment, picture, faces in find_in_frames(_frames(info)):
        largest = max(faces, key=_height, default=None)
        if largest is not None:
            place = largest
        others = sum(_height(face) > _OTHER_SIZE * _height(largest) for face in faces if face is not largest)
        seen = None if largest is None else _measured(picture, largest)
        sights.append(Sight(moment, seen, others, _detail(picture if place is None else _about(picture, place))))
        advance(1)
    return sights


def unrest(face: FaceLandmarks, eyes: float) -> float:
    """How little a face tells of itself at rest, in degrees of turning that would be as bad.

    eyes: pixels between them, in the whole picture.
    """
    expression = float(face.scores[[EXPRESSION_INDEX[name] for name in _EXPRESSIONS]].sum())
    return _BY_EXPRESSION * expression + _BY_SIZE / max(eyes, 1.0)


def _spread(times: Times, step: float) -> Times:
    """Of ascending times those that are at least about a step apart."""
    kept: list[float] = []
    for moment in times:
        if not kept or moment >= kept[-1] + 0.99 * step:
            kept.append(float(moment))
    return np.array(kept)


def _frames(info: VideoInfo) -> Iterator[tuple[float, Pixels]]:
    moments, alone = looks(info)
    if alone:
        yield from read_key_frames(info, moments)
        return
    wanted = iter(moments.tolist())
    due = next(wanted)
    for moment, picture in read_frames(info, seconds=WHOLE):
        if moment >= due - 1e-3:
            yield moment, picture
            due = next((later for later in wanted if later > moment + 1e-3), math.inf)


def _measured(picture: Pixels, face: FaceLandmarks) -> FaceSight:
    size = picture.shape[:2]
    low, high = face.points.min(0), face.points.max(0)
    left, top = (int(np.clip(value, 0, side - 1)) for value, side in zip(low, size[::-1], strict=True))
    shown = picture[top : max(top + 1, math.ceil(high[1])), left : max(left + 1, math.ceil(high[0]))]
    here = replace(face, points=face.points - np.array([left, top], np.float32))
    skin = face_area(here, np.ones(shown.shape[:2], np.float32))
    eyes = face.interocular
    return FaceSight(
        yaw=face.yaw,
        pitch=face.pitch,
        unrest=unrest(face, eyes),
        blur=100 * smear(shown, skin, eyes) / max(eyes, 1.0),
        noise=noise_level(shown, skin),
        closed=100 * face.eyes_closed,
    )


def _height(face: FaceLandmarks | None) -> float:
    return 0.0 if face is None else float(np.ptp(face.points[:, 1]))


def _about(picture: Pixels, face: FaceLandmarks) -> Pixels:
    """The part of a picture with the head in it, of which this is the face or was it a moment ago."""
    x, y = face.points.mean(0)
    reach = _HEAD_REACH * _height(face)
    left, top = max(0, round(float(x) - reach)), max(0, round(float(y) - reach))
    part = picture[top : round(float(y) + reach), left : round(float(x) + reach)]
    return part if part.size else picture


def _detail(picture: Pixels) -> float:
    """The stronger edges of a picture [H, W, 3], of those across or along it, whichever are weaker, less some for its noise."""
    step = max(1, round(max(picture.shape[:2]) / _DETAIL_SIDE))
    grey = gaussian_filter(picture[::step, ::step].mean(-1, dtype=np.float32), _DETAIL_BLUR)
    if min(grey.shape) < 2:
        return 0.0
    edges = min(float(np.quantile(np.abs(slope), _DETAIL_EDGES)) for slope in np.gradient(grey))
    return edges - _BY_NOISE * noise_level(picture, np.ones(picture.shape[:2], bool))
