"""The camera of a profile photo, where no landmarks are found: the fitted head's outline is laid along the matte's, and its near
ear on the photo's.

From the brows down to the chin the front of a profile is bare skin, so there the matte's edge is the head's. A nod and a turn
hardly change that edge, but they move the ear. No part of the head lies outside the matte. The photo's distance and focal length
are those of the person's frontal photo, as when somebody turns on a chair.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.optimize import minimize
from scipy.spatial import ConvexHull

from avatarcli.arrays import Float64
from avatarcli.geometry.cameras import Camera, intrinsics
from avatarcli.geometry.rotations import axis_angle_to_matrix, rigid
from avatarcli.head.model import HeadModel, PersonalHead
from avatarcli.head.near_ear import NearEar
from avatarcli.head.parameters import HeadParameters

_ROW = 2.0e-3  # metres: height of the rows in which outlines are compared
# Standard deviations: turn off the full profile, nod and tilt of the head (radians), log size beside the frontal photo's.
_YAW, _PITCH, _ROLL, _LOG_SCALE = 0.12, 0.15, 0.08, 0.05
_NOISE = 1.5e-3  # metres: what the head's shape and the matte leave between two right outlines; farther off is hair
_TRUSTED, _FEWEST = 3.0e-3, 30  # metres of median distance, and rows, that make a usable fit
_BROWS, _CHIN = 9, 152  # MediaPipe's points where the bare outline begins and ends
# Where the size is not known: a head's height, metres; shares of the picture's height that it is tried with; how many starts
# of each side are refined.
_HEAD, _SHARES, _REFINED = 0.23, 0.18 * 1.12 ** np.arange(15), 3
# What hair adds to the area of a bald head above the chin: mean and standard deviation in log.
_HAIR, _HAIR_SIGMA = 0.2, 0.2
_CROWN, _CROWN_SIGMA = 0.015, 0.02  # metres that hair stands over the crown
# Metres on the average head: where the detector sees the left ear (mean over avatars drawn from both sides), and how far off it is.
_TRAGION, _EAR_NOISE = (0.0735, -0.0173, -0.009), 5e-3
_OUTSIDE = 3e-3  # metres that the fitted skull may be too large for the matte
_STEPS = np.array([0.1, 0.1, 0.06, 0.03, 8e-3, 8e-3])  # first steps of yaw, pitch, roll, log scale and shift


@dataclass(frozen=True)
class ProfileFit:
    """camera: of the whole picture; error: median distance of the outlines, metres."""

    camera: Camera
    error: float

    @property
    def trusted(self) -> bool:
        return self.error < _TRUSTED


def fit_profile(
    head: PersonalHead,
    parameters: HeadParameters,
    frontal: Camera,
    matte: NDArray[np.float32],
    side: int,
    ear: Float64 | None = None,
) -> ProfileFit:
    """side: +1 for a photo of the person's left side, −1 for the right one. matte [H, W] of the whole picture.

    parameters: a single frame, of the frontal photo; frontal: its camera, for a picture of the same scale; ear [2]: pixels of the
    near ear.
    """
    outline = _Outline(head, parameters, frontal, matte, side, ear)
    start = outline.start()
    if start is None:
        return ProfileFit(outline.camera(np.zeros(6)), math.inf)
    simplex = start + np.concatenate([np.zeros((1, 6)), np.diag(_STEPS)])
    found = minimize(
        outline.cost, start, method="Nelder-Mead", options={"initial_simplex": simplex, "maxiter": 1200, "maxfev": 1200}
    ).x
    distances = outline.distances(found)
    seen = distances[np.isfinite(distances)]
    return ProfileFit(outline.camera(found), float(np.median(np.abs(seen))) if len(seen) >= _FEWEST else math.inf)


def find_profile(
    head: PersonalHead,
    parameters: HeadParameters,
    distance: float,
    matte: NDArray[np.float32],
    near_ear: NearEar | None = None,
) -> ProfileFit:
    """As `fit_profile`, where the size of the head in the picture is not known; without its ear, neither is the side.

    distance: metres from the camera to the head; matte [H, W] of a picture that shows one person.
    """
    height, width = matte.shape
    upright = rigid(torch.diag(torch.tensor([1.0, -1.0, -1.0])), torch.tensor([0.0, 0.0, distance]))
    ear = None if near_ear is None else near_ear.place
    sides = (-1, 1) if near_ear is None else (near_ear.side,)
    starts: dict[int, list[tuple[float, Camera]]] = {side: [] for side in sides}
    for share in _SHARES:
        frontal = Camera(upright, intrinsics(share * height * distance / _HEAD, width, height), width, height)
        for side, found in starts.items():
            outline = _Outline(head, parameters, frontal, matte, side, ear)
            start = outline.start()
            if start is not None:
                found.append((outline.cost(start) + _size_cost(head, outline.camera(start), matte), frontal))
    fits = []
    for side, found in starts.items():
        # Before the head is nodded and tilted, the back of a head looks about as likely as its face: both sides are tried.
        for _, frontal in sorted(found, key=lambda start: start[0])[:_REFINED]:
            fit = fit_profile(head, parameters, frontal, matte, side, ear)
            fits.append(((fit.error / _NOISE) ** 2 + _size_cost(head, fit.camera, matte), fit))
    nothing = ProfileFit(Camera(upright, intrinsics(1.0, width, height), width, height), math.inf)
    return min(fits, key=lambda fit: fit[0])[1] if fits else nothing


def _size_cost(head: PersonalHead, camera: Camera, matte: NDArray[np.float32]) -> float:
    """How unlikely it is that the matte above the chin shows this bald head and its hair, in squared standard deviations.

    Without it a small head fits a brow or a lip of the picture.
    """
    model = head.model
    pixels = camera.project(head.neutral[model.in_regions("face", "scalp", "ear", "nose", "lip")])[0].double().numpy()
    chin = float(camera.project(model.landmarks(head.neutral)[[_CHIN]])[0][0, 1])
    above = float((matte[: max(round(chin), 0)] > 0.5).sum())
    # In two dimensions a hull's volume is its area.
    ratio = math.log(max(above, 1.0) / ConvexHull(pixels).volume)
    rows = np.flatnonzero((matte > 0.5).any(1))
    depth = float(camera.to_camera(torch.zeros(1, 3))[0, 2])
    over = float(pixels[:, 1].min() - rows[0]) * depth / float(camera.K[1, 1]) if len(rows) else 0.0
    return float(((ratio - _HAIR) / _HAIR_SIGMA) ** 2 + ((over - _CROWN) / _CROWN_SIGMA) ** 2)


def _tragion(model: HeadModel, side: int) -> int:
    """The vertex where the detector sees the left (side +1) or the right ear (−1)."""
    skin = model.mean[model.part("skin")]
    place = skin.new_tensor(_TRAGION) * skin.new_tensor([side, 1.0, 1.0])
    return model.part("skin").start + int((skin - place).norm(dim=-1).argmin())


class _Outline:
    """Outlines of head and matte in rows, in metres at the head's distance. Values: yaw off the profile, pitch, roll, log
    scale, shift right and down."""

    def __init__(
        self,
        head: PersonalHead,
        parameters: HeadParameters,
        frontal: Camera,
        matte: NDArray[np.float32],
        side: int,
        ear: Float64 | None,
    ) -> None:
        model = head.model
        vertices = head.posed(parameters)[0]
        landmarks = model.landmarks(vertices)
        self._rows = (
            torch.cat([vertices[model.in_regions("face", "nose", "lip")], landmarks[[_BROWS, _CHIN]]]).double().numpy()
        )
        self._side = side
        self._tragion = vertices[_tragion(model, side)].double().numpy()
        self._depth = float(frontal.to_camera(torch.zeros(1, 3))[0, 2])
        self._focal = float(frontal.K[0, 0])
        self._size = (matte.shape[1], matte.shape[0])
        # Metres of a pixel at the head.
        self._pixel = self._depth / self._focal
        forward = matte if side < 0 else matte[:, ::-1]  # the nose points to the right
        inside = forward > 0.5
        edge = inside.shape[1] - np.argmax(inside[:, ::-1], axis=1) - 0.5
        height = (np.arange(len(inside)) + 0.5 - matte.shape[0] / 2) * self._pixel
        self._height = height
        self._skull = vertices[model.in_regions("scalp")].double().numpy()
        self._beyond = distance_transform_edt(matte <= 0.5) * self._pixel
        self._ear = None if ear is None else (ear - [matte.shape[1] / 2, matte.shape[0] / 2]) * [-side, 1] * self._pixel
        self._edge = np.where(inside.any(1), (edge - matte.shape[1] / 2) * self._pixel, np.nan)

    def camera(self, values: Float64) -> Camera:
        yaw, pitch, roll, log_scale, right, down = (float(v) for v in values)
        turn = axis_angle_to_matrix(torch.tensor([0.0, -self._side * (math.pi / 2 + yaw), 0.0]))
        upright = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
        tilt = axis_angle_to_matrix(torch.tensor([pitch, 0.0, 0.0]))
        lean = axis_angle_to_matrix(torch.tensor([0.0, 0.0, roll]))
        shift = torch.tensor([-self._side * right, down, self._depth * math.exp(-log_scale)])
        width, height = self._size
        K = torch.tensor([[self._focal, 0.0, width / 2], [0.0, self._focal, height / 2], [0.0, 0.0, 1.0]])
        return Camera(rigid(lean @ tilt @ upright @ turn, shift), K, width, height)

    def start(self) -> Float64 | None:
        """Shift the head's outline along the matte's until they look alike."""
        rows, edge = self._head(np.zeros(6))
        best: tuple[float, float, float] | None = None
        for down in np.arange(self._height[0] - rows[0], self._height[-1] - rows[-1], 2 * _ROW):
            gap = self._matte(rows + down) - edge
            gap = gap[np.isfinite(gap)]
            if len(gap) < _FEWEST:
                continue
            right = float(np.median(gap))
            cost = float(np.minimum(np.abs(gap - right), 5 * _NOISE).mean())
            if best is None or cost < best[0]:
                best = cost, right, float(down)
        return None if best is None else np.array([0.0, 0.0, 0.0, 0.0, best[1], best[2]])

    def cost(self, values: Float64) -> float:
        gap = self.distances(values)
        gap = np.where(np.isfinite(gap), gap, 5 * _NOISE)
        believed = (values[:4] / (_YAW, _PITCH, _ROLL, _LOG_SCALE)) ** 2
        off = self._off_the_ear(values)
        # All rows together weigh as much as twenty: neighbours say the same thing.
        return float(20 * np.log1p((gap / _NOISE) ** 2).mean() + believed.sum()) + off + self._outside(values)

    def distances(self, values: Float64) -> Float64:
        """How far the matte's edge lies before the head's, by rows; NaN where there is no matte."""
        rows, edge = self._head(values)
        return self._matte(rows) - edge

    def _off_the_ear(self, values: Float64) -> float:
        """How unlikely the ear's place is, in squared standard deviations."""
        if self._ear is None:
            return 0.0
        return float(np.square((self._seen(values, self._tragion)[0] - self._ear) / _EAR_NOISE).sum())

    def _outside(self, values: Float64) -> float:
        """How unlikely it is that so much of the skull lies outside the matte. Weighed as the outline is."""
        pixels = self._seen(values, self._skull) * [-self._side, 1] / self._pixel + np.array(self._size) / 2
        column, row = np.clip(pixels.astype(np.int64), 0, np.array(self._size) - 1).T
        return float(20 * np.log1p((self._beyond[row, column] / _OUTSIDE) ** 2).mean())

    def _matte(self, rows: Float64) -> Float64:
        return np.asarray(np.interp(rows, self._height, self._edge, left=np.nan, right=np.nan))

    def _head(self, values: Float64) -> tuple[Float64, Float64]:
        """Heights [R] from the brows to the chin, and how far forward the head reaches there [R]."""
        forward, down = self._seen(values, self._rows).T
        top, bottom = down[-2:]
        count = max(1, round((bottom - top) / _ROW))
        row = np.floor((down - top) / max(bottom - top, 1e-6) * count).astype(np.int64)
        reach = np.full(count, -np.inf)
        inside = (row >= 0) & (row < count)
        np.maximum.at(reach, row[inside], forward[inside])
        known = np.isfinite(reach)
        heights = top + (np.arange(count) + 0.5) / count * (bottom - top)
        return heights[known], reach[known]

    def _seen(self, values: Float64, points: Float64) -> Float64:
        """Where points [..., 3] are seen: forward and down [N, 2], metres at the head's distance."""
        w2c = self.camera(values).world_to_camera.double().numpy()
        local = np.atleast_2d(points) @ w2c[:3, :3].T + w2c[:3, 3]
        return np.asarray(local[:, :2] / local[:, 2:] * self._depth * [-self._side, 1])
