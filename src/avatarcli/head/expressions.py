"""The 52 ARKit expressions: their names, in the order that every array of the project uses."""

from __future__ import annotations

import re
from collections.abc import Mapping

EXPRESSION_NAMES: tuple[str, ...] = (
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight",
    "cheekPuff", "cheekSquintLeft", "cheekSquintRight",
    "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight",
    "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight",
    "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel", "mouthLeft",
    "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker", "mouthRight",
    "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft", "mouthSmileRight",
    "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip

EXPRESSION_INDEX: dict[str, int] = {name: index for index, name in enumerate(EXPRESSION_NAMES)}
BLINKS = [EXPRESSION_INDEX["eyeBlinkLeft"], EXPRESSION_INDEX["eyeBlinkRight"]]


def plain_name(name: str) -> str:
    """ARKit's name in lower case (`eyeblinkleft`) of another spelling of it: `eyeBlink_L`, `Head.eyeBlinkLeft`.

    Other names come out in lower case too, without anything but letters and digits.
    """
    last = re.sub(r"[^a-z0-9_]", "", name.rsplit(".", 1)[-1].lower())
    side = re.sub(r"_r$", "right", re.sub(r"_l$", "left", last))
    return side.replace("_", "")


# Faces that a person can check an avatar by. Each looks plausible on its own: a smile lifts the cheeks, an open mouth is
# not only a dropped jaw, a blink closes both eyes.
NAMED_EXPRESSIONS: dict[str, dict[str, float]] = {
    "neutral": {},
    "smile": {
        "mouthSmileLeft": 0.8, "mouthSmileRight": 0.8, "cheekSquintLeft": 0.5, "cheekSquintRight": 0.5,
        "mouthUpperUpLeft": 0.25, "mouthUpperUpRight": 0.25, "eyeSquintLeft": 0.25, "eyeSquintRight": 0.25,
    },
    "open mouth": {"jawOpen": 0.7, "mouthLowerDownLeft": 0.15, "mouthLowerDownRight": 0.15},
    "blink": {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0},
}  # fmt: skip


def expression_vector(weights: Mapping[str, float]) -> list[float]:
    """The 52 coefficients of named weights. Raises KeyError with the name that is not ARKit's."""
    vector = [0.0] * len(EXPRESSION_NAMES)
    for name, weight in weights.items():
        vector[EXPRESSION_INDEX[name]] = weight
    return vector
