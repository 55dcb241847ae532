"""The face of a video over time: landmarks and scores of one person, on a grid of constant rate, with its gaps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from avatarcli.arrays import Float32, Pixels
from avatarcli.capture._mediapipe import quiet_stderr
from avatarcli.capture.landmarks import FaceLandmarks, face_landmarker, faces_of, search_faces
from avatarcli.capture.tongue import seen_tongue
from avatarcli.capture.video import Times, VideoInfo, read_frames
from avatarcli.errors import VideoError
from avatarcli.head.expressions import EXPRESSION_INDEX

_TONGUE = EXPRESSION_INDEX["tongueOut"]
# Faces that are looked for. With one, MediaPipe smooths the landmarks over time by itself, blinks and all; more than
# this are a crowd, in which the largest few still are found.
_FACES = 3
# A face is the same as one seen a moment ago when its middle has moved by less than this many face heights …
_SAME_PLACE = 0.6
# … and that moment is not longer ago than this, seconds.
_SAME_MOMENT = 0.5
# Another person is as large as this share of the one who is followed at least, to be mistaken for them.
_SAME_SIZE = 0.5
# Part of the video that a second face must be seen in to be worth a warning.
_SECOND_FACE_SHARE = 0.1
# Seconds between looks for small faces in parts of a frame, at first and at most, and the side of the window about one,
# in face heights.
_SEARCH_PAUSE, _LONGEST_PAUSE = 0.2, 8.0
_WINDOW = 3.0
# Frames this near to each other (in usual intervals, and in seconds) tell what was between them: a dropped frame or a
# slow moment of a variable rate is no gap.
_BRIDGED_INTERVALS, _BRIDGED_SECONDS = 3.0, 0.15
MAX_FRAMES = 72_000  # 40 minutes at 30 frames/s; landmarks of that many take 410 MB


@dataclass(frozen=True)
class FaceSequence:
    """T moments at a constant rate, of a video whose frames are `width` × `height` pixels.

    points [T, 478, 3]: pixels and relative depth, see `FaceLandmarks`; scores [T, 52]: ARKit guesses, that of tongueOut by
    `seen_tongue`; seen [T]: False in gaps, where points and scores are NaN; several: whether another person was in the
    picture for long.
    """

    points: Float32
    scores: Float32
    seen: NDArray[np.bool_]
    fps: float
    width: int
    height: int
    several: bool

    def __len__(self) -> int:
        return len(self.seen)


@dataclass
class _Tracklet:
    """One face as long as it can be followed from frame to frame."""

    times: list[float]
    points: list[Float32]
    scores: list[Float32]
    size: float  # pixels: height of the face where it was last seen
    weight: float = 0.0  # sum of sizes over frames: large and long wins

    def add(self, moment: float, face: FaceLandmarks, picture: Pixels) -> None:
        self.size = _size(face)
        self.weight += self.size
        self.times.append(moment)
        self.points.append(np.concatenate([face.points, face.depth[:, None]], axis=1))
        scores = face.scores.copy()
        scores[_TONGUE] = seen_tongue(picture, face.points)
        self.scores.append(scores)

    @property
    def mean_size(self) -> float:
        return self.weight / len(self.times)

    def distance(self, face: FaceLandmarks) -> float:
        return float(np.linalg.norm(face.points.mean(0) - self.points[-1][:, :2].mean(0))) / self.size

    def overlaps(self, other: _Tracklet) -> bool:
        return self.times[0] <= other.times[-1] and other.times[0] <= self.times[-1]


def detect_faces(
    info: VideoInfo, fps: float, *, seconds: float | None = None, advance: Callable[[int], None] = lambda steps: None
) -> FaceSequence:
    """Follow the largest and longest seen face of a video, at `fps` frames per second.

    `seconds`: only so much from the start; `advance` hears of every frame of the file.

    Raises:
        VideoError: no face in any frame, the video is too long, or it cannot be decoded.
        AvatarError: MediaPipe cannot start.
    """
    duration = info.duration if seconds is None else min(seconds, info.duration)
    if duration * fps > MAX_FRAMES:
        raise VideoError(
            f"{info.path} has {duration * fps:.0f} frames; at most {MAX_FRAMES} can be tracked, use --seconds or --fps"
        )
    tracklets: list[_Tracklet] = []
    size, moments = (0, 0), 0
    for moment, picture, faces in find_in_frames(read_frames(info, seconds=seconds)):
        size = picture.shape[1], picture.shape[0]
        moments += 1
        advance(1)
        _link(tracklets, moment, picture, faces)
    if not tracklets:
        raise VideoError(
            f"no face found in {info.path}; use a video with a face that is well lit, at least 100 pixels high and turned "
            "at most 60° from the camera"
        )
    chosen = _choose(tracklets)
    others = sum(len(t.times) for t in tracklets if t not in chosen)
    grid = np.arange(max(1, round(duration * fps))) / fps
    points, scores, seen = _on_grid(chosen, grid, 1.0 / min(fps, info.fps))
    return FaceSequence(points, scores, seen, fps, *size, others > _SECOND_FACE_SHARE * moments)


def find_in_frames(frames: Iterable[tuple[float, Pixels]]) -> Iterator[tuple[float, Pixels, list[FaceLandmarks]]]:
    """Frames [H, W, 3] with their times (seconds, ascending), and the few largest faces of each."""
    with face_landmarker(video=True, faces=_FACES) as landmarker, face_landmarker() as searcher:
        detector = _Detector(landmarker, searcher)
        for moment, picture in frames:
            yield moment, picture, detector.faces(moment, picture)


class _Detector:
    """Finds faces in frames. MediaPipe sees a frame at 128 pixels, in which small faces drown: those are looked for in
    parts of the frame, and from then on only a window about them is shown to it."""

    def __init__(self, landmarker: Any, searcher: Any) -> None:
        self._landmarker, self._searcher = landmarker, searcher
        self._stamp = -1  # milliseconds of the last frame
        self._window: tuple[int, int, int, int] | None = None  # left, top, right, bottom
        self._search_at, self._pause = 0.0, _SEARCH_PAUSE

    def faces(self, moment: float, picture: Pixels) -> list[FaceLandmarks]:
        found = self._detect(moment, picture)
        if not found and moment >= self._search_at:
            # Looking takes as long as some thirty frames: the longer nobody comes, the more seldom.
            self._search_at = moment + self._pause
            self._pause = min(2.0 * self._pause, _LONGEST_PAUSE)
            self._window = None
            anywhere = search_faces(self._searcher, Image.fromarray(picture))
            if anywhere:
                self._window = _window(max(anywhere, key=_size), picture)
                found = self._detect(moment, picture)
        if found:
            self._search_at, self._pause = 0.0, _SEARCH_PAUSE
            largest = max(found, key=_size)
            if self._window is not None and _off_centre(largest, self._window):
                self._window = _window(largest, picture)
        return found

    def _detect(self, moment: float, picture: Pixels) -> list[FaceLandmarks]:
        import mediapipe

        height, width = picture.shape[:2]
        left, top, right, bottom = self._window or (0, 0, width, height)
        shown = np.ascontiguousarray(picture[top:bottom, left:right])
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=shown)
        first = self._stamp < 0
        self._stamp = max(self._stamp + 1, round(moment * 1000))  # it must ascend
        with quiet_stderr() if first else nullcontext():  # the first call talks
            result = self._landmarker.detect_for_video(image, self._stamp)
        return faces_of(result, right - left, bottom - top, (left, top))


def _window(face: FaceLandmarks, picture: Pixels) -> tuple[int, int, int, int]:
    """A square of `_WINDOW` face heights about a face, as far as it lies in the picture."""
    x, y = face.points.mean(0)
    half = 0.5 * _WINDOW * _size(face)
    height, width = picture.shape[:2]
    left, top = max(0, round(float(x) - half)), max(0, round(float(y) - half))
    return left, top, min(width, round(float(x) + half)), min(height, round(float(y) + half))


def _off_centre(face: FaceLandmarks, window: tuple[int, int, int, int]) -> bool:
    """Whether a face has come so near to its window's edge, or so near to the camera, that it needs another one."""
    left, top, right, bottom = window
    x, y = face.points.mean(0)
    margin = min(x - left, right - x, y - top, bottom - y)
    return bool(margin < 0.75 * _size(face)) or _size(face) > 0.6 * (bottom - top)


