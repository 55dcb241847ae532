"""Expressions that faces can make: gestures of brows, eyes and mouth, and what excludes what."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from avatarcli.head.expressions import EXPRESSION_INDEX, EXPRESSION_NAMES

Floats = NDArray[np.float32]

# Movements that belong together, by the part of the face; a person makes at most one or two of each part at a time. A name without
# Left or Right that exists only with it means both sides. The weights at full strength follow how ARKit takes of real faces look.
_BROWS: tuple[dict[str, float], ...] = (
    {"browInnerUp": 0.8, "browOuterUp": 0.8, "eyeWide": 0.3},
    {"browInnerUp": 0.9},
    {"browDown": 0.9, "eyeSquint": 0.3},
    {"browDown": 0.7, "noseSneer": 0.6},
    {"browOuterUpLeft": 0.8, "browInnerUp": 0.2, "browDownRight": 0.3},
    {"browOuterUpRight": 0.8, "browInnerUp": 0.2, "browDownLeft": 0.3},
)
_EYES: tuple[dict[str, float], ...] = (
    {"eyeSquint": 0.8, "cheekSquint": 0.5},
    {"eyeWide": 0.9},
    {"eyeBlink": 0.45},
    {"eyeBlink": 1.0},
    {"eyeBlinkLeft": 1.0, "cheekSquintLeft": 0.6},
    {"eyeBlinkRight": 1.0, "cheekSquintRight": 0.6},
)
_MOUTHS: tuple[dict[str, float], ...] = (
    {"mouthSmile": 0.8, "cheekSquint": 0.4, "mouthDimple": 0.2},
    {"mouthSmile": 0.9, "mouthUpperUp": 0.45, "cheekSquint": 0.5, "eyeSquint": 0.3, "jawOpen": 0.12},
    # Laughs, words and shouts that show both rows of teeth and the dark between them.
    {
        "mouthSmile": 0.85,
        "mouthUpperUp": 0.6,
        "mouthLowerDown": 0.3,
        "jawOpen": 0.4,
        "cheekSquint": 0.6,
        "eyeSquint": 0.4,
    },
    {"mouthSmile": 0.6, "mouthUpperUp": 0.8, "mouthLowerDown": 0.6, "jawOpen": 0.2, "cheekSquint": 0.4},
    {"mouthUpperUp": 0.6, "mouthLowerDown": 0.6, "jawOpen": 0.35},
    {"mouthUpperUp": 0.7, "mouthLowerDown": 0.5, "mouthStretch": 0.3, "jawOpen": 0.85},
    {"mouthSmileLeft": 0.7, "mouthDimpleLeft": 0.4, "cheekSquintLeft": 0.3},
    {"mouthSmileRight": 0.7, "mouthDimpleRight": 0.4, "cheekSquintRight": 0.3},
    {"jawOpen": 0.8, "mouthLowerDown": 0.2},
    {"jawOpen": 0.35},
    {"jawOpen": 0.3, "mouthStretch": 0.5, "mouthLowerDown": 0.4},
    {"jawOpen": 0.25, "mouthFunnel": 0.6},
    {"mouthPucker": 0.9},
    {"mouthFunnel": 0.5, "mouthPucker": 0.4},
    {"mouthFrown": 0.8, "mouthShrugLower": 0.5},
    {"mouthPress": 0.8, "mouthRollLower": 0.3},
    {"mouthRollLower": 0.7, "mouthRollUpper": 0.5},
    {"mouthUpperUp": 0.7, "noseSneer": 0.7},
    {"mouthLowerDown": 0.7, "mouthStretch": 0.3},
    {"mouthShrugUpper": 0.5, "mouthShrugLower": 0.6},
    {"mouthLeft": 0.7, "jawLeft": 0.3},
    {"mouthRight": 0.7, "jawRight": 0.3},
    {"jawForward": 0.7},
    {"jawLeft": 0.7, "jawOpen": 0.1},
    {"jawRight": 0.7, "jawOpen": 0.1},
    {"cheekPuff": 0.8, "mouthPress": 0.3},
    {"jawOpen": 0.3, "mouthClose": 0.28},
    {"jawOpen": 0.45, "tongueOut": 0.8},
)


def _partner(name: str) -> str:
    for side, other in (("Left", "Right"), ("Right", "Left")):
        if name.endswith(side):
            return name.removesuffix(side) + other
    return name


# Column of each expression's partner on the other side of the face (its own, for those of the middle).
MIRROR: tuple[int, ...] = tuple(EXPRESSION_INDEX[_partner(name)] for name in EXPRESSION_NAMES)


def columns(*prefixes: str) -> list[int]:
    """Columns of the expressions whose names begin so."""
    return [index for index, name in enumerate(EXPRESSION_NAMES) if name.startswith(prefixes)]


def draw_face(rng: np.random.Generator) -> Floats:
    """A random face [52] that somebody could make."""
    face = np.zeros(len(EXPRESSION_NAMES), np.float32)
    for gestures, chance in ((_BROWS, 0.5), (_EYES, 0.35), (_MOUTHS, 0.85), (_MOUTHS, 0.35)):
        if rng.random() < chance:
            _add(face, gestures[rng.integers(len(gestures))], float(rng.beta(2, 1.6)), rng)
    # Nothing in a face is ever quite still, nor quite even.
    face += (0.06 * rng.random(len(face)) * (rng.random(len(face)) < 0.3)).astype(np.float32)
    face[columns("eyeLook", "tongue", "mouthClose")] *= rng.random() < 0.15
    return plausible(face)


def plausible(faces: Floats) -> Floats:
    """Faces [..., 52] without what excludes each other, in [0, 1]."""
    faces = faces.clip(0, 1).copy()

    def part(name: str) -> Floats:
        return faces[..., EXPRESSION_INDEX[name]]

    def scale(prefixes: tuple[str, ...], factor: NDArray[np.floating]) -> None:
        for column in columns(*prefixes):
            faces[..., column] *= factor

    round_lips = np.maximum(part("mouthPucker"), part("mouthFunnel"))
    scale(("mouthSmile", "mouthStretch", "mouthDimple", "mouthFrown", "mouthUpperUp"), 1 - 0.8 * round_lips)
    smile = np.maximum(part("mouthSmileLeft"), part("mouthSmileRight"))
    scale(("mouthFrown",), 1 - smile)
    opened = part("jawOpen").copy()
    scale(("cheekPuff", "mouthPress", "mouthRoll", "mouthShrugUpper"), (1 - 2.5 * opened).clip(0, 1))
    scale(("tongueOut",), (opened / 0.3).clip(0, 1))
    scale(("eyeWide",), 1 - np.maximum(part("eyeBlinkLeft"), part("eyeBlinkRight")))
    down = np.maximum(part("browDownLeft"), part("browDownRight"))
    scale(("browOuterUp",), 1 - 0.7 * down)
    left, right = part("jawLeft").copy(), part("jawRight").copy()
    faces[..., EXPRESSION_INDEX["jawLeft"]] = (left - right).clip(0, 1)
    faces[..., EXPRESSION_INDEX["jawRight"]] = (right - left).clip(0, 1)
    # Closing the lips over an open jaw can at most undo it.
    faces[..., EXPRESSION_INDEX["mouthClose"]] = np.minimum(part("mouthClose"), opened)
    return faces


def _add(face: Floats, gesture: dict[str, float], strength: float, rng: np.random.Generator) -> None:
    uneven = np.exp(rng.normal(0, 0.18, 2))
    for name, weight in gesture.items():
        both = (f"{name}Left", f"{name}Right") if name not in EXPRESSION_INDEX else (name,)
        for full in both:
            side = uneven[1] if full.endswith("Right") else uneven[0]
            face[EXPRESSION_INDEX[full]] += weight * strength * float(side)
