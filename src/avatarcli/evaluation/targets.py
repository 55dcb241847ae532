"""Another photo of the person, and the camera from which the avatar looks like it.

Where a face is found, the tracker fits pose and expression to the avatar's own head. In profile there is none: the
avatar's silhouette is laid over the matte instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor
from torch.nn import functional

from avatarcli.arrays import Float64
from avatarcli.capture.face_crop import FaceCrop
from avatarcli.capture.landmarks import FaceLandmarks, upright
from avatarcli.capture.photo import read_photo
from avatarcli.capture.portrait import Portrait
from avatarcli.datasets.benchmarks import Target
from avatarcli.evaluation.metrics import overlap
from avatarcli.evaluation.sitter import SIZE, Sitter
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.rotations import axis_angle_to_matrix, rigid
from avatarcli.head.parameters import HeadParameters
from avatarcli.pictures import to_bytes
from avatarcli.tracking.fit import fit_pose_expression

_BELOW_CHIN = 0.02  # metres; further down are clothes and shoulders, which move between two photos
_SEARCH = 128  # pixels: silhouettes are laid over each other at this size
_SCALES = (0.5, 0.6, 0.7, 0.85, 1.0, 1.2, 1.4)  # of the avatar's own framing, to start from
# People sit upright: without this, hair that the avatar lacks tilts the head. 0.2 rad cost 0.04 of the overlap.
_ROLL_PENALTY = 1.0
# First steps of the search in roll (radians), log scale and shift (pixels).
_SIMPLEX = np.array([[0, 0, 0, 0], [0.1, 0, 0, 0], [0, 0.1, 0, 0], [0, 0, 5, 0], [0, 0, 0, 5]], dtype=np.float64)


@dataclass(frozen=True)
class Aligned:
    """A target at SIZE × SIZE pixels with the camera and parameters that make the avatar look like it.

    region [S, S]: 1 where the head is, 0 from a little below the chin. face: landmarks in pixels of the picture, None
    in profile. picture: the photo's pixels, 8 bits.
    """

    portrait: Portrait
    picture: NDArray[np.uint8]
    camera: Camera
    parameters: HeadParameters
    region: Tensor
    face: FaceLandmarks | None


def align(sitter: Sitter, target: Target) -> Aligned:
    """Find the avatar's camera for a target. Raises PhotoError when the photo cannot be used."""
    return (
        _by_landmarks(sitter, target.photo) if target.yaw is None else _by_silhouette(sitter, target.photo, target.yaw)
    )


def _by_landmarks(sitter: Sitter, photo: Path) -> Aligned:
    picture, _ = upright(read_photo(photo))
    found = FaceCrop.of(picture, SIZE)
    crop, face, side = found.crop, found.face, len(found.crop.image)
    track = fit_pose_expression(
        sitter.avatar.head.model.to("cpu"),
        sitter.photo.track.identity,
        sitter.photo.track.residual,
        face.points,
        face.scores,
        side,
        side,
    )
    camera = track.camera.resized(SIZE, SIZE)
    face = replace(face, points=face.points * np.float32(SIZE / side))
    portrait, pixels = _portrait(crop.image, crop.inside)
    return Aligned(portrait, pixels, camera, track.parameters(), _head_region(sitter, camera), face)


def _by_silhouette(sitter: Sitter, photo: Path, yaw: float) -> Aligned:
    picture = read_photo(photo)
    side = max(picture.shape[:2])
    square = np.zeros((side, side, 3), np.uint8)
    inside = np.zeros((side, side), np.float32)
    square[: picture.shape[0], : picture.shape[1]] = picture
    inside[: picture.shape[0], : picture.shape[1]] = 1
    portrait, pixels = _portrait(square, inside)
    camera = _lay_over(sitter, portrait, yaw)
    return Aligned(portrait, pixels, camera, HeadParameters.at_rest(), _head_region(sitter, camera), None)


def _portrait(image: NDArray[np.uint8], inside: NDArray[np.float32]) -> tuple[Portrait, NDArray[np.uint8]]:
    portrait = Portrait.cut_out(image, inside).resized(SIZE)
    return portrait, to_bytes(portrait.photo)


