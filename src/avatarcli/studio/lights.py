"""Light of the studio: a soft surround, one to three lamps, and a camera that exposes for the face.

A photo hardly tells how much light falls on the back of a head, so what a model paints there is what it has mostly seen. People
stand in rooms and under the sky, where walls and clouds light them from behind as well: most lights here are filled up until the
unseen sides get about as much as the face does, however unevenly the face is lit.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from avatarcli.studio.lighting import COSINE_LOBE, fibonacci_sphere, harmonics
from avatarcli.studio.scene import Light

_DIRECTIONS = 256  # where the surround is sampled to be written as harmonics: far more than nine coefficients need
# What an exposed face should come to, linear: a fair one is placed higher than a dark one, but less so than they differ.
_FAIR_ALBEDO, _FAIR_LEVEL, _COMPENSATION = 0.35, 0.36, 0.45
_FACE = np.array([0.0, 0.1, 0.995])  # the way that a face looks
_LEANS = (-0.7, -0.35, 0.0, 0.35, 0.7)  # how far parts of a face look aside of that
# Of the key lights: weak ones, as under clouds; strong ones that come from one side.
_SOFT_SHARE, _SIDE_SHARE = 0.27, 0.4
_FILLED_SHARE = 0.93  # of the lights; the others are lamps in the dark
# Where the unseen sides look, radians to the left (and to the right) of the front.
_UNSEEN = (1.6, 1.95, 2.3, 2.7)
# Logarithm of what they get against the face: what a head has on both sides, and what differs from side to side.
_FILL, _FILL_SPREAD, _FILL_DIFFERENCE = 0.05, 0.15, 0.1


def draw_light(rng: np.random.Generator, albedo: float = _FAIR_ALBEDO) -> Light:
    """Some light. albedo: mean linear albedo of the face, which the camera exposes for."""
    directions = _surround_directions()
    radiance = _surround(rng, directions)
    basis = _harmonics(directions)
    ambient = 4 * math.pi / _DIRECTIONS * basis.T @ radiance
    lamps = int(rng.choice([1, 2, 3], p=[0.5, 0.3, 0.2]))
    around = math.pi * radiance.mean()
    kind = rng.random()
    soft, aside = kind < _SOFT_SHARE, kind > 1 - _SIDE_SHARE
    position, color, size = [], [], []
    for lamp in range(lamps):
        way = _lamp_direction(rng, key=lamp == 0, aside=aside)
        # Against the surround: from a cloudy day to a spotlight.
        usual = -0.7 if lamp > 0 else -0.9 if soft else 1.1 if aside else 0.3
        strength = around * float(np.exp(rng.normal(usual, 0.6 if lamp == 0 else 0.8)))
        distance = float(np.exp(rng.uniform(math.log(0.7), math.log(3.5))))
        position.append(way * distance)
        color.append(strength * _tint(rng, 0.35))
        size.append(distance * float(np.exp(rng.uniform(math.log(0.03), math.log(0.35)))))
    if rng.random() < _FILLED_SHARE:
        ambient = _filled(rng, ambient, np.array(position), np.array(color))
    arrived = _irradiance(ambient, np.array(position), np.array(color), _face_normals()).mean(0)
    level = _FAIR_LEVEL * (albedo / _FAIR_ALBEDO) ** (1 - _COMPENSATION) * float(np.exp(rng.normal(0, 0.22)))
    exposure = level / max(albedo * float(arrived.mean()) / math.pi, 1e-6)
    # The camera mends most, not all, of the light's tint.
    balance = (arrived.mean() / arrived.clip(min=1e-6)) ** float(rng.uniform(0.5, 1.0))
    return Light(
        ambient=_floats(ambient),
        position=_floats(np.array(position)),
        color=_floats(np.array(color)),
        size=_floats(np.array(size)),
        gain=_floats(exposure * balance * _tint(rng, 0.06)),
    )


def _surround(rng: np.random.Generator, directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Radiance [D, 3] from directions [D, 3]: sky, ground, and broad windows or walls."""
    up = 0.5 + 0.5 * directions[:, 1:2]
    sky, ground = _tint(rng, 0.3), float(rng.uniform(0.15, 0.9)) * _tint(rng, 0.3)
    radiance = sky * up + ground * (1 - up)
    for _ in range(int(rng.integers(0, 4))):
        way = rng.normal(size=3) * (1, 0.6, 1)
        way /= np.linalg.norm(way)
        width = float(rng.uniform(0.5, 1.2))
        lobe = np.exp((directions @ way - 1) / width**2)[:, None]
        radiance = radiance + float(rng.exponential(1.0)) * _tint(rng, 0.35) * lobe
    return radiance


