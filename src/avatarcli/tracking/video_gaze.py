"""Where the eyes look in many frames at once, in closed form: the video's counterpart of `tracking.gaze`."""

from __future__ import annotations

import numpy as np

from avatarcli.arrays import Float64
from avatarcli.head.expressions import EXPRESSION_INDEX
from avatarcli.tracking.frames import Poses
from avatarcli.tracking.gaze import FULL_PITCH, FULL_YAW, GAZE_LIMIT, IRIS_NOISE, SKEW_SIGMA, VERGENCE_SIGMA


def fit_gazes(poses: Poses, centres: Float64, irises: Float64, seen: Float64) -> Float64:
    """Gaze [B, 2, 2] (left, right) × (yaw, pitch), radians: the turns that put the irises where they were seen.

    centres, irises [2, 3]: eyeballs and the middle of their irises at rest, metres; seen [B, 2, 2]: pixels of the left
    and right iris from the picture's middle. The ray through each iris is cut with its eyeball; then both eyes are
    drawn together, for they mostly move as one.
    """
    arms = irises - centres
    radius = np.linalg.norm(arms, axis=1)
    balls = (centres - poses.pivot) @ poses.rotation.transpose(0, 2, 1) + poses.centre[:, None]
    rays = np.concatenate([seen / poses.focal, np.ones((*seen.shape[:2], 1))], axis=2)
    rays /= np.linalg.norm(rays, axis=2, keepdims=True)
    along = (rays * balls).sum(2)
    # A ray that misses the ball touches its rim at best.
    depth = along - np.sqrt(np.maximum(along**2 - (balls**2).sum(2) + radius**2, 0.0))
    looks = (depth[..., None] * rays - balls) @ poses.rotation
    turned, rest = _angles(looks), _angles(arms)
    free = np.clip(turned - rest, -GAZE_LIMIT, GAZE_LIMIT)
    middle = free.mean(1, keepdims=True)
    # How much of the difference between the eyes is believed: its prior's variance against its noise's.
    noise = 2.0 * (IRIS_NOISE / radius.mean()) ** 2
    prior = np.square([VERGENCE_SIGMA, SKEW_SIGMA])
    return np.asarray(middle + (free - middle) * prior / (prior + noise))


def look_expressions(gaze: Float64) -> Float64:
    """The coefficients [B, 52], zero but for eyeLook*, that move the lids along with gazes [B, 2, 2]."""
    expression = np.zeros((len(gaze), len(EXPRESSION_INDEX)))
    for eye, (side, outward) in enumerate((("Left", 1.0), ("Right", -1.0))):
        yaw, pitch = gaze[:, eye, 0] / FULL_YAW, gaze[:, eye, 1] / FULL_PITCH
        for name, value in (("Out", outward * yaw), ("In", -outward * yaw), ("Up", pitch), ("Down", -pitch)):
            expression[:, EXPRESSION_INDEX[f"eyeLook{name}{side}"]] = value.clip(0.0, 1.0)
    return expression


def _angles(looks: Float64) -> Float64:
    """Yaw and pitch [..., 2] of directions [..., 3]."""
    length = np.linalg.norm(looks, axis=-1)
    return np.stack([np.arctan2(looks[..., 0], looks[..., 2]), np.arcsin(looks[..., 1] / length)], axis=-1)
