"""How far the lids are open, measured on their landmarks against the person's own eyes at rest.

The detector's scores halve the blinks of people whose lids it scores low, and hardly notice eyes that open wide. Its
landmarks show both. The constants come from pictures of three synthetic people whose coefficients are known
(`scripts/evaluate_actions.py`); the numbers in docs/tracking.md come from others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from avatarcli.arrays import Float64
from avatarcli.head.expressions import EXPRESSION_INDEX
from avatarcli.tracking.frames import Poses
from avatarcli.tracking.solver import Shape

WIDES = [EXPRESSION_INDEX["eyeWideLeft"], EXPRESSION_INDEX["eyeWideRight"]]

# MediaPipe's landmarks of (left, right eye): three of the upper lid, those of the lower lid below them, two corners.
_UPPER = np.array([[385, 386, 387], [160, 159, 158]])
_LOWER = np.array([[380, 374, 373], [144, 145, 153]])
_CORNERS = np.array([[362, 263], [133, 33]])

# Shares of the resting gap at which an eye counts as beginning to close, and as closed. Narrowed eyes and eyes that look
# down keep more than the first.
_CLOSING, _CLOSED = 0.85, 0.12
# Closures at which the gap begins to overrule a lower score, and at which it does so alone: half closed lids look more
# closed on the landmarks than they are, shut ones are shut whatever the scores say.
_SHUTTING, _SHUT = 0.6, 0.9
# Shares of the eye's width by which the gap exceeds the resting one where an eye begins to be wide, and at eyeWide 1.
_WIDENING, _WIDE = 0.012, 0.068
# What else opens the landmarks' gap, in the same shares: a head bent down, by radian, and an open jaw, by coefficient.
_BY_BENDING, _BY_JAW = 0.24, 0.045
# The detector's two eyes pull at each other: of one that winks it shows about half. So much of the difference between the
# two is missing while the other eye does nothing.
_PULL = 0.7
# Radians to the side at which the landmarks of the lids begin to be guessed, and at which nothing of them is believed.
_SEEN_YAW, _HIDDEN_YAW = np.deg2rad(28.0), np.deg2rad(42.0)


def lid_gaps(seen: Float64, shape: Shape, poses: Poses) -> tuple[Float64, Float64]:
    """Gaps between the lids [B, 2] of landmarks `seen` [B, M, 3], and what the resting face would show in those poses.

    Both in widths of the eye.
    """
    return _gaps(seen), _gaps(poses.project(shape.base))


def lid_actions(
    gaps: Float64, at_rest: Float64, scored: Float64, usual: NDArray[np.bool_], turn: Float64, jaw: Float64
) -> tuple[Float64, Float64]:
    """eyeBlink [S, 2] and eyeWide [S, 2] of S frames from the gaps of `lid_gaps`.

    scored [S, 2]: closure as the detector's scores have it; usual [S]: frames with open
    eyes, the middle one of which tells how far this person's are open; turn [S, 3, 3]: of the head against its rest;
    jaw [S]: jawOpen.
    """
    usual = usual if usual.any() else np.ones(len(gaps), bool)
    at_rest = at_rest * np.median(gaps[usual] / at_rest[usual], axis=0)
    bent = Rotation.from_matrix(turn).as_euler("YXZ")[:, 1]
    trust = seen_from_front(turn)[:, None]
    closure = (_CLOSING - gaps / at_rest) / (_CLOSING - _CLOSED)
    beyond = gaps - at_rest - (_BY_BENDING * bent.clip(0.0) + _BY_JAW * jaw)[:, None]
    wide = (beyond - _WIDENING) / (_WIDE - _WIDENING)
    shut = trust * ((closure - _SHUTTING) / (_SHUT - _SHUTTING)).clip(0.0, 1.0)
    blink = scored + shut * (closure.clip(0.0, 1.0) - scored).clip(0.0)
    return _apart(blink, trust), _apart(trust * wide, trust)


def seen_from_front(turn: Float64) -> Float64:
    """How much a turned head's landmarks are believed [S], from 0 to 1; turn [S, 3, 3]: against its rest."""
    yaw = Rotation.from_matrix(turn).as_euler("YXZ")[:, 0]
    return np.asarray(((_HIDDEN_YAW - np.abs(yaw)) / (_HIDDEN_YAW - _SEEN_YAW)).clip(0.0, 1.0))


def _apart(shown: Float64, trust: Float64) -> Float64:
    """Coefficients [S, 2] of two eyes that the detector `shown` [S, 2] more alike than they are."""
    shown = shown.clip(0.0, 1.0)
    pull = _PULL * trust * (1.0 - shown.min(1, keepdims=True))
    return np.asarray((shown + pull * (shown - shown[:, ::-1])).clip(0.0, 1.0))


def _gaps(points: Float64) -> Float64:
    plane = points[..., :2]
    between = np.linalg.norm(plane[:, _UPPER] - plane[:, _LOWER], axis=-1).mean(-1)
    width = np.linalg.norm(plane[:, _CORNERS[:, 0]] - plane[:, _CORNERS[:, 1]], axis=-1)
    return np.asarray(between / np.maximum(width, 1e-9))
