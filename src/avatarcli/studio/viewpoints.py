"""Cameras of the studio: all around the head, as generation plans them, and one that takes the reference picture."""

from __future__ import annotations

import math

import numpy as np
import torch

from avatarcli.geometry.cameras import Camera, intrinsics, look_at
from avatarcli.multiview.framing import DISTANCE, Framing

# Millimetres of lenses on full frame, whose short side is 24 mm: from a phone held at arm's length to a portrait lens.
_SHORTEST, _LONGEST, _SENSOR = 25.0, 135.0, 24.0
# Degrees of elevation that target views spread over; plans use −18 to 40.
_LOWEST, _HIGHEST = -25.0, 48.0
_REFERENCE_YAW, _REFERENCE_PITCH = 40.0, 18.0
# Of groups of views, so many see as plans do: from the usual distance, aimed and framed exactly.
_AS_PLANNED = 0.5


def draw_cameras(rng: np.random.Generator, views: int, size: int, framing: Framing) -> Camera:
    """V cameras of `size` × `size` pictures over the whole circle, framing a person's bust; the V share their lens."""
    # Evenly around with some disorder, from any start; in any order, so that no place in a group means a direction.
    yaw = (rng.permutation(views) + rng.uniform(-0.35, 0.35, views)) / views * 360 + rng.uniform(0, 360)
    pitch = rng.uniform(_LOWEST, _HIGHEST, views) * rng.uniform(0.3, 1.0)
    if rng.random() < _AS_PLANNED:
        return _cameras(framing, yaw, pitch, np.zeros(views), DISTANCE, np.zeros((views, 3)), np.ones(views), size)
    zoom = np.exp(rng.normal(0, 0.06)) * np.exp(rng.normal(0, 0.02, views))
    distance = framing.span * float(zoom.mean()) * _draw_lens(rng) / _SENSOR
    shift = rng.normal(0, 0.006, 3) + rng.normal(0, 0.004, (views, 3))
    return _cameras(framing, yaw, pitch, rng.normal(0, 1.5, views), distance, shift, zoom, size)


def draw_reference_camera(rng: np.random.Generator, size: int, framing: Framing) -> Camera:
    """The single camera of a portrait: within 40° of the front, any lens, framed as people do."""
    yaw = float(np.clip(rng.normal(0, 16), -_REFERENCE_YAW, _REFERENCE_YAW))
    pitch = float(np.clip(rng.normal(2, 7), -_REFERENCE_PITCH, _REFERENCE_PITCH))
    return reference_camera_at(rng, yaw, pitch, size, framing)


def reference_camera_at(rng: np.random.Generator, yaw: float, pitch: float, size: int, framing: Framing) -> Camera:
    """A portrait's camera at some yaw and pitch, degrees; lens and framing are drawn."""
    zoom = np.exp(rng.normal(0, 0.1, 1))
    distance = framing.span * float(zoom[0]) * _draw_lens(rng) / _SENSOR
    shift = rng.normal(0, (0.012, 0.012, 0.0), (1, 3))
    roll = rng.normal(0, 3, 1)
    return _cameras(framing, np.array([yaw]), np.array([pitch]), roll, distance, shift, zoom, size)[0]


def _draw_lens(rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(math.log(_SHORTEST), math.log(_LONGEST))))


def _cameras(
    framing: Framing,
    yaw: np.ndarray,
    pitch: np.ndarray,
    roll: np.ndarray,
    distance: float,
    shift: np.ndarray,
    zoom: np.ndarray,
    size: int,
) -> Camera:
    """Angles in degrees [V]; shift [V, 3] of what they aim at, metres; zoom [V]: factor on the span."""
    y, p, r = (torch.deg2rad(torch.from_numpy(angle).float()) for angle in (yaw, pitch, roll))
    direction = torch.stack([y.sin() * p.cos(), p.sin(), y.cos() * p.cos()], dim=-1)
    target = torch.tensor(framing.target) + torch.from_numpy(shift).float()
    # A rolled camera's up leans towards its right.
    right = torch.stack([y.cos(), torch.zeros_like(y), -y.sin()], dim=-1)
    up = torch.tensor([0.0, 1.0, 0.0]) * r.cos()[:, None] + right * r.sin()[:, None]
    focal = size * distance / (framing.span * torch.from_numpy(zoom).float())
    K = intrinsics(focal, size, size)
    return Camera(look_at(target + direction * distance, target, up), K, size, size)
