"""How much light a face stands in, and the lift of photos that were taken in too little.

A dark face may be dark skin in good light, so the face's own brightness says nothing. The whites of the eyes do: they are
alike in all people. The rest of the picture does not: a window behind a dim face is as bright as ever.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from avatarcli.arrays import Float64, Mask, Pixels
from avatarcli.capture.landmarks import FaceLandmarks
from avatarcli.capture.quality import DIM
from avatarcli.capture.sharpness import edge_blur
from avatarcli.geometry import colors
from avatarcli.head.face_points import FEATURE_LINES

TARGET = 0.5  # sRGB level that the whites of the eyes of a dim photo are brought to: what the darker of ordinary portraits have
# Eyes that are closed or behind dark glasses say nothing of the light. Shares of the skin's light (linear).
OPEN_EYES = 0.25
# Nor do those of a face that is blurred over more than this share of the distance between them: they run into the skin.
_BLURRED = 0.025
# Light above which the lift bends towards white, so that what is bright in the photo is not burnt out.
_KNEE = 0.6
# MediaPipe's points around the face, in order.
_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136,
    172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
# 8-bit level that all channels of a reflection reach: whites of eyes hardly do, their catchlights are small.
_GLARE = 235
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])


def face_area(face: FaceLandmarks, inside: NDArray[np.float32]) -> Mask:
    """The pixels [S, S] of the face, where the photo shows any: `inside` [S, S] is 1 there."""
    return polygon_mask(face.points[list(_OVAL)], inside.shape) & (inside > 0.5)


def eye_light(image: Pixels, face: FaceLandmarks, inside: NDArray[np.float32]) -> tuple[float, float]:
    """The linear light of the whites of the eyes and of the skin in a picture [S, S, 3]; NaN where none is to be seen.

    The brighter eye counts: the other may lie in a shadow.
    """
    light = gaussian_filter(_linear(image) @ _LUMINANCE, 0.008 * face.interocular)
    eyes = [float(np.percentile(light[opening], 90)) for opening in _eye_openings(face, inside)]
    skin = light[face_area(face, inside)]
    return max(eyes, default=float("nan")), float(np.median(skin)) if skin.size else float("nan")


def eye_glare(image: Pixels, face: FaceLandmarks, inside: NDArray[np.float32]) -> float:
    """The share of an eye's opening that is white as a lamp in a picture [S, S, 3], of the eye that has more; NaN without eyes.

    Catchlights take up to 0.036 of it in 261 portraits; more is a reflection in glasses.
    """
    shares = [float((image[opening].min(-1) >= _GLARE).mean()) for opening in _eye_openings(face, inside)]
    return max(shares, default=float("nan"))


def _eye_openings(face: FaceLandmarks, inside: NDArray[np.float32]) -> list[Mask]:
    """The pixels [S, S] between the lids of each eye that the photo shows."""
    polygons = (
        polygon_mask(face.points[list(FEATURE_LINES[side])], inside.shape) for side in ("right eye", "left eye")
    )
    seen = (opening & (inside > 0.5) for opening in polygons)
    return [opening for opening in seen if opening.any()]


def face_light(image: Pixels, face: FaceLandmarks, inside: NDArray[np.float32]) -> float:
    """The sRGB level in [0, 1] that the whites of the eyes have, or would have, in a picture [S, S, 3].

    Skin is never much brighter than they, so bright skin counts where the eyes lie in shadow. Where no white is to be seen,
    the brightest of the skin stands for it.
    """
    eyes, skin = eye_light(image, face, inside)
    area = face_area(face, inside)
    if not eyes >= OPEN_EYES * skin or edge_blur(image, area, face.interocular) > _BLURRED * face.interocular:
        shown = (_linear(image) @ _LUMINANCE)[area]
        return float(encoded(np.percentile(shown, 99))) if shown.size else float("nan")
    return float(encoded(np.float64(max(eyes, skin))))


def lift_gain(light: float) -> float:
    """The factor of linear light that brings a dim face (see `face_light`) to the level of ordinary photos; 1 for others."""
    return float(decoded(TARGET) / decoded(light)) if 0 < light < DIM else 1.0


def lifted(image: Pixels, gain: float) -> Pixels:
    """A picture [..., 3] with its light multiplied; what would come near white is bent below it. Gain 1 changes nothing."""
    if gain == 1.0:
        return image
    light = gain * decoded(np.arange(256) / 255)
    bent = 1 - (1 - _KNEE) * np.exp(-(light - _KNEE) / (1 - _KNEE))
    table = np.round(255 * encoded(np.where(light > _KNEE, bent, light))).astype(np.uint8)
    return np.asarray(table[image])


def polygon_mask(points: NDArray[np.floating], size: tuple[int, ...]) -> Mask:
    """The pixels of a picture of `size` (height, width) inside the polygon of points [P, 2] (x, y)."""
    mask = Image.new("1", (size[1], size[0]))
    ImageDraw.Draw(mask).polygon([(float(x), float(y)) for x, y in points], fill=1)
    return np.asarray(mask)


def _linear(image: Pixels) -> Float64:
    return np.asarray(decoded(np.arange(256) / 255)[image])


def decoded(level: Float64 | float) -> Float64:
    """Linear light of sRGB levels, both in [0, 1]."""
    return np.asarray(colors.linear(torch.as_tensor(level, dtype=torch.float64)))


def encoded(linear: Float64 | float) -> Float64:
    """sRGB levels of linear light, both in [0, 1]; light beyond is clipped."""
    return np.asarray(colors.encoded(torch.as_tensor(linear, dtype=torch.float64)))
