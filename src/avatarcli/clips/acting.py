"""What a face does beside its main action: eased movements, eyes that hold their aim, blinks, the drift of a live head.

Times are seconds, `t` [T] the moments of a clip's frames, `expression` [T, 52]; functions named `add_…` change it in place.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from avatarcli.head.expressions import EXPRESSION_INDEX

Curve = NDArray[np.float64]

# The eye's turn at eyeLook* = 1, radians: the inverse of `gaze_from_expression`, so that lids and eyes agree.
EYE_YAW_LIMIT, EYE_PITCH_LIMIT = math.radians(30), math.radians(21)


def add_action(expression: Curve, name: str, curve: Curve) -> None:
    """Add to one action, or to both sides if `name` lacks its side."""
    for full in (name,) if name in EXPRESSION_INDEX else (name + "Left", name + "Right"):
        expression[:, EXPRESSION_INDEX[full]] += curve


def ramp(t: Curve, start: float, duration: float) -> Curve:
    """0 before, 1 after, minimum-jerk between: the profile of human movements (Flash and Hogan 1985)."""
    x: Curve = ((t - start) / duration).clip(0, 1)
    return np.asarray(x**3 * (10 - 15 * x + 6 * x**2))


def bump(t: Curve, start: float, rise: float, hold: float, fall: float) -> Curve:
    """0, up to 1 within `rise` from `start` on, held, and back within `fall`."""
    return ramp(t, start, rise) - ramp(t, start + rise + hold, fall)


def fixations(t: Curve, rng: np.random.Generator) -> Curve:
    """Where the eyes aim [T, 2] (yaw, pitch): leaps every 0.4 to 1.4 s over the listener's face, some 60 cm away."""
    aim, time = np.zeros((len(t), 2)), 0.5
    current = np.zeros(2)
    while time < t[-1]:
        following = rng.uniform([-5, -3], [5, 2]) * math.pi / 180
        aim += (following - current) * ramp(t, time, 0.04)[:, None]
        current, time = following, time + rng.uniform(0.4, 1.4)
    return aim


def add_eyes(expression: Curve, t: Curve, head: Curve, aim: Curve, blinks: Iterable[float]) -> Curve:
    """Eyes that hold their aim [T, 2] while the head [T, 3] (yaw, pitch, roll) moves, lids that follow, and blinks.

    Returns the turn of the eyes against the head [T, 2] (yaw, pitch), radians.
    """
    limits = np.array([EYE_YAW_LIMIT, EYE_PITCH_LIMIT])
    eyes: Curve = (aim - head[:, :2]).clip(-limits, limits)
    yaw, pitch = (eyes / limits).T
    for name, curve in {
        "eyeLookOutLeft": yaw, "eyeLookInRight": yaw, "eyeLookInLeft": -yaw, "eyeLookOutRight": -yaw,
        "eyeLookUp": pitch, "eyeLookDown": -pitch,
    }.items():  # fmt: skip
        add_action(expression, name, curve.clip(min=0))
    for start in blinks:
        lids = bump(t, start, 0.08, 0.04, 0.16)  # closing is twice as fast as opening
        add_action(expression, "eyeBlink", lids)
        add_action(expression, "eyeSquint", 0.12 * lids)
    return eyes


def drift(frames: int, fps: float, columns: int, rng: np.random.Generator) -> Curve:
    """Slow noise [frames, columns] of unit deviation: what a head that is held still by a living neck does."""
    from scipy.ndimage import gaussian_filter1d

    margin = round(2 * fps)
    noise = rng.standard_normal((frames + 2 * margin, columns))
    noise = gaussian_filter1d(noise, sigma=0.3 * fps, axis=0)[margin:-margin]
    return np.asarray(noise / noise.std(axis=0))


def add_side_noise(expression: Curve, fps: float, rng: np.random.Generator) -> None:
    """Left and right differ by a few percent, slowly: exact symmetry looks made."""
    from scipy.ndimage import gaussian_filter1d

    wander = gaussian_filter1d(rng.standard_normal(len(expression)), sigma=0.6 * fps)
    wander *= 0.06 / wander.std()
    for name, index in EXPRESSION_INDEX.items():
        if name.endswith("Left"):
            expression[:, index] *= 1 + wander
        elif name.endswith("Right"):
            expression[:, index] *= 1 - wander


def head_turns(head: Curve) -> Curve:
    """Axis-angle [T, 3] of a head's yaw (to the subject's left), pitch (up) and roll [T, 3]."""
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_euler("YXZ", head * [1, -1, 1]).as_rotvec())