def _size(face: FaceLandmarks) -> float:
    return float(np.ptp(face.points[:, 1])) + 1e-6


def _link(tracklets: list[_Tracklet], moment: float, picture: Pixels, faces: list[FaceLandmarks]) -> None:
    """Give each face of a frame to the tracklet it continues, nearest pairs first, or begin one."""
    alive = [t for t in tracklets if moment - t.times[-1] <= _SAME_MOMENT]
    pairs = sorted(
        ((t.distance(face), i, j) for i, t in enumerate(alive) for j, face in enumerate(faces)),
        key=lambda pair: pair[0],
    )
    used: set[int] = set()
    taken: set[int] = set()
    for distance, i, j in pairs:
        if distance < _SAME_PLACE and i not in used and j not in taken:
            alive[i].add(moment, faces[j], picture)
            used.add(i)
            taken.add(j)
    for j, face in enumerate(faces):
        if j not in taken:
            tracklets.append(_Tracklet([], [], [], 0.0))
            tracklets[-1].add(moment, face, picture)


def _choose(tracklets: list[_Tracklet]) -> list[_Tracklet]:
    """The tracklets of one person in the order of time: the largest and longest, and those of about its size that fill
    the times when it is away."""
    best = max(tracklets, key=lambda t: t.weight)
    chosen = [best]
    for candidate in sorted(tracklets, key=lambda t: -t.weight):
        like = _SAME_SIZE < candidate.mean_size / best.mean_size < 1 / _SAME_SIZE
        if like and not any(candidate.overlaps(other) for other in chosen):
            chosen.append(candidate)
    return sorted(chosen, key=lambda t: t.times[0])


