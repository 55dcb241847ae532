"""What the tracker believes before it looks at the landmarks: expressions from the detector's scores, noise by
landmark."""

from __future__ import annotations

import numpy as np
from torch.nn import functional

from avatarcli.arrays import Float64
from avatarcli.geometry.mesh import vertex_normals
from avatarcli.head.expressions import EXPRESSION_INDEX, EXPRESSION_NAMES
from avatarcli.head.model import HeadModel
from avatarcli.tracking.solver import State

# How much of a score the head model's shape of the same name needs on average, and how far off that guess is.
SCORE_GAIN, SCORE_SIGMA = 0.6, 0.2
# Scores that say little: MediaPipe reports them on faces at rest.
UNRELIABLE = {"mouthPucker": 0.2, "browInnerUp": 0.3, "mouthShrugLower": 0.3, "mouthRollLower": 0.4, "mouthPress": 0.3}
# Shapes without a trace in the landmarks, or that the gaze or colors decide.
HELD = ("eyeLook", "tongueOut", "cheekPuff")

DETECTOR_NOISE = 0.5e-3  # metres: scatter of a landmark of one face
# Share of `HeadModel.landmark_spread` (how differently the detector places a point on different people) believed to be
# noise.
SPREAD_SHARE = 0.35
# Cosines to the camera above which a landmark is as good as any, and below which it is hidden and so much worse.
FACING_SEEN, FACING_HIDDEN, HIDDEN_FACTOR = 0.45, 0.0, 4.0


def expression_prior(scores: Float64) -> tuple[Float64, Float64]:
    """Mean and standard deviation [52] of the expression coefficients, given the detector's scores [52].

    A standard deviation of 0 holds a coefficient at its mean.
    """
    gain = np.full(len(EXPRESSION_NAMES), SCORE_GAIN)
    sigma = np.full(len(EXPRESSION_NAMES), SCORE_SIGMA)
    for name, index in EXPRESSION_INDEX.items():
        for prefix, trusted in UNRELIABLE.items():
            if name.startswith(prefix):
                gain[index] = trusted * SCORE_GAIN
        if name.startswith(HELD):
            gain[index] = sigma[index] = 0.0
    return np.clip(gain * scores, 0.0, 1.0), sigma


def landmark_normals(model: HeadModel) -> Float64:
    """Unit normals [478, 3] of the average head at the landmarks."""
    normals = vertex_normals(model.mean, model.faces)
    return np.asarray(functional.normalize(model.landmarks(normals), dim=-1).double().numpy())


def facing(normals: Float64, state: State) -> Float64:
    """Cosines [M] between normals [M, 3] and the way to the camera; negative on the side that the camera cannot see."""
    away = state.rotation[2] + (state.offset / state.scale / state.distance) @ state.rotation[:2]
    return np.asarray(-(normals @ away) / np.linalg.norm(away))


def landmark_sigma(spread: Float64, facing: Float64) -> Float64:
    """Standard deviation [M] in metres on the face of landmarks with `spread` [M] metres that face the camera by
    `facing` [M].

    Past the outline of a turned face the detector guesses: it draws hidden points along the visible edge.
    """
    sigma = np.sqrt(DETECTOR_NOISE**2 + np.square(SPREAD_SHARE * spread))
    hidden = np.clip((FACING_SEEN - facing) / (FACING_SEEN - FACING_HIDDEN), 0.0, 1.0)
    return np.asarray(sigma * (1.0 + (HIDDEN_FACTOR - 1.0) * hidden))
