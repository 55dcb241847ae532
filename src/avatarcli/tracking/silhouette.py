"""The silhouette term of the tracker: what the matte says about the outline of the head.

Hair hides the skull and hangs beside the cheeks, so the matte tells two things only: no part of the head lies outside
it, and where the bare far cheek of a turned face is its edge, the mesh's outline lies on that edge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, map_coordinates

from avatarcli.arrays import Float64
from avatarcli.geometry.mesh import vertex_normals
from avatarcli.head.model import HeadModel
from avatarcli.tracking.solver import State

SIGMA = 1.0e-3  # metres: how well the matte's edge is known
# All outline points together weigh as much as this many landmarks: neighbours say the same thing.
EFFECTIVE_POINTS = 40.0
SLACK = 1.0e-3  # metres that a point may lie outside the matte before it is pulled in
REACH = 6.0e-3  # metres: a matte edge farther from the far cheek's outline than this is hair, not the cheek
TURNED = np.sin(np.deg2rad(15.0))  # below this yaw the cheeks' outline is not the far edge of the face
_GRAZING = 0.2  # |cosine| between normal and view ray of vertices that form the outline


@dataclass(frozen=True)
class OutlinePoints:
    """S vertices that the matte moves: their indices [S], where they should lie [S, 2] (pixels from the middle) and how
    firmly [S, 2, 2] (inverse covariance, pixels⁻²)."""

    vertices: NDArray[np.int64]
    pixels: Float64
    precision: Float64


class Silhouette:
    """The matte of one photo, ready to be compared with the head."""

    def __init__(self, model: HeadModel, matte: NDArray[np.float32]) -> None:
        inside = matte > 0.5
        # Positive inside the person. The padding goes on with the edge, so that a cropped photo has no edge at its
        # frame.
        padded = np.pad(inside, 1, mode="edge")
        signed = distance_transform_edt(padded) - distance_transform_edt(~padded)
        self._distance = signed[1:-1, 1:-1]
        self._gradient = np.stack(np.gradient(self._distance)[::-1])
        self._middle = np.array([matte.shape[1], matte.shape[0]]) / 2
        self._empty = not inside.any() or bool(inside.all())
        self._head = model.in_regions("face", "scalp", "ear", "nose", "lip").nonzero()[:, 0].numpy()
        self._normals = vertex_normals(model.mean, model.faces).double().numpy()[self._head]
        face = model.in_regions("face", "nose", "lip").numpy()[self._head]
        heights = model.mean[:, 1].double().numpy()[self._head]
        # The forehead's edge is often hair; from the brows down to the jaw it is the face.
        self._cheek = face & (heights < 0.02)

    def points(self, state: State, vertices: Float64) -> OutlinePoints:
        """The outline points of the posed head `vertices` [N, 3] before the camera of `state`."""
        pixels = state.project(vertices[self._head])
        rows = (pixels + self._middle - 0.5)[:, ::-1].T
        height, width = self._distance.shape
        visible = (rows[0] >= 0) & (rows[0] <= height - 1) & (rows[1] >= 0) & (rows[1] <= width - 1) & (not self._empty)
        distance = map_coordinates(self._distance, rows, order=1, mode="nearest")
        gradient = np.stack([map_coordinates(g, rows, order=1, mode="nearest") for g in self._gradient], axis=1)
        gradient /= np.maximum(np.linalg.norm(gradient, axis=1, keepdims=True), 1e-6)

        local = self._normals @ state.rotation.T
        rays = (vertices[self._head] - state.pivot) @ state.rotation.T + [0.0, 0.0, state.distance]
        facing = -(local * rays).sum(1) / np.linalg.norm(rays, axis=1)
        turned = float(state.rotation[0, 2])  # where the nose points: −1 to the picture's left, 1 to its right
        outline = (np.abs(facing) < _GRAZING) & self._cheek & (local[:, 0] * np.sign(turned) > 0.5)
        on_edge = outline & (np.abs(distance) < REACH * state.scale) & (abs(turned) > TURNED)
        chosen = visible & (on_edge | (distance < -SLACK * state.scale))
        index = np.flatnonzero(chosen)
        firmness = min(1.0, EFFECTIVE_POINTS / max(len(index), 1)) / (SIGMA * state.scale) ** 2
        precision = firmness * gradient[index, :, None] * gradient[index, None, :]
        target = pixels[index] - distance[index, None] * gradient[index]
        return OutlinePoints(self._head[index], target, precision)
