"""What the quality gate measures in a photo that has been tracked."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from avatarcli.capture.exposure import eye_glare, eye_light, face_area, polygon_mask
from avatarcli.capture.landmarks import FaceLandmarks
from avatarcli.capture.photo import HeadCrop
from avatarcli.capture.sharpness import edge_blur
from avatarcli.head.face_points import IRISES, SURFACE_LANDMARKS
from avatarcli.head.model import HeadModel, PersonalHead
from avatarcli.head.photo_fit import PhotoFit

_BURNT = 250  # 8-bit levels: a pixel whose darkest channel is brighter than this shows white and nothing else
_FROM_EDGE = 2  # pixels: the matte is taken so far below the photo's upper edge


def measure_photo(
    crop: HeadCrop, face: FaceLandmarks, matte: NDArray[np.float32], track: PhotoFit, model: HeadModel
) -> dict[str, float]:
    """The values of all measures of `quality.MEASURES`, but for the light and the backdrop, by name. NaN: cannot be measured.

    crop: as the track saw it; face: in pixels of the crop; matte [S, S].
    """
    yaw, pitch, roll = head_angles(track)
    # As a frontal view would show it.
    eyes = float(np.linalg.norm(track.landmarks[IRISES[0]] - track.landmarks[IRISES[1]])) / max(
        math.cos(math.radians(yaw)), 0.3
    )
    skin = face_area(face, crop.inside)
    white, light = eye_light(crop.image, face, crop.inside)
    return {
        "outside": 100 * _share_outside(crop, track, model),
        "cut_top": _cut_at_top(crop, matte) / eyes,
        "yaw": yaw,
        "pitch": pitch,
        "roll": roll,
        "eye_distance": eyes / crop.scale,
        "blur": 100 * edge_blur(crop.image, skin, eyes) / eyes,
        "burnt": 100 * float((crop.image[skin].min(-1) >= _BURNT).mean()) if skin.any() else math.nan,
        "eyes_closed": 100 * face.eyes_closed,
        "eyes_lit": 100 * white / light if light > 0 else math.nan,
        "glare": 100 * eye_glare(crop.image, face, crop.inside),
        "misfit": 100 * _misfit(track, model) / eyes,
    }


def head_angles(track: PhotoFit) -> tuple[float, float, float]:
    """How the head is held before the camera, degrees: yaw (positive to the subject's left), pitch (up) and roll (clockwise in
    the picture)."""
    # From the head's axes to the picture's: x right, y up, z towards the camera.
    turn = np.diag([1.0, -1.0, -1.0]) @ track.camera.world_to_camera[:3, :3].double().numpy()
    yaw = math.atan2(turn[0, 2], turn[2, 2])
    pitch = math.asin(float(np.clip(turn[1, 2], -1.0, 1.0)))
    roll = math.atan2(-turn[1, 0], turn[0, 0])
    return math.degrees(yaw), math.degrees(pitch), math.degrees(roll)


def _share_outside(crop: HeadCrop, track: PhotoFit, model: HeadModel) -> float:
    """The share of the head's outline that lies outside the photo.

    It is the average head at the fitted place: the fitted one shrinks into what the matte shows of a head that is cut off.
    """
    head = model.mean[model.in_regions("face", "scalp", "ear", "nose", "lip")]
    pixels = track.camera.project(head)[0].double().numpy()
    outline = pixels[ConvexHull(pixels).vertices]
    x, y = outline.T
    area = 0.5 * abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1)))
    seen = float(crop.inside[polygon_mask(outline, crop.inside.shape)].sum())
    return max(0.0, 1 - seen / area)


def _cut_at_top(crop: HeadCrop, matte: NDArray[np.float32]) -> float:
    """Pixels along the photo's upper edge that show the person, where that edge runs through the crop; else 0."""
    rows = np.flatnonzero((crop.inside > 0.5).any(1))
    if len(rows) <= _FROM_EDGE or rows[0] == 0:
        return 0.0
    return float((matte[rows[0] + _FROM_EDGE] > 0.5).sum())


def _misfit(track: PhotoFit, model: HeadModel) -> float:
    """Pixels (root mean square) between the detected landmarks and those of the fitted head."""
    vertices = PersonalHead.of(model, track).posed(track.parameters())[0]
    fitted = track.camera.project(model.landmarks(vertices))[0]
    distance = (fitted - track.landmarks)[:SURFACE_LANDMARKS].square().sum(-1)
    return float(torch.sqrt(distance.mean()))
