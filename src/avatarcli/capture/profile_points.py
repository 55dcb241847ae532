"""Where the near ear of a profile is, in which MediaPipe's landmarks are not found: its face detector, the first step of the
landmarker, sees profiles too, and knows six points of a face."""

from __future__ import annotations

import zipfile

import numpy as np
from PIL import Image

from avatarcli.arrays import Float64, Pixels
from avatarcli.capture._mediapipe import quiet_stderr
from avatarcli.head.near_ear import NearEar
from avatarcli.weights.shipped import weights_file

_DETECTOR = "face_detector.tflite"  # in the landmarker's archive
_CONFIDENCE = 0.3  # of 1: profiles of the London set have 0.88 to 0.97
_SIDE = 640  # pixels: longer side of what the detector is shown
# Framings as (margin, shift right, shift down), shares of the picture's longer side. Points scatter with them by 2 to 7 mm; the
# median over all of them and over their mirror images does less.
_FRAMINGS = ((0.25, 0.0, 0.0), (0.1, 0.0, 0.0), (0.4, 0.03, 0.0), (0.3, -0.03, 0.03), (0.2, 0.0, -0.03))
_FEWEST = 4  # framings that must show the face
_NOSE, _RIGHT_EAR, _LEFT_EAR = 2, 4, 5
_MIRRORED = (1, 0, 2, 3, 5, 4)  # the points of a mirrored face


def find_near_ear(image: Pixels) -> NearEar | None:
    """The ear that a profile [H, W, 3] (uint8, sRGB) shows; None where no face is found."""
    picture = Image.fromarray(image)
    points = [*_sightings(picture), *_sightings(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT), mirrored=True)]
    if len(points) < _FEWEST:
        return None
    middle = np.median(np.stack(points), axis=0)
    # The nose points away from the ear that is seen.
    side = 1 if middle[_NOSE, 0] < middle[[_LEFT_EAR, _RIGHT_EAR], 0].mean() else -1
    return NearEar(side, middle[_LEFT_EAR if side > 0 else _RIGHT_EAR])


def _sightings(picture: Image.Image, *, mirrored: bool = False) -> list[Float64]:
    """The six points [6, 2] of the likeliest face in each framing that shows one, in pixels of the picture as it was."""
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    with zipfile.ZipFile(weights_file("mediapipe/face_landmarker.task")) as archive:
        model = archive.read(_DETECTOR)
    options = vision.FaceDetectorOptions(
        base_options=BaseOptions(model_asset_buffer=model), min_detection_confidence=_CONFIDENCE
    )
    found = []
    width, height = picture.size
    longest = max(width, height)
    with quiet_stderr(), vision.FaceDetector.create_from_options(options) as detector:
        for margin, right, down in _FRAMINGS:
            left, top = round((right - margin) * longest), round((down - margin) * longest)
            side = round((1 + 2 * margin) * longest)
            ratio = _SIDE / side
            crop = picture.crop((left, top, left + side, top + side)).resize((_SIDE, _SIDE))
            shown = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(crop))
            faces = detector.detect(shown).detections
            if faces:
                likeliest = max(faces, key=lambda face: face.categories[0].score)
                points = np.array([(p.x, p.y) for p in likeliest.keypoints]) * _SIDE / ratio + (left, top)
                found.append(points)
    if mirrored:
        found = [np.stack([width - points[:, 0], points[:, 1]], axis=1)[list(_MIRRORED)] for points in found]
    return found
