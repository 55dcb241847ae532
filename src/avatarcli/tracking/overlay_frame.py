"""The tracked mesh over a frame of video: what `overlay` draws for a photo, in a few milliseconds."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from avatarcli.arrays import Pixels
from avatarcli.head.face_points import FEATURE_LINES
from avatarcli.tracking.video import VideoTrack

_MESH, _FEATURE = (255, 255, 255), (40, 255, 120)
_MESH_OPACITY = 0.35
_SUBPIXEL_BITS = 3  # of OpenCV's fixed-point coordinates


def draw_frame(image: Pixels, track: VideoTrack, frame: int) -> Pixels:
    """The wire of the face that is seen in one frame (white) and its features (green), over the picture [H, W, 3]."""
    model = track.head.model
    vertices = track.vertices(frame)
    camera = track.cameras[frame].resized(image.shape[1], image.shape[0])
    # Without the neck's own motion the shoulders would turn with the skull: only the head is drawn.
    head = model.in_regions("face", "ear", "nose", "lip", "eyelid", "eye")
    faces = model.faces[head[model.faces].all(1)]
    local = camera.to_camera(vertices)[faces].numpy()
    normal = np.cross(local[:, 1] - local[:, 0], local[:, 2] - local[:, 0])
    facing = (normal * local.mean(1)).sum(1) < 0
    pixels = camera.project(vertices)[0]
    wire = image.copy()
    cv2.polylines(wire, _fixed(pixels[faces].numpy()[facing]), True, _MESH, 1, cv2.LINE_AA, _SUBPIXEL_BITS)
    drawn = cv2.addWeighted(wire, _MESH_OPACITY, image, 1.0 - _MESH_OPACITY, 0.0)
    points = camera.project(model.landmarks(vertices))[0].numpy()
    stroke = max(1, round(image.shape[1] / 700))
    lines = [_fixed(points[list(line)][None])[0] for line in FEATURE_LINES.values()]
    cv2.polylines(drawn, lines, False, _FEATURE, stroke, cv2.LINE_AA, _SUBPIXEL_BITS)
    return np.asarray(drawn, np.uint8)


def _fixed(points: NDArray[np.floating]) -> list[NDArray[np.int32]]:
    """Runs [L, P, 2] of pixels (centres at half integers) as OpenCV wants them (centres at whole numbers)."""
    return list(np.round((points - 0.5) * (1 << _SUBPIXEL_BITS)).clip(-(2**26), 2**26).astype(np.int32))
