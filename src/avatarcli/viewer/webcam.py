"""A camera of this computer drives the avatar: MediaPipe on every frame, in a thread of its own."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from avatarcli.arrays import Float64
from avatarcli.capture.landmarks import face_landmarker, faces_of
from avatarcli.errors import AvatarError
from avatarcli.head.model import gaze_from_expression
from avatarcli.head.parameters import HeadParameters

_SMOOTHING = 0.5  # share of the last turn of the head in the next: steadies it within two frames
_FACES = 2  # looked for: with one, MediaPipe smooths over time by itself, blinks and all
_LOST_AFTER = 3.0  # seconds without a picture before the camera counts as gone


@dataclass(frozen=True)
class Face:
    """What MediaPipe sees: ARKit scores [52] and the turn of the head against the camera [3, 3]."""

    scores: Float64
    rotation: Float64

    def pose(self, rest: Face) -> HeadParameters:
        """The avatar's pose, when the person's resting face is `rest`."""
        # What the face shows at rest is no expression; the way from there to 1 is the whole range.
        lifted = ((self.scores - rest.scores) / np.maximum(1 - rest.scores, 0.1)).clip(0, 1)
        expression = torch.from_numpy(lifted.astype(np.float32))[None]
        turn = Rotation.from_matrix(self.rotation @ rest.rotation.T).as_rotvec().astype(np.float32)
        still = HeadParameters.at_rest()
        return HeadParameters(
            expression, gaze_from_expression(expression), torch.from_numpy(turn)[None], still.head_pose
        )


def no_camera() -> str | None:
    """Why there is no camera to drive with, or None when there may be one."""
    if sys.platform.startswith("linux") and not list(Path("/dev").glob("video*")):
        return "this computer has no camera"
    return None


class Webcam:
    """Reads a camera until it is stopped.

    source: the camera's number, or a video file. moved: gets every pose. ended: called once, with the reason when it was not
    `stop`. Both are called from the camera's thread. The first face seen counts as the resting one.
    """

    def __init__(
        self, source: int | str, moved: Callable[[HeadParameters], None], ended: Callable[[str | None], None]
    ) -> None:
        self._source = source
        self._moved = moved
        self._ended = ended
        self._stop = threading.Event()
        self._rest: Face | None = None
        self._thread = threading.Thread(target=self._run, name="webcam", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let go of the camera."""
        self._stop.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def calibrate(self) -> None:
        """The next face seen is the resting one."""
        self._rest = None

    def _run(self) -> None:
        reason: str | None = None
        try:
            self._drive()
        except (AvatarError, OSError, RuntimeError) as error:
            reason = str(error)
        self._ended(reason)

    def _drive(self) -> None:
        import cv2

        capture = cv2.VideoCapture(self._source)
        try:
            if not capture.isOpened():
                raise AvatarError("the camera cannot be opened: another program may be using it")
            with face_landmarker(video=True, faces=_FACES) as landmarker:
                detector = _WebcamDetector(landmarker)
                seen = time.monotonic()
                while not self._stop.is_set():
                    there, picture = capture.read()
                    if there:
                        seen = time.monotonic()
                        self._follow(detector.face(np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)))
                    elif time.monotonic() - seen > _LOST_AFTER or isinstance(self._source, str):
                        raise AvatarError("the camera sends no more pictures")
                    else:
                        self._stop.wait(0.05)
        finally:
            capture.release()

    def _follow(self, face: Face | None) -> None:
        if face is None:  # the avatar waits as it is
            return
        rest = self._rest
        if rest is None:
            rest = self._rest = face
        self._moved(face.pose(rest))


class _WebcamDetector:
    """Follows the face in a stream of pictures."""

    def __init__(self, landmarker: Any) -> None:
        self._landmarker = landmarker
        self._start = time.monotonic()
        self._at = 0  # milliseconds of the last picture
        self._last: Float64 | None = None

    def face(self, picture: NDArray[np.uint8]) -> Face | None:
        """The largest face in a picture [H, W, 3], its turn smoothed over time; None when there is none."""
        import mediapipe

        # MediaPipe wants every picture later than the one before.
        self._at = max(self._at + 1, int(1000 * (time.monotonic() - self._start)))
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(picture))
        faces = faces_of(self._landmarker.detect_for_video(image, self._at), picture.shape[1], picture.shape[0])
        if not faces:
            return None
        largest = max(faces, key=lambda face: face.interocular)
        turn = Rotation.from_matrix(largest.pose[:3, :3])
        if self._last is not None:
            between = turn.inv() * Rotation.from_matrix(self._last)
            turn = turn * Rotation.from_rotvec(_SMOOTHING * between.as_rotvec())
        self._last = turn.as_matrix()
        return Face(largest.scores.astype(np.float64), self._last)
