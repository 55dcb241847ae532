"""The motion clip: what the face and head do over time, independent of who does it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from avatarcli.arrays import Float32
from avatarcli.clips.frame_rates import MAX_FPS
from avatarcli.errors import ClipError

if TYPE_CHECKING:
    from avatarcli.head.parameters import HeadParameters


# What follows a frame's number in the shape of each array.
FRAME_SHAPES = {"expression": (52,), "head_rotation": (3,), "head_translation": (3,), "gaze": (2, 2)}
# Largest magnitude that makes sense, radians. Angles in degrees fail here instead of spinning the head.
_ANGLE_LIMITS = {"head_rotation": 2 * math.pi, "gaze": math.pi / 2}


@dataclass(frozen=True)
class Clip:
    """T ≥ 1 frames of motion; shapes, units and axes as in the table of `avatarcli.clips.files`.

    Raises ClipError if they do not hold.
    """

    expression: Float32
    head_rotation: Float32
    head_translation: Float32 | None
    gaze: Float32 | None
    fps: float

    def __post_init__(self) -> None:
        if not 0 < self.fps <= MAX_FPS:
            raise ClipError(f"fps is {self.fps:g}; want a number above 0 and at most {MAX_FPS:g}")
        frames = len(self.expression)
        if frames == 0:
            raise ClipError("the clip has no frames")
        for name, tail in FRAME_SHAPES.items():
            array = getattr(self, name)
            if array is None:
                continue
            if array.dtype != np.float32:
                raise ClipError(f"{name} holds {array.dtype} values; want float32")
            if array.shape != (frames, *tail):
                raise ClipError(f"{name} has shape {list(array.shape)}; want {[frames, *tail]}")
            if not np.isfinite(array).all():
                raise ClipError(f"{name} holds NaN or infinity in frame {_first_bad_frame(~np.isfinite(array))}")
            limit = _ANGLE_LIMITS.get(name)
            if limit is not None and np.abs(array).max() > limit:
                raise ClipError(f"{name} reaches {np.abs(array).max():.4g}; want radians below {limit:.3g}")
        if self.expression.min() < 0 or self.expression.max() > 1:
            low, high = self.expression.min(), self.expression.max()
            raise ClipError(f"expression ranges from {low:.3g} to {high:.3g}; want values in [0, 1]")

    def __len__(self) -> int:
        return len(self.expression)

    @property
    def duration(self) -> float:
        """Seconds from the start of the first frame to the end of the last."""
        return len(self) / self.fps

    def resample(self, fps: float) -> Clip:
        """The same motion at another frame rate: linear between frames, along the shortest arc for rotations."""
        if fps == self.fps:
            return self
        last = (len(self) - 1) / self.fps
        return self.at(np.arange(math.floor(last * fps + 1e-6) + 1) / fps, fps)

    def at(self, seconds: NDArray[np.float64], fps: float, *, taken: NDArray[np.float64] | None = None) -> Clip:
        """The motion at any moments [N], in seconds from the first frame, as a clip of `fps` frames per second.

        Before the first frame and after the last one they are held. taken [T]: when the frames were taken, in rising
        seconds, where that is not evenly.
        """
        old = np.arange(len(self)) / self.fps if taken is None else taken
        return Clip(
            expression=_interpolate(seconds, old, self.expression),
            head_rotation=_slerp(seconds, old, self.head_rotation),
            head_translation=None
            if self.head_translation is None
            else _interpolate(seconds, old, self.head_translation),
            gaze=None if self.gaze is None else _interpolate(seconds, old, self.gaze),
            fps=fps,
        )

    def parameters(self, head_motion: bool = True) -> HeadParameters:
        """The clip as parameters of the head model: rotation to the neck, translation to the pose of the bust.

        Without `head_motion` the head stays upright and in place. A clip without gaze looks where its eyeLook*
        coefficients say.
        """
        import torch  # clips are also read where nothing is rendered

        from avatarcli.head.model import gaze_from_expression
        from avatarcli.head.parameters import HeadParameters

        expression = torch.from_numpy(self.expression)
        gaze = gaze_from_expression(expression) if self.gaze is None else torch.from_numpy(self.gaze)
        neck, pose = torch.zeros(len(self), 3), torch.eye(4).repeat(len(self), 1, 1)
        if head_motion:
            neck = torch.from_numpy(self.head_rotation)
            if self.head_translation is not None:
                pose[:, :3, 3] = torch.from_numpy(self.head_translation)
        return HeadParameters(expression, gaze, neck, pose)


def _first_bad_frame(bad: NDArray[np.bool_]) -> int:
    return int(bad.reshape(len(bad), -1).any(axis=1).argmax())


def _interpolate(new: NDArray[np.float64], old: NDArray[np.float64], values: Float32) -> Float32:
    flat = values.reshape(len(values), -1)
    columns = [np.interp(new, old, column) for column in flat.T]
    return np.stack(columns, axis=1).astype(np.float32).reshape(len(new), *values.shape[1:])


def _slerp(new: NDArray[np.float64], old: NDArray[np.float64], rotvec: Float32) -> Float32:
    from scipy.spatial.transform import Rotation, Slerp  # slow to import, and only needed here

    if len(old) == 1:
        return np.repeat(rotvec, len(new), axis=0)
    turned = Slerp(old, Rotation.from_rotvec(rotvec))(new.clip(old[0], old[-1]))
    return np.asarray(turned.as_rotvec(), np.float32)