def _filled(
    rng: np.random.Generator,
    ambient: NDArray[np.float64],
    position: NDArray[np.float64],
    color: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Coefficients [9, 3] of the surround with broad light from behind, as much as the unseen sides lack against the face."""
    directions = _surround_directions()
    level = _irradiance(ambient, position, color, _face_normals()).mean() * math.exp(rng.normal(_FILL, _FILL_SPREAD))
    no_lamp = np.zeros((0, 3))
    for side in rng.permutation([-1.0, 1.0]):
        normals = np.array([[side * math.sin(turn), 0.1, math.cos(turn)] for turn in _UNSEEN])
        way = _direction(side * float(rng.uniform(2.0, 2.9)), float(np.clip(rng.normal(0.25, 0.2), -0.2, 0.7)))
        lobe = np.exp((directions @ way - 1) / float(rng.uniform(0.7, 1.1)) ** 2)[:, None] * _tint(rng, 0.2)
        added = 4 * math.pi / _DIRECTIONS * _harmonics(directions).T @ lobe
        wanted = level * math.exp(rng.normal(0, _FILL_DIFFERENCE))
        missing = wanted - _irradiance(ambient, position, color, normals).mean()
        ambient = ambient + added * max(missing, 0.0) / _irradiance(added, no_lamp, no_lamp, normals).mean()
    return ambient


def _lamp_direction(rng: np.random.Generator, *, key: bool, aside: bool) -> NDArray[np.float64]:
    """The key light stands before the face and above it, mostly, or beside it; the others anywhere, behind as well."""
    azimuth = float(rng.normal(0, 0.8)) if key else float(rng.uniform(-math.pi, math.pi))
    if key and aside:
        azimuth = float(rng.choice([-1.0, 1.0]) * rng.normal(1.1, 0.3))
    elevation = float(np.clip(rng.normal(0.45, 0.35), -0.5, 1.4))
    return _direction(azimuth, elevation)


def _direction(azimuth: float, elevation: float) -> NDArray[np.float64]:
    """Unit vector [3] so many radians to the left of the front and above the horizon."""
    flat = math.cos(elevation)
    return np.array([math.sin(azimuth) * flat, math.sin(elevation), math.cos(azimuth) * flat])


def _tint(rng: np.random.Generator, spread: float) -> NDArray[np.float64]:
    """A color [3] of mean 1 along the line of temperatures: warm lamps to blue sky, and a little off it."""
    warmth, green = float(rng.normal(0, spread)), float(rng.normal(0, 0.15 * spread))
    color = np.exp([warmth, 0.1 * warmth + green, -1.1 * warmth])
    return color / color.mean()


def _face_normals() -> NDArray[np.float64]:
    """Ways [5, 3] that parts of a face look."""
    return np.array([_FACE + np.array([lean, 0, 0]) for lean in _LEANS])


def _irradiance(
    ambient: NDArray[np.float64],
    position: NDArray[np.float64],
    color: NDArray[np.float64],
    normals: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Light [N, 3] of a surround and P lamps that arrives on surfaces that look along `normals` [N, 3] (of any length)."""
    normals = normals / np.linalg.norm(normals, axis=1, keepdims=True)
    soft = (_harmonics(normals) * np.array(COSINE_LOBE)) @ ambient
    ways = position / np.linalg.norm(position, axis=1, keepdims=True)
    return soft + (normals @ ways.T).clip(min=0) @ color


def _harmonics(direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """`lighting.harmonics` [D, 9] of unit vectors [D, 3]."""
    return np.asarray(harmonics(torch.from_numpy(direction)))


def _surround_directions() -> NDArray[np.float64]:
    return fibonacci_sphere(_DIRECTIONS).numpy()


def _floats(values: NDArray[np.float64]) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, np.float32))
