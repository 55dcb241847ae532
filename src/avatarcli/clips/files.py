"""Motion clips: what the face and head do over time, independent of who does it.

The file is a `.npz` with these arrays and nothing pickled:

| key | shape | meaning |
| --- | --- | --- |
| expression | [T, 52] | ARKit coefficients in [0, 1] |
| names | [52] | their names, in any order; read into the order of `EXPRESSION_NAMES` |
| head_rotation | [T, 3] | skull against torso, axis-angle, radians (+x subject's left, +y up, +z ahead) |
| head_translation | [T, 3] | optional, metres, same frame: moves the whole bust |
| gaze | [T, 2, 2] | optional, (left eye, right eye) × (yaw to the subject's left, pitch up), radians |
| fps | scalar | frames per second |

Foreign files are read too: tables of Live Link Face (`avatarcli.clips.live_link`), JSON and JSON Lines as web avatars use
them (`avatarcli.clips.arkit_json`) and `.npz` sequences of FLAME parameters (`avatarcli.clips.flame_sequence`).
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avatarcli.arrays import Float32
from avatarcli.clips.arrays import MAX_BYTES, numbers, read_arrays, write_arrays
from avatarcli.clips.clip import FRAME_SHAPES, Clip
from avatarcli.clips.kinds import JSON, NPZ, TABLES, WANTED, why_no_clip
from avatarcli.clips.take import Take
from avatarcli.errors import ClipError, UnknownClipError
from avatarcli.files import shipped_folders
from avatarcli.head.expressions import EXPRESSION_NAMES

# What a head does not do, metres and radians: somebody who walks about before the camera stays within 5 m.
_FARTHEST, _MOST_TURNED = 5.0, math.radians(120)
# Solvers overshoot a little; within this the coefficients are clamped, beyond it they are on another scale.
EXPRESSION_SLACK = 0.05
# Frames that were taken within this share of a frame of their even place are as good as even.
_JITTER = 0.05


def clip_path(name: str | Path) -> Path:
    """The file that a user's word for a clip means: `speech` is the shipped example, anything with a suffix is a path.

    A folder called `speech`, which may be what was exported of it, hides no example.

    Raises:
        UnknownClipError: a bare word that is neither an example nor a file.
    """
    path = Path(name)
    if path.suffix:
        return path
    shipped = shipped_clips()
    if str(name) in shipped:
        return shipped[str(name)]
    if path.exists():
        return path
    close = difflib.get_close_matches(str(name).lower(), shipped, n=1, cutoff=0.4)
    hint = f"did you mean {close[0]}? Or " if close else ""
    raise UnknownClipError(f"no clip {str(name)!r}; {hint}give {WANTED}, or one of: {', '.join(shipped)}")


def shipped_clips() -> dict[str, Path]:
    """The example clips by name: those inside an installed wheel, else those of the source checkout."""
    for folder in shipped_folders("_clips", "examples/clips"):
        files = sorted(folder.glob("*.npz"))
        if files:
            return {file.stem: file for file in files}
    return {}


def load_clip(
    path: str | Path,
    *,
    fps: float | None = None,
    flame_map: Path | None = None,
    note: Callable[[str], None] = lambda message: None,
    warn: Callable[[str], None] = lambda message: None,
) -> Clip:
    """Read a clip: `.npz`, one of the foreign kinds that the module names, or the bare name of an example (`speech`).

    fps: frames per second, against what the file says itself. flame_map: how to understand a FLAME sequence, which the file
    then is; None: the user's own, see `avatarcli.clips.flame_map`. note: told what was left out or guessed. warn: told of motion
    that no head makes.

    Raises:
        ClipError: the file is missing, unreadable, pickled, too large, or its content breaks the contract. One line
            that names the file and the key, with the shape found and the shape wanted.
    """
    path = clip_path(path)
    try:
        if not path.exists():
            raise ClipError("no such file")
        if not path.is_dir() and not path.is_file():
            raise ClipError("is a pipe or a device; save the clip as an ordinary file")
        clip = _read(path, fps, flame_map, note)
    except ClipError as error:
        raise ClipError(f"{path}: {error}") from None
    except OSError as error:
        raise ClipError(f"{path}: cannot be read ({error.strerror or error})") from None
    for doubt in _doubts(clip):
        warn(f"{path}: {doubt}")
    return clip


def _read(path: Path, fps: float | None, flame_map: Path | None, note: Callable[[str], None]) -> Clip:
    suffix = path.suffix.lower()
    data = _arrays(path) if suffix == NPZ else {}
    if "expr" in data and "expression" not in data:
        from avatarcli.clips.flame_sequence import flame_take

        return _of_take(flame_take(data, flame_map), fps, note)
    if flame_map is not None and suffix in (NPZ, *TABLES, *JSON):
        raise ClipError("no FLAME sequence, which alone needs a map: leave out --map")
    if suffix == NPZ:
        clip = _decode(data)
        return clip if fps is None else replace(clip, fps=fps)
    if suffix in TABLES:
        from avatarcli.clips.live_link import read_live_link

        return _of_take(read_live_link(path, max_bytes=MAX_BYTES), fps, note)
    if suffix in JSON:
        from avatarcli.clips.arkit_json import read_arkit_json

        return _of_take(read_arkit_json(path, max_bytes=MAX_BYTES), fps, note)
    raise ClipError(why_no_clip(suffix))


def _arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    """What is known of an .npz: our own clip's arrays, or a FLAME sequence's."""
    from avatarcli.clips.flame_sequence import SEQUENCE_KEYS

    return read_arrays(path, {*FRAME_SHAPES, "names", "fps", *SEQUENCE_KEYS})


def _doubts(clip: Clip) -> list[str]:
    """What in a clip no head does: the units are mistaken, as a rule."""
    found = []
    if clip.head_translation is not None:
        farthest = float(np.linalg.norm(clip.head_translation, axis=1).max())
        if farthest > _FARTHEST:
            found.append(
                f"head_translation reaches {farthest:.4g} m, where the head is out of the picture; is it in other units?"
            )
    turned = float(np.linalg.norm(clip.head_rotation, axis=1).max())
    if turned > _MOST_TURNED:
        found.append(f"head_rotation reaches {math.degrees(turned):.0f}°, farther than a neck turns")
    return found


def save_clip(path: str | Path, clip: Clip) -> None:
    """Write a clip as compressed `.npz`, whole or not at all. Raises ClipError if it cannot be written."""
    arrays: dict[str, NDArray[np.generic]] = {
        "expression": clip.expression,
        "names": np.array(EXPRESSION_NAMES),
        "head_rotation": clip.head_rotation,
        "fps": np.array(clip.fps, np.float32),
    }
    if clip.head_translation is not None:
        arrays["head_translation"] = clip.head_translation
    if clip.gaze is not None:
        arrays["gaze"] = clip.gaze
    write_arrays(Path(path), arrays)


def _of_take(take: Take, fps: float | None, note: Callable[[str], None]) -> Clip:
    """A foreign take as a clip, its frames put at even times where they were not taken so."""
    for message in take.notes:
        note(message)
    if fps is None and take.fps is None:
        note(f"the file does not say its frame rate: {take.default_fps:g} frames/s assumed")
    written = take.fps or take.default_fps
    rate = written if fps is None else fps
    clip = Clip(_clamp(take.expression), take.head_rotation, take.head_translation, take.gaze, rate)
    if take.seconds is None or take.span is None:
        return clip
    seconds, last = ((moments - take.span[0]) * written for moments in (take.seconds, np.array(take.span[1])))
    frames = math.floor(last + 1e-6) + 1
    if frames == len(clip) and np.abs(seconds - np.arange(frames)).max() <= _JITTER:
        return clip
    return clip.at(np.arange(frames) / rate, rate, taken=seconds / rate)


def _decode(data: dict[str, NDArray[np.generic]]) -> Clip:
    for key in ("expression", "names", "head_rotation", "fps"):
        if key not in data:
            raise ClipError(f"key {key!r} is missing")
    order = _order(data["names"])
    frames = numbers("expression", data["expression"])
    if frames.ndim != 2 or frames.shape[1] != len(EXPRESSION_NAMES):
        raise ClipError(f"expression has shape {list(frames.shape)}; want [T, {len(EXPRESSION_NAMES)}]")
    fps = numbers("fps", data["fps"])
    if fps.size != 1:
        raise ClipError(f"fps has shape {list(fps.shape)}; want a single number")
    return Clip(
        expression=_clamp(frames[:, order]),
        head_rotation=numbers("head_rotation", data["head_rotation"]),
        head_translation=numbers("head_translation", data["head_translation"]) if "head_translation" in data else None,
        gaze=numbers("gaze", data["gaze"]) if "gaze" in data else None,
        fps=float(fps.reshape(())),
    )


def _order(names: NDArray[np.generic]) -> list[int]:
    """Columns of the file in the order of EXPRESSION_NAMES."""
    if names.ndim != 1 or names.dtype.kind != "U":
        raise ClipError(
            f"names is {names.dtype} of shape {list(names.shape)}; want text of shape [{len(EXPRESSION_NAMES)}]"
        )
    found = [str(name) for name in names]
    unknown = sorted(set(found) - set(EXPRESSION_NAMES))
    missing = sorted(set(EXPRESSION_NAMES) - set(found))
    if unknown or missing:
        parts = [
            f"{label}: {', '.join(group)}" for label, group in (("unknown", unknown), ("missing", missing)) if group
        ]
        raise ClipError(f"names are not ARKit's 52 ({'; '.join(parts)})")
    if len(found) != len(EXPRESSION_NAMES):
        raise ClipError(f"names has shape [{len(found)}], some of them twice; want [{len(EXPRESSION_NAMES)}]")
    return [found.index(name) for name in EXPRESSION_NAMES]


def _clamp(expression: Float32) -> Float32:
    """Overshoot taken off; what is further out is left for the check to name."""
    slightly_out = (expression >= -EXPRESSION_SLACK) & (expression <= 1 + EXPRESSION_SLACK)
    return np.where(slightly_out, expression.clip(0, 1), expression)
