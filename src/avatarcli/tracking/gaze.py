"""Where the eyes look: the turn of each eyeball that puts its iris where the detector saw it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from avatarcli.arrays import Float64
from avatarcli.head.expressions import EXPRESSION_INDEX
from avatarcli.head.model import HeadModel
from avatarcli.tracking.solver import State

IRIS_LANDMARKS = (473, 468)  # left eye, right eye (the subject's)
IRIS_NOISE = 0.6e-3  # metres: the detector's scatter and the eyeball's own uncertain place
GAZE_SIGMA = np.deg2rad(25.0)
# The eyes turn together: how far they may differ in yaw (vergence) and pitch.
VERGENCE_SIGMA, SKEW_SIGMA = np.deg2rad(4.0), np.deg2rad(1.5)
GAZE_LIMIT = np.deg2rad([40.0, 28.0])  # yaw, pitch

# Radians of gaze that an eyeLook* coefficient of 1 stands for, as in `gaze_from_expression`.
FULL_YAW, FULL_PITCH = np.deg2rad(30.0), np.deg2rad(21.0)


def fit_gaze(model: HeadModel, neutral: Tensor, joints: Tensor, state: State, pixels: Float64) -> Tensor:
    """Gaze [2, 2] (left, right) × (yaw, pitch), radians, of a head `neutral` [N, 3] with `joints` [J, 3] seen by the
    camera of `state`, given landmarks [478, 2] in pixels from the picture's middle."""
    centres, irises = eye_geometry(model, neutral, joints)
    seen = pixels[list(IRIS_LANDMARKS)]
    weight = 1.0 / (IRIS_NOISE * state.scale)
    gaze = np.zeros((2, 2))

    def residuals(g: Float64) -> Float64:
        points = centres + _turned(irises - centres, g)
        return np.concatenate(
            [
                (weight * (state.project(points) - seen)).reshape(-1),
                g.reshape(-1) / GAZE_SIGMA,
                (g[0] - g[1]) / [VERGENCE_SIGMA, SKEW_SIGMA],
            ]
        )

    for _ in range(8):
        start = residuals(gaze)
        jacobian = np.empty((len(start), 4))
        for column in range(4):
            nudge = np.zeros(4)
            nudge[column] = 1e-5
            jacobian[:, column] = (residuals(gaze + nudge.reshape(2, 2)) - start) / 1e-5
        step = np.linalg.lstsq(jacobian, -start, rcond=None)[0].reshape(2, 2)
        gaze = np.clip(gaze + np.clip(step, -0.3, 0.3), -GAZE_LIMIT, GAZE_LIMIT)
    return torch.from_numpy(gaze).float()


def eye_geometry(model: HeadModel, neutral: Tensor, joints: Tensor) -> tuple[Float64, Float64]:
    """Centres [2, 3] of the left and right eyeball and the middle of their irises at rest [2, 3], metres."""
    centres, irises = [], []
    for side in ("l", "r"):
        ball = neutral[model.part(f"eye_{side}")].double().numpy()
        rest = model.mean[model.part(f"eye_{side}")].double().numpy()
        joint = model.joint_names.index(f"eye_{side}")
        # The iris lies deeper than the rest of the ball: its middle is the part of the surface nearest to the centre.
        depth = np.linalg.norm(rest - model.joint_mean[joint].double().numpy(), axis=1)
        irises.append(ball[np.argsort(depth)[:8]].mean(0))
        centres.append(joints[joint].double().numpy())
    return np.stack(centres), np.stack(irises)


def look_expression(gaze: Tensor) -> dict[int, float]:
    """The eyeLook* coefficients that move the lids along with a gaze [2, 2], by their index."""
    found: dict[int, float] = {}
    for side, outward, (yaw, pitch) in (("Left", 1.0, gaze[0].tolist()), ("Right", -1.0, gaze[1].tolist())):
        for name, value in (
            ("Out", outward * yaw / FULL_YAW),
            ("In", -outward * yaw / FULL_YAW),
            ("Up", pitch / FULL_PITCH),
            ("Down", -pitch / FULL_PITCH),
        ):
            found[EXPRESSION_INDEX[f"eyeLook{name}{side}"]] = min(max(float(value), 0.0), 1.0)
    return found


def _turned(arms: Float64, gaze: Float64) -> Float64:
    """Arms [2, 3] turned by gaze [2, 2] as `PersonalHead.vertices` turns eyeballs: axis-angle (−pitch, yaw, 0)."""
    rotvec = np.stack([-gaze[:, 1], gaze[:, 0], np.zeros(2)], axis=1)
    angle = np.linalg.norm(rotvec, axis=1, keepdims=True)
    axis = rotvec / np.maximum(angle, 1e-12)
    cosine, sine = np.cos(angle), np.sin(angle)
    along = (axis * arms).sum(1, keepdims=True)
    return np.asarray(arms * cosine + np.cross(axis, arms) * sine + axis * along * (1.0 - cosine))