def _head_region(sitter: Sitter, camera: Camera) -> Tensor:
    """1 above a little below the chin, 0 underneath, in a picture of `camera` [H, W]."""
    head = sitter.avatar.head
    chin = float(head.model.landmarks(head.neutral).cpu()[:, 1].amin())
    below = torch.tensor([[0.0, chin - _BELOW_CHIN, 0.0]])
    row = float(camera.project(below)[0][0, 1])
    rows = (row - torch.arange(camera.height)).clamp(0, 1)
    return rows[:, None].expand(camera.height, camera.width)


def _lay_over(sitter: Sitter, portrait: Portrait, yaw: float) -> Camera:
    """The camera at `yaw` whose silhouette of the avatar's head covers the matte best. Roll, scale and shift are
    sought."""
    camera = sitter.orbit([yaw], _SEARCH)[0]
    small = portrait.resized(_SEARCH)
    alpha, region = sitter.draw(HeadParameters.at_rest(), camera).alpha, _head_region(sitter, camera)

    def misfit(change: Float64) -> float:
        silhouette, head = _moved(alpha, change, "zeros"), _moved(region, change, "border")
        return 1 - overlap(silhouette, small.matte, small.inside * head) + _ROLL_PENALTY * float(change[0]) ** 2

    starts = sorted((_start(alpha * region, small.matte, scale) for scale in _SCALES), key=misfit)
    found = [
        minimize(misfit, start, method="Nelder-Mead", options={"initial_simplex": start + _SIMPLEX, "maxiter": 300}).x
        for start in starts[:2]
    ]
    return _moved_camera(camera, min(found, key=misfit)).resized(SIZE, SIZE)


def _start(head: Tensor, matte: Tensor, scale: float) -> Float64:
    """roll, log scale and shift (pixels) that put the crown of `head` [S, S] where `matte` [S, S] has its own."""
    middle = len(head) / 2
    crown, goal = _crown(head), _crown(matte)
    shift = goal - (scale * (crown - middle) + middle)
    return np.array([0.0, math.log(scale), *shift])


def _crown(mask: Tensor) -> Float64:
    """Pixel (x, y) of a silhouette's top: the middle of its upper rows."""
    rows = torch.nonzero((mask > 0.5).any(1))
    top = int(rows[0]) if len(rows) else 0
    weights = (mask[top : top + len(mask) // 8] > 0.5).float().sum(0)
    x = float((weights * (torch.arange(len(weights)) + 0.5)).sum() / weights.sum().clamp(min=1e-6))
    return np.array([x, float(top)])


def _moved(mask: Tensor, change: Float64, outside: str) -> Tensor:
    """A mask [S, S] turned, scaled and shifted about its middle."""
    roll, scale, dx, dy = change[0], math.exp(change[1]), change[2], change[3]
    # The sampling grid runs the other way: from the moved picture to the original, in units of half the picture.
    turn = np.array([[math.cos(roll), math.sin(roll)], [-math.sin(roll), math.cos(roll)]]) / scale
    shift = -turn @ np.array([dx, dy]) * 2 / len(mask)
    theta = torch.tensor(np.concatenate([turn, shift[:, None]], axis=1), dtype=torch.float32)
    grid = functional.affine_grid(theta[None], [1, 1, *mask.shape], align_corners=False)
    return functional.grid_sample(mask[None, None], grid, padding_mode=outside, align_corners=False)[0, 0]


def _moved_camera(camera: Camera, change: Float64) -> Camera:
    """The camera whose picture is the old one turned, scaled and shifted about its middle."""
    roll, scale = float(change[0]), math.exp(change[1])
    turn = rigid(axis_angle_to_matrix(torch.tensor([0.0, 0.0, roll])), torch.zeros(3))
    K = camera.K.clone()
    K[:2, :2] *= scale
    K[:2, 2] += torch.tensor(change[2:], dtype=K.dtype)
    return Camera(turn @ camera.world_to_camera, K, camera.width, camera.height)
