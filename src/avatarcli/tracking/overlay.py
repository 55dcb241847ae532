"""A picture that shows a person how well the head model fits the photo: the mesh over it, and the lines of the face."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw

from avatarcli.arrays import Float64, Pixels
from avatarcli.head.face_points import FEATURE_LINES
from avatarcli.head.model import HeadModel, PersonalHead
from avatarcli.head.photo_fit import PhotoFit
from avatarcli.tracking.gaze import eye_geometry

_LINE, _DOT, _IRIS = (40, 255, 120), (255, 60, 60), (80, 200, 255)
_MESH_OPACITY = 0.45
_IRIS_RADIUS = 5.9e-3  # metres: a human iris measures 11.7 mm across, with little difference between people
_SUPERSAMPLING = 2


def draw_overlay(image: Pixels, track: PhotoFit, model: HeadModel) -> Pixels:
    """The fitted mesh (grey), its feature lines (green) and irises (blue) over the photo [H, W, 3], with the landmarks
    that were detected as red dots.

    Raises:
        ValueError: the photo's size is not the track's.
    """
    height, width = image.shape[:2]
    if (width, height) != (track.camera.width, track.camera.height):
        raise ValueError(f"the photo is {width}x{height}, its track {track.camera.width}x{track.camera.height}")
    head = PersonalHead.of(model, track)
    vertices = head.posed(track.parameters())[0]
    canvas = Image.fromarray(image).resize((width * _SUPERSAMPLING, height * _SUPERSAMPLING), Image.Resampling.BICUBIC)
    canvas = Image.blend(canvas, _paint_mesh(canvas, vertices, track, model), _MESH_OPACITY)
    draw = ImageDraw.Draw(canvas)
    # Marks keep their size relative to the face, so that a small photo stays readable.
    stroke = max(1, round(width * _SUPERSAMPLING / 700))
    points = _pixels(model.landmarks(vertices), track)
    for line in FEATURE_LINES.values():
        draw.line([tuple(p) for p in points[list(line)].tolist()], fill=_LINE, width=stroke)
    for ring in _iris_rings(vertices, head, track):
        draw.line([tuple(p) for p in ring.tolist()], fill=_IRIS, width=stroke)
    for x, y in ((track.landmarks.double().numpy()) * _SUPERSAMPLING).tolist():
        draw.ellipse([x - stroke, y - stroke, x + stroke, y + stroke], fill=_DOT)
    return np.asarray(canvas.resize((width, height), Image.Resampling.LANCZOS))


def _pixels(points: torch.Tensor, track: PhotoFit) -> Float64:
    projected, _ = track.camera.project(points)
    return np.asarray(projected.double().numpy() * _SUPERSAMPLING)


def _paint_mesh(canvas: Image.Image, vertices: torch.Tensor, track: PhotoFit, model: HeadModel) -> Image.Image:
    """The triangles that face the camera, painted from far to near over a copy of the canvas."""
    local = track.camera.to_camera(vertices).double().numpy()
    corners = local[model.faces.numpy()]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    centre = corners.mean(1)
    towards = -(normal * centre).sum(1) / np.maximum(
        np.linalg.norm(normal, axis=1) * np.linalg.norm(centre, axis=1), 1e-12
    )
    grey = (70 + 170 * np.clip(towards, 0.0, 1.0)).astype(int)
    shown = np.flatnonzero(towards > 0)
    order = shown[np.argsort(-centre[shown, 2], kind="stable")]
    pixels = _pixels(vertices, track)[model.faces.numpy()]
    painted = canvas.copy()
    draw = ImageDraw.Draw(painted)
    for triangle, shade in zip(pixels[order].reshape(-1, 6).tolist(), grey[order].tolist(), strict=True):
        draw.polygon(triangle, fill=(shade, shade, shade))
    return painted


def _iris_rings(vertices: torch.Tensor, head: PersonalHead, track: PhotoFit) -> list[Float64]:
    """Outlines [P, 2] of the two irises of posed vertices [N, 3], supersampled pixels."""
    rings = []
    centres, irises = eye_geometry(head.model, vertices, head.joints)
    angle = np.linspace(0.0, 2.0 * np.pi, 33)
    for centre, iris in zip(centres, irises, strict=True):
        axis = (iris - centre) / np.linalg.norm(iris - centre)
        across = np.cross(axis, [0.0, 1.0, 0.0])
        across /= np.linalg.norm(across)
        along = np.cross(across, axis)
        ring = iris + _IRIS_RADIUS * (np.cos(angle)[:, None] * across + np.sin(angle)[:, None] * along)
        rings.append(_pixels(torch.from_numpy(ring).float(), track))
    return rings
