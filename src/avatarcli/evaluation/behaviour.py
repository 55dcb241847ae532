"""Does the avatar do what it is told (expression), is it the same thing from all sides (3D consistency), does it hold
still where it should (flicker)."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from avatarcli.arrays import Float64
from avatarcli.clips.files import clip_path, load_clip
from avatarcli.errors import AvatarError
from avatarcli.evaluation.metrics import (
    keypoint_distance,
    motion_response,
    sample,
    triangulate,
    unexplained_change,
)
from avatarcli.evaluation.sitter import Sitter, interocular
from avatarcli.gaussians.rasterize import rasterize
from avatarcli.geometry.cameras import Camera
from avatarcli.head.expressions import NAMED_EXPRESSIONS, expression_vector
from avatarcli.head.face_points import SURFACE_LANDMARKS
from avatarcli.head.model import still_head
from avatarcli.head.parameters import HeadParameters
from avatarcli.pictures import to_bytes

# Faces that the detector reads well, one part each.
_DRIVEN: dict[str, dict[str, float]] = {
    **NAMED_EXPRESSIONS,
    "raised brows": {"browInnerUp": 0.8, "browOuterUpLeft": 0.8, "browOuterUpRight": 0.8},
    "pucker": {"mouthPucker": 0.8},
}
_ORBIT_STEP = 15  # degrees between neighbouring views
_RATIO = 0.75  # Lowe's (2004): a match must be this much nearer than the second best
_EPIPOLAR = 3.0  # pixels: what the geometric check lets pass, far above the errors that are measured
_FEWEST = 16  # matches without which a pair of views says nothing
_EDGE = 8  # pixels: features nearer to the silhouette belong to no point of the surface
_LANDMARK_YAWS = [float(yaw) for yaw in range(-40, 41, 10)]  # where the detector is at ease
_CLIP, _CLIP_FPS, _CLIP_FRAMES, _CLIP_SIZE = "speech", 25.0, 24, 256


def expression_scores(sitter: Sitter) -> tuple[float, float, float]:
    """Drive known expressions from the front and find them again in the pictures.

    Returns the average keypoint distance between the detected landmarks and those of the driven mesh (% of the
    inter-ocular distance), the share of the driven motion that the landmarks show, and the mean error of the driven
    ARKit coefficients (the detector's answer for the face at rest is subtracted from its others).
    """
    camera = sitter.orbit([0.0])[0]
    asked, found, coefficients = [], [], []
    for weights in _DRIVEN.values():
        parameters = still_head(weights)
        _, face = sitter.face(parameters, camera)
        asked.append(sitter.landmarks(parameters, camera))
        found.append(face.points.astype(np.float64))
        coefficients.append(face.scores)
    model, seen, scores = np.stack(asked), np.stack(found), np.stack(coefficients)
    unit = interocular(model[0])
    surface = slice(0, SURFACE_LANDMARKS)
    distance = keypoint_distance(seen[:, surface], model[:, surface], unit)
    response = motion_response((seen[1:] - seen[0])[:, surface], (model[1:] - model[0])[:, surface])
    driven = np.array([expression_vector(weights) for weights in _DRIVEN.values()])[1:]
    error = float(np.abs(scores[1:] - scores[0] - driven)[driven > 0].mean())
    return distance, response, error


def reprojection_error(sitter: Sitter) -> tuple[float, float]:
    """RE@SIFT over the full circle: match features of neighbouring views, triangulate them with the known cameras,
    and measure how far (pixels, mean) the points are seen from where they were. Also the mean number of matches of a
    pair.

    SIFT (Lowe 2004) takes the place of the papers' LightGlue, whose weights cannot be shipped. Wrong matches are
    removed by a fundamental matrix that is estimated from the matches alone, never by the known cameras.

    Raises AvatarError when no pair of views has enough matches.
    """
    yaws = [float(yaw) for yaw in range(0, 360, _ORBIT_STEP)]
    cameras = sitter.orbit(yaws)
    rest = HeadParameters.at_rest()
    features = [_features(sitter, rest, cameras[index]) for index in range(len(yaws))]
    projections = _projections(cameras)
    errors: list[float] = []
    counts: list[int] = []
    for first in range(len(yaws)):
        second = (first + 1) % len(yaws)
        pixels = _matches(features[first], features[second])
        counts.append(pixels.shape[1])
        if pixels.shape[1] >= _FEWEST:
            errors.append(float(triangulate(projections[[first, second]], pixels)[1].mean()))
    if not errors:
        raise AvatarError("no two neighbouring views of the avatar share enough features to match")
    return float(np.mean(errors)), float(np.mean(counts))


def triangulation_error(sitter: Sitter) -> float:
    """How well the landmarks found in nine views from -40° to 40° agree on points in space: the root mean square of
    their reprojection errors, per cent of the inter-ocular distance. The detector's own scatter is in it (about 1
    %)."""
    cameras = sitter.orbit(_LANDMARK_YAWS)
    rest = HeadParameters.at_rest()
    views = [sitter.face(rest, cameras[index])[1].points for index in range(len(_LANDMARK_YAWS))]
    _, errors = triangulate(_projections(cameras), np.stack(views)[:, :SURFACE_LANDMARKS].astype(np.float64))
    unit = interocular(views[len(views) // 2])
    return float(100 * np.sqrt(np.square(errors).mean()) / unit)


def flicker(sitter: Sitter) -> float:
    """Change between the frames of a talking head that its motion does not explain, in 8-bit levels.

    The motion of every pixel is known from the Gaussians. Pixels that come into view are left out.
    """
    parameters = load_clip(clip_path(_CLIP)).resample(_CLIP_FPS).parameters()[:_CLIP_FRAMES]
    camera = sitter.orbit([0.0], _CLIP_SIZE)[0]
    drawn = [sitter.draw(parameters[t : t + 1], camera) for t in range(len(parameters))]
    changes = []
    for t in range(len(parameters) - 1):
        backward = _flow(sitter, parameters[t + 1 : t + 2], parameters[t : t + 1], camera)
        forward = _flow(sitter, parameters[t : t + 1], parameters[t + 1 : t + 2], camera)
        returned = (sample(forward, backward) + backward).norm(dim=-1)
        solid = torch.minimum(drawn[t + 1].alpha, sample(drawn[t].alpha[..., None], backward)[..., 0]) > 0.95
        mask = (solid & (returned < 0.5)).float()
        changes.append(unexplained_change(drawn[t].color, drawn[t + 1].color, backward, mask))
    return 255 * float(np.mean(changes))


def _flow(sitter: Sitter, start: HeadParameters, end: HeadParameters, camera: Camera) -> Tensor:
    """Where what `start` shows is in `end`: pixels (x, y) [H, W, 2]."""
    with torch.inference_mode():
        device = sitter.device
        before = sitter.avatar.splats(sitter.rig, start.to(device))
        after = sitter.avatar.splats(sitter.rig, end.to(device))
        camera = camera.to(device)
        motion = camera.project(after.means)[0] - camera.project(before.means)[0]
        drawn = rasterize(*before._replace(colors=functional.pad(motion, (0, 1))), camera)
        return (drawn.color[..., :2] / drawn.alpha[..., None].clamp(min=1e-3)).cpu()


def _projections(cameras: Camera) -> Float64:
    """K [R | t] [V, 3, 4]."""
    product: Float64 = (cameras.K.double() @ cameras.world_to_camera[:, :3].double()).numpy()
    return product


def _features(sitter: Sitter, parameters: HeadParameters, camera: Camera) -> tuple[Float64, NDArray[np.float32]]:
    """SIFT features on the inner of the avatar: pixels [N, 2] and descriptors [N, 128]."""
    drawn = sitter.draw(parameters, camera)
    grey = cv2.cvtColor(to_bytes(drawn.color), cv2.COLOR_RGB2GRAY)
    inner = cv2.erode((drawn.alpha.numpy() > 0.9).astype(np.uint8), np.ones((2 * _EDGE + 1,) * 2, np.uint8))
    points, descriptors = cv2.SIFT.create().detectAndCompute(grey, inner)
    if not points:
        return np.zeros((0, 2)), np.zeros((0, 128), np.float32)
    # OpenCV's pixel centres lie at integers, the cameras' at half integers.
    return np.array([point.pt for point in points]) + 0.5, np.asarray(descriptors, np.float32)


def _matches(first: tuple[Float64, NDArray[np.float32]], second: tuple[Float64, NDArray[np.float32]]) -> Float64:
    """Pixels [2, M, 2] of the features that two views share."""
    nothing: Float64 = np.zeros((2, 0, 2))
    if min(len(first[0]), len(second[0])) < _FEWEST:
        return nothing
    matcher = cv2.BFMatcher(cv2.NORM_L2)
    there, back = (
        {m.queryIdx: m.trainIdx for m, n in matcher.knnMatch(a[1], b[1], k=2) if m.distance < _RATIO * n.distance}
        for a, b in ((first, second), (second, first))
    )
    pairs = [(i, j) for i, j in there.items() if back.get(j) == i]
    if len(pairs) < _FEWEST:
        return nothing
    pixels: Float64 = np.stack([first[0][[i for i, _ in pairs]], second[0][[j for _, j in pairs]]])
    # A fixed seed: USAC's random samples are OpenCV's own.
    cv2.setRNGSeed(0)
    try:
        _, inliers = cv2.findFundamentalMat(pixels[0], pixels[1], cv2.USAC_MAGSAC, _EPIPOLAR, 0.999, 2000)
    except cv2.error:  # OpenCV's own assertion when no sample of the matches gives a matrix
        return nothing
    return nothing if inliers is None else pixels[:, inliers.ravel() > 0]
