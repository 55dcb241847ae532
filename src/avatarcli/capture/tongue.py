"""How far a tongue is put out, by the colors between the lips: landmarks and scores know no tongue.

The detector lays the lower lip's points somewhere on a tongue that hangs over the lip, so it fills what lies between the lips. It
is redder than the cheeks, where teeth are not; and it is in the light, where the inside of a mouth is dark. The constants come
from pictures of twelve synthetic people whose coefficients are known; the numbers in docs/tracking.md come from others, and from
photos of real ones who smile.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import map_coordinates

from avatarcli.arrays import Float32, Float64, Pixels
from avatarcli.capture.exposure import decoded
from avatarcli.head.face_points import LOWER_INNER_LIP, UPPER_INNER_LIP

# MediaPipe's points on the cheeks, and at the corners of the right and the left eye.
_CHEEKS = (205, 425, 36, 266, 203, 423)
_EYES = (33, 133, 263, 362)
# Places that are looked at: shares of the way from the upper lip to the lower one.
_ROWS = np.linspace(0.45, 0.9, 6)
_CHEEK_STEP = 0.03  # eye distances between the places that a cheek's color is taken from
_FLOOR = 2e-3  # of white, added before logarithms are taken
# Logarithms: how much redder than the cheeks a tongue is (red over green), and how much darker it may be.
_REDDER, _DARKER = 0.1, 0.55
# Shares of the places that look so where a tongue begins to be believed, and where it is out. Toothy smiles reach 0.13.
_BEGUN, _OUT = 0.5, 0.75
# Eye distances between the lips: through nearer ones comes no tongue, through farther ones it may.
_SHUT, _PARTED = 0.05, 0.09


def seen_tongue(picture: Pixels, points: Float32) -> float:
    """tongueOut, from 0 to 1, of a face in a picture [H, W, 3]; points [478, 2]: its landmarks, in pixels."""
    places = points.astype(np.float64)
    upper, lower, eyes, cheek = (places[list(some)] for some in (UPPER_INNER_LIP, LOWER_INNER_LIP, _EYES, _CHEEKS))
    eye_distance = max(float(np.linalg.norm(eyes[:2].mean(0) - eyes[2:].mean(0))), 1e-6)
    parted = float(np.linalg.norm(lower - upper, axis=1).mean()) / eye_distance
    if parted <= _SHUT:
        return 0.0
    steps = _CHEEK_STEP * eye_distance * np.arange(-1, 2)
    around = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    cheeks = np.median(_light(picture, cheek[:, None] + around).reshape(-1, 3), axis=0)
    mouth = _light(picture, upper + (lower - upper) * _ROWS[:, None, None])
    light = (mouth + _FLOOR) / (cheeks + _FLOOR)
    tongue = (np.log(light[..., 0] / light[..., 1]) > _REDDER) & (np.log(light.mean(-1)) > -_DARKER)
    # Before one that stays in, teeth or the dark show either above or below.
    share = min(half.mean() for half in np.split(tongue, 2))
    return float(
        np.clip((share - _BEGUN) / (_OUT - _BEGUN), 0.0, 1.0) * np.clip((parted - _SHUT) / (_PARTED - _SHUT), 0.0, 1.0)
    )


def _light(picture: Pixels, places: Float64) -> Float64:
    """Linear light [..., 3] at places [..., 2] (x, y) of a picture, between its pixels too; its border goes on outside."""
    rows = np.moveaxis(places[..., ::-1], -1, 0) - 0.5
    channels = [map_coordinates(picture[..., c], rows, np.float64, order=1, mode="nearest") for c in range(3)]
    return decoded(np.stack(channels, axis=-1) / 255)
