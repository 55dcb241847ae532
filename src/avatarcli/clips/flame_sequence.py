"""Sequences of FLAME parameters, as CAP4D and VHAP write them, as motion of our head.

| what | CAP4D | VHAP | shape |
| --- | --- | --- | --- |
| expression | expr | expr | [T, E] |
| head against camera or world | rot, tra | rotation, translation | [T, 3] axis-angle, [T, 3] metres |
| neck | neck_rot | neck_pose, neck | [T, 3] axis-angle |
| jaw | jaw_rot | jaw_pose, jaw | [T, 3] axis-angle |
| eyes | eye_rot, both alike | eyes_pose, eyes, left then right | [T, 3] or [T, 6] axis-angle |

Only `expr` must be there. The world's axes differ between programs: of the four ways to turn a frame upright by half turns, the
one is taken in which the head looks most nearly ahead. Where the head is on average is no motion, so it is taken off.
CAP4D writes 65 coefficients, the last of which is a blink of its own and not FLAME's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from avatarcli.arrays import Float64
from avatarcli.clips.arrays import numbers
from avatarcli.clips.flame_map import FlameMap, default_map
from avatarcli.clips.take import Take
from avatarcli.errors import ClipError
from avatarcli.head.expressions import EXPRESSION_INDEX, EXPRESSION_NAMES

_KEYS = {
    "head": ("rot", "rotation"),
    "place": ("tra", "translation"),
    "neck": ("neck_rot", "neck_pose", "neck"),
    "jaw": ("jaw_rot", "jaw_pose", "jaw"),
    "eyes": ("eye_rot", "eyes_pose", "eyes"),
}
SEQUENCE_KEYS = ("expr", "fps", *(key for keys in _KEYS.values() for key in keys))
_CAP4D_SIZE = 65
_LOOK = np.deg2rad(30.0)  # eyeLook* at 1, as in `model.gaze_from_expression`; up and down reach 0.7 of it
_HALF_TURNS = [np.diag(signs) for signs in ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1))]


def flame_take(data: dict[str, NDArray[np.generic]], map_file: Path | None) -> Take:
    """The motion in the arrays of a sequence, by the map in `map_file`, or by the user's own.

    Raises:
        ClipError: an array is not as the module's table says, or there is no map that fits.
    """
    expression = numbers("expr", data["expr"]).astype(np.float64)
    if expression.ndim != 2 or expression.shape[1] == 0:
        raise ClipError(f"expr has shape {list(expression.shape)}; want [T, E]")
    if not np.isfinite(expression).all():
        raise ClipError("expr holds NaN or infinity")
    frames = len(expression)
    if frames == 0:
        raise ClipError("the clip has no frames")
    vectors = {what: _vectors(data, what, frames) for what in _KEYS}
    translator = _load_map(map_file)
    gaze = None if vectors["eyes"] is None else _gaze(vectors["eyes"])
    looks = np.zeros((frames, len(EXPRESSION_NAMES))) if gaze is None else _looks(gaze)
    jaw = np.zeros((frames, 3)) if vectors["jaw"] is None else vectors["jaw"]
    notes = []
    blink = None
    if expression.shape[1] == _CAP4D_SIZE:
        expression, blink = expression[:, :-1], expression[:, -1].clip(0, 1)
        notes.append("65 coefficients: the last is taken for CAP4D's blink")
    found = translator.coefficients(expression, Rotation.from_rotvec(jaw).as_matrix(), looks)
    if blink is not None:
        for name in ("eyeBlinkLeft", "eyeBlinkRight"):
            column = EXPRESSION_INDEX[name]
            found[:, column] = np.maximum(found[:, column], blink)
    rotation, translation = _head(vectors, translator.axes, frames)
    return Take(
        expression=found.astype(np.float32),
        head_rotation=rotation.astype(np.float32),
        gaze=None if gaze is None else gaze.astype(np.float32),
        fps=_rate(data),
        head_translation=None if translation is None else translation.astype(np.float32),
        notes=tuple(notes),
    )


def _load_map(path: Path | None) -> FlameMap:
    if path is None and not default_map().exists():
        raise ClipError(
            "a FLAME sequence needs a map to ARKit's expressions: make it once with `avatar clip flame-map FLAME_FILE`"
        )
    return FlameMap.load(path or default_map())


def _vectors(data: dict[str, NDArray[np.generic]], what: str, frames: int) -> Float64 | None:
    key = next((key for key in _KEYS[what] if key in data), None)
    if key is None:
        return None
    array = numbers(key, data[key]).astype(np.float64)
    if what == "eyes" and array.size == 6 * frames:
        array = array.reshape(frames, 6)  # also [T, 2, 3]
    wanted = (3, 6) if what == "eyes" else (3,)
    if array.shape not in [(frames, size) for size in wanted]:
        listed = " or ".join(f"[{frames}, {size}]" for size in wanted)
        raise ClipError(f"{key} has shape {list(array.shape)}; want {listed}")
    if not np.isfinite(array).all():
        raise ClipError(f"{key} holds NaN or infinity")
    return array


def _gaze(eyes: Float64) -> Float64:
    """Gaze [T, 2, 2] of eye rotations [T, 3] or [T, 6]: the turn without roll to where the eye looks."""
    both = eyes.reshape(len(eyes), -1, 3)
    if both.shape[1] == 1:
        both = np.repeat(both, 2, axis=1)
    ahead = Rotation.from_rotvec(both.reshape(-1, 3)).apply((0.0, 0.0, 1.0))
    sideways = np.linalg.norm(ahead[:, :2], axis=1)
    angle = np.arctan2(sideways, ahead[:, 2])
    gaze = ahead[:, :2] * (angle / sideways.clip(1e-12))[:, None]
    return gaze.reshape(len(eyes), 2, 2)


def _looks(gaze: Float64) -> Float64:
    """The eyeLook* coefficients [T, 52] that go with a gaze [T, 2, 2]: they move the lids."""
    looks = np.zeros((len(gaze), len(EXPRESSION_NAMES)))
    left, right = gaze[:, 0] / (_LOOK, 0.7 * _LOOK), gaze[:, 1] / (_LOOK, 0.7 * _LOOK)
    for name, value in (
        ("OutLeft", left[:, 0]), ("InLeft", -left[:, 0]), ("InRight", right[:, 0]), ("OutRight", -right[:, 0]),
        ("UpLeft", left[:, 1]), ("DownLeft", -left[:, 1]), ("UpRight", right[:, 1]), ("DownRight", -right[:, 1]),
    ):  # fmt: skip
        looks[:, EXPRESSION_INDEX[f"eyeLook{name}"]] = value.clip(0, 1)
    return looks


def _head(vectors: dict[str, Float64 | None], axes: Float64, frames: int) -> tuple[Float64, Float64 | None]:
    """Rotation [T, 3] of the skull and translation [T, 3] of the bust, in our frame."""
    zero = np.zeros((frames, 3))
    turned = Rotation.from_rotvec(zero if vectors["head"] is None else vectors["head"])
    mean = turned.mean().as_matrix()
    upright = max(_HALF_TURNS, key=lambda turn: float(np.trace(turn @ mean)))
    total = Rotation.from_matrix(upright) * turned
    if vectors["neck"] is not None:
        total = total * Rotation.from_rotvec(vectors["neck"])
    ours = Rotation.from_matrix(axes)
    rotation = (ours * total * ours.inv()).as_rotvec()
    place = vectors["place"]
    if place is None:
        return rotation, None
    return rotation, (place - np.median(place, axis=0)) @ upright.T @ axes.T


def _rate(data: dict[str, NDArray[np.generic]]) -> float | None:
    if "fps" not in data:
        return None
    fps = numbers("fps", data["fps"])
    if fps.size != 1:
        raise ClipError(f"fps has shape {list(fps.shape)}; want a single number")
    return float(fps.reshape(()))