def _on_grid(chosen: list[_Tracklet], grid: Times, interval: float) -> tuple[Float32, Float32, NDArray[np.bool_]]:
    """Landmarks and scores at the times of a grid [T], linear between frames that are near enough to each other;
    `interval`: seconds between frames as a rule."""
    bridged = max(_BRIDGED_INTERVALS * interval, _BRIDGED_SECONDS)
    times = np.array([moment for t in chosen for moment in t.times])
    points = [p for t in chosen for p in t.points]
    scores = [s for t in chosen for s in t.scores]
    after = np.searchsorted(times, grid).clip(0, len(times) - 1)
    before = np.searchsorted(times, grid, side="right").clip(1) - 1
    span = times[after] - times[before]
    # Beyond the first and last frame both are the same one.
    off = np.maximum(np.abs(grid - times[before]), np.abs(grid - times[after]))
    seen = np.where(span > 0, span <= bridged, off <= interval)
    share = np.where(span > 0, (grid - times[before]) / np.where(span > 0, span, 1.0), 0.0).astype(np.float32)
    on_points = np.full((len(grid), *points[0].shape), np.nan, np.float32)
    on_scores = np.full((len(grid), len(scores[0])), np.nan, np.float32)
    for row in np.flatnonzero(seen):
        a, b, s = before[row], after[row], share[row]
        on_points[row] = (1 - s) * points[a] + s * points[b]
        on_scores[row] = (1 - s) * scores[a] + s * scores[b]
    return on_points, on_scores, seen
