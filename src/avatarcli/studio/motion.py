"""How subjects move: clips of real faces varied in many ways, random faces that melt into each other, blinks, gaze and
neck.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from avatarcli.clips.clip import Clip
from avatarcli.clips.files import load_clip, shipped_clips
from avatarcli.errors import ClipError
from avatarcli.head.expressions import EXPRESSION_INDEX, EXPRESSION_NAMES
from avatarcli.head.parameters import HeadParameters
from avatarcli.studio.faces import MIRROR, Floats, columns, draw_face, plausible

FPS = 24.0
_BLINK_RATE = 0.3  # a second; people blink every 3 s or so
# Seconds that a lid takes to close, stays closed, and takes to open: 0.1 to 0.4 s in all.
_CLOSING, _CLOSED, _OPENING = (0.04, 0.1), (0.01, 0.06), (0.06, 0.22)
# Radians of gaze at which the model's lids have followed all the way: in, out, up, down.
_LID_LIMITS = {"In": 0.2526, "Out": 0.2447, "Up": 0.1657, "Down": 0.1882}
_EYE_APART = 0.0296  # metres of an eye's centre from the middle
_MAX_GAZE = np.array([0.6, 0.42])  # radians that eyes turn at most, sideways and up or down
_MAX_NECK = np.array([0.45, 0.9, 0.35])  # radians about x, y, z
# MediaPipe sees puckered lips where there are none.
_TRACKED_PUCKER = 0.5


@dataclass(frozen=True)
class MotionLibrary:
    """Clips that motion is made of."""

    clips: tuple[Clip, ...]

    @classmethod
    def load(cls, folder: Path | str | None = None) -> MotionLibrary:
        """The clips that ship with the program, and all `.npz` and `.csv` clips of a folder, of which those that were
        tracked with MediaPipe may hold its own names and face transforms (`blend`, `mat`, `names`).

        Raises:
            ClipError: no such folder, or a file that is no clip.
        """
        clips = [load_clip(path) for path in shipped_clips().values()]
        if folder is not None:
            if not Path(folder).is_dir():
                raise ClipError(f"no folder {folder}")
            files = [path for path in sorted(Path(folder).iterdir()) if path.suffix in (".npz", ".csv")]
            clips += [_load_tracked(path) or load_clip(path) for path in files]
        return cls(tuple(clips))


def draw_motion(
    rng: np.random.Generator, frames: int, library: MotionLibrary, *, fps: float = FPS, calm: bool = False
) -> HeadParameters:
    """F frames of motion. `calm`: a face as for a portrait, nearly still and near rest, as references are."""
    kind = rng.random()
    if calm:
        expression, neck = _portrait(rng, frames)
    elif kind < 0.45 and library.clips:
        expression, neck = _from_clips(rng, frames, library, fps)
    elif kind < 0.7:
        # Faces that change within a second.
        expression, neck = _between_faces(rng, frames, fps, (0.2, 1.2))
    else:
        # Faces that change at every frame or two, as a plan with few frames has them.
        expression, neck = _between_faces(rng, frames, fps, (0.7 / fps, 3.0 / fps))
    expression = plausible(expression)
    _blink(rng, expression, fps)
    gaze = _draw_gaze(rng, frames, fps, wide=not calm)
    _lids_follow(rng, expression, gaze)
    return HeadParameters(
        expression=torch.from_numpy(expression.astype(np.float32)),
        gaze=torch.from_numpy(gaze.astype(np.float32)),
        neck=torch.from_numpy(neck.clip(-_MAX_NECK, _MAX_NECK).astype(np.float32)),
        head_pose=torch.eye(4).repeat(frames, 1, 1),
    )


def mirrored(clip: Clip) -> Clip:
    """The same motion in a mirror."""
    rotation = clip.head_rotation * np.array([1, -1, -1], np.float32)
    gaze = None if clip.gaze is None else clip.gaze[:, ::-1] * np.array([-1, 1], np.float32)
    shift = None if clip.head_translation is None else clip.head_translation * np.array([-1, 1, 1], np.float32)
    return replace(
        clip, expression=clip.expression[:, MIRROR], head_rotation=rotation, gaze=gaze, head_translation=shift
    )


def _portrait(rng: np.random.Generator, frames: int) -> tuple[Floats, Floats]:
    strength = float(rng.beta(1.2, 2.5))
    face = strength * draw_face(rng) if rng.random() < 0.7 else np.zeros(len(EXPRESSION_NAMES), np.float32)
    face[columns("eyeBlink")] *= 0.3
    neck = rng.normal(0, (0.04, 0.06, 0.04)).astype(np.float32)
    return np.tile(face, (frames, 1)), np.tile(neck, (frames, 1))


def _from_clips(rng: np.random.Generator, frames: int, library: MotionLibrary, fps: float) -> tuple[Floats, Floats]:
    expression, neck = _window(rng, frames, library, fps)
    if rng.random() < 0.3:
        # One's mouth with another's eyes and brows.
        upper = columns("brow", "eye", "noseSneer")
        expression[:, upper] = _window(rng, frames, library, fps)[0][:, upper]
    for part in (columns("brow"), columns("mouth", "jaw", "cheek", "nose")):
        expression[:, part] *= float(rng.uniform(0.7, 1.5))
    if rng.random() < 0.5:
        # A mood lies over what is said.
        expression = expression + 0.6 * float(rng.random()) * draw_face(rng)
    expression[:, columns("eyeLook")] = 0
    return expression, neck * float(rng.uniform(0, 1.5)) + rng.normal(0, 0.06, 3).astype(np.float32)


def _window(rng: np.random.Generator, frames: int, library: MotionLibrary, fps: float) -> tuple[Floats, Floats]:
    """A stretch of a clip at some speed, perhaps backwards or mirrored: expressions [F, 52] and neck [F, 3] about its
    mean.
    """
    clip = library.clips[rng.integers(len(library.clips))]
    if rng.random() < 0.5:
        clip = mirrored(clip)
    speed = float(np.exp(rng.normal(0, 0.35))) * clip.fps / fps
    reach = speed * (frames - 1)
    start = float(rng.uniform(0, max(len(clip) - 1 - reach, 0)))
    # Sped up and slowed down along the way; what runs over the end turns back.
    when = start + reach * _eased(np.linspace(0, 1, frames), float(rng.uniform(-0.4, 0.4)))
    when = (len(clip) - 1) - np.abs((len(clip) - 1) - when % (2 * max(len(clip) - 1, 1)))
    low = np.floor(when).astype(int)
    high, blend = np.minimum(low + 1, len(clip) - 1), (when - low)[:, None].astype(np.float32)
    values = np.concatenate([clip.expression, clip.head_rotation - np.median(clip.head_rotation, axis=0)], axis=1)
    values = values[low] * (1 - blend) + values[high] * blend
    return values[:, :-3], values[:, -3:]


def _eased(share: NDArray[np.float64], bend: float) -> NDArray[np.float64]:
    return share + bend * share * (1 - share)


def _between_faces(
    rng: np.random.Generator, frames: int, fps: float, pace: tuple[float, float]
) -> tuple[Floats, Floats]:
    """Random faces, reached one after the other within `pace` seconds, and turns of the neck that take longer."""
    faces = _keyed(rng, frames, fps, pace, lambda: draw_face(rng) if rng.random() < 0.85 else np.zeros(52, np.float32))
    large = float(rng.beta(1, 1.6))
    necks = _keyed(rng, frames, fps, (0.4, 1.5), lambda: (rng.normal(0, (0.14, 0.3, 0.1)) * large).astype(np.float32))
    return faces, necks


def _keyed(
    rng: np.random.Generator, frames: int, fps: float, pace: tuple[float, float], draw: Callable[[], Floats]
) -> Floats:
    """Values [F, C] that go smoothly from one drawn key to the next, with pauses in between."""
    times, keys = [0.0], [draw()]
    # The first key lies a little before the first frame, so that clips do not all begin at rest.
    lead = float(rng.uniform(0, pace[1]))
    while times[-1] < lead + frames / fps:
        times.append(times[-1] + float(rng.uniform(*pace)))
        keys.append(draw())
        if rng.random() < 0.4:
            times.append(times[-1] + float(rng.uniform(0, 2 * pace[0])))
            keys.append(keys[-1])
    now = lead + np.arange(frames) / fps
    index = np.searchsorted(times, now, side="right").clip(1, len(times) - 1)
    start, end = np.array(times)[index - 1], np.array(times)[index]
    share = ((now - start) / np.maximum(end - start, 1e-6)).clip(0, 1)
    smooth = (share * share * (3 - 2 * share))[:, None].astype(np.float32)
    stack = np.stack(keys)
    return stack[index - 1] * (1 - smooth) + stack[index] * smooth


def _blink(rng: np.random.Generator, expression: Floats, fps: float) -> None:
    """Shut both eyes for a moment, at random times, in place."""
    duration = len(expression) / fps
    now = np.arange(len(expression)) / fps
    # Half a blink may lie before the first frame or after the last.
    for begin in rng.uniform(-0.2, duration, rng.poisson(_BLINK_RATE * (duration + 0.2))):
        closing, closed, opening = (float(rng.uniform(*span)) for span in (_CLOSING, _CLOSED, _OPENING))
        shut = np.minimum((now - begin) / closing, (begin + closing + closed + opening - now) / opening).clip(0, 1)
        for column in columns("eyeBlink"):
            expression[:, column] = np.maximum(expression[:, column], shut * float(rng.uniform(0.9, 1.0)))


def _draw_gaze(rng: np.random.Generator, frames: int, fps: float, *, wide: bool) -> NDArray[np.float64]:
    """Where the eyes look [F, 2, 2]: they rest on points, and jump from one to the next within 20 to 60 ms."""
    points, times = [_gaze_point(rng, wide)], [0.0]
    while times[-1] < frames / fps:
        times.append(times[-1] + float(rng.gamma(2.0, 0.35)))
        points.append(_gaze_point(rng, wide))
    now = np.arange(frames) / fps
    index = np.searchsorted(times, now, side="right") - 1
    jump = float(rng.uniform(0.02, 0.06))
    share = ((now - np.array(times)[index]) / jump).clip(0, 1)[:, None]
    stack = np.stack(points)
    target = stack[np.maximum(index - 1, 0)] * (1 - share) + stack[index] * share
    eyes = np.stack([target - np.array([side * _EYE_APART, 0, 0]) for side in (1, -1)], axis=1)
    yaw = np.arctan2(eyes[..., 0], eyes[..., 2])
    pitch = np.arctan2(eyes[..., 1], np.hypot(eyes[..., 0], eyes[..., 2]))
    return np.stack([yaw, pitch], axis=-1).clip(-_MAX_GAZE, _MAX_GAZE)


def _gaze_point(rng: np.random.Generator, wide: bool) -> NDArray[np.float64]:
    """A point that the eyes look at, metres from between them."""
    distance = float(np.exp(rng.uniform(np.log(0.45), np.log(5))))
    spread = np.array([0.22, 0.13]) if wide and rng.random() < 0.6 else np.array([0.05, 0.035])
    yaw, pitch = rng.normal(0, spread)
    return distance * np.array([np.sin(yaw), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])


def _lids_follow(rng: np.random.Generator, expression: Floats, gaze: NDArray[np.float64]) -> None:
    """Set the eyeLook* coefficients that go with a gaze, in place: the lids of some people follow more than others'."""
    laziness = float(rng.uniform(1.0, 2.0))
    for side, (name, outward) in enumerate((("Left", 1.0), ("Right", -1.0))):
        yaw, pitch = outward * gaze[:, side, 0], gaze[:, side, 1]
        for direction, angle in (("Out", yaw), ("In", -yaw), ("Up", pitch), ("Down", -pitch)):
            amount = (angle / (_LID_LIMITS[direction] * laziness)).clip(0, 1)
            expression[:, EXPRESSION_INDEX[f"eyeLook{direction}{name}"]] = amount


def _load_tracked(path: Path) -> Clip | None:
    """A clip as MediaPipe tracked it, or None when the file is of another kind."""
    from scipy.spatial.transform import Rotation

    if path.suffix != ".npz":
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            if not {"blend", "mat", "names"} <= set(file.files):
                return None
            blend, pose = file["blend"].astype(np.float32), file["mat"].astype(np.float64)
            names, fps = [str(name) for name in file["names"]], float(file["fps"]) if "fps" in file.files else 25.0
    except (OSError, ValueError, EOFError) as error:
        raise ClipError(f"{path}: cannot be read ({error})") from None
    expression = np.zeros((len(blend), len(EXPRESSION_NAMES)), np.float32)
    for name, values in zip(names, blend.T, strict=True):
        if name in EXPRESSION_INDEX:
            expression[:, EXPRESSION_INDEX[name]] = values.clip(0, 1)
    expression[:, EXPRESSION_INDEX["mouthPucker"]] *= _TRACKED_PUCKER
    middle = Rotation.from_matrix(pose[:, :3, :3]).mean().as_matrix()
    turned = Rotation.from_matrix(middle.T @ pose[:, :3, :3]).as_rotvec().astype(np.float32)
    return Clip(expression, turned, None, None, fps)
