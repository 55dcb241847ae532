"""Cutting, retiming and mixing motion clips, and saying what is in one."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from avatarcli.arrays import Float32
from avatarcli.clips.clip import Clip
from avatarcli.errors import ClipError
from avatarcli.head.expressions import EXPRESSION_NAMES

Region = Literal["brows", "eyes", "cheeks", "mouth", "head"]

# Which actions belong to a region, by how their names begin. Gaze goes with the eyes, rotation and place with the head.
REGIONS: dict[Region, tuple[str, ...]] = {
    "brows": ("brow",), "eyes": ("eye",), "cheeks": ("cheek", "nose"), "mouth": ("jaw", "mouth", "tongue"), "head": (),
}  # fmt: skip
MOVES = 0.05  # coefficient, or range of one, from which an eye sees that something is there, or moves


@dataclass(frozen=True)
class Range:
    """From where to where a number goes in a clip."""

    low: float
    high: float


@dataclass(frozen=True)
class ClipSummary:
    """What is in a clip. Angles are degrees: yaw to the subject's left, pitch up, roll to the right shoulder."""

    frames: int
    fps: float
    seconds: float
    actions: dict[str, Range]  # those that move by MOVES or more, the widest first; of one frame those that are there
    held: dict[str, Range]  # those that are there all the time and move by less, the strongest first
    gaze: dict[str, Range] | None  # yaw and pitch of the eyes' mean; None: the clip has no gaze of its own
    head: dict[str, Range]
    translation: float | None  # metres between the farthest places of the head along any axis; None: it stays


def summarise(clip: Clip) -> ClipSummary:
    """The facts that `avatar clip info` shows."""
    from scipy.spatial.transform import Rotation

    low, high = clip.expression.min(axis=0), clip.expression.max(axis=0)
    moving, there = high - low >= MOVES, low >= MOVES
    if len(clip) == 1:
        moving = there  # nothing moves in one frame: what it shows counts
    angles = Rotation.from_rotvec(clip.head_rotation).as_euler("YXZ", degrees=True) * (1, -1, 1)
    place = clip.head_translation
    return ClipSummary(
        frames=len(clip),
        fps=clip.fps,
        seconds=clip.duration,
        actions=_chosen(moving, low, high, low - high if len(clip) > 1 else -high),
        held=_chosen(there & ~moving, low, high, -high),
        gaze=None if clip.gaze is None else _ranges(("yaw", "pitch"), np.rad2deg(clip.gaze.mean(axis=1))),
        head=_ranges(("yaw", "pitch", "roll"), angles),
        translation=None if place is None else float((place.max(axis=0) - place.min(axis=0)).max()),
    )


def trim(clip: Clip, first: int, end: int) -> Clip:
    """Frames first … end − 1. Raises ClipError when the clip does not have them."""
    if not 0 <= first < end <= len(clip):
        raise ClipError(f"frames {first} to {end} are not in a clip of {len(clip)} frames ({clip.duration:.2f} s)")
    return _rows(clip, np.arange(first, end))


def retime(clip: Clip, fps: float, speed: float) -> Clip:
    """The motion at `speed` times its pace, in `fps` frames per second: linear between frames, rotations along their arc."""
    frames = max(1, round(clip.duration / speed * fps))
    return clip.at(np.arange(frames) / fps * speed, fps)


def mix(base: Clip, other: Clip, weights: tuple[float, float], regions: Collection[Region], *, loop: bool) -> Clip:
    """A weighted sum of two clips in some regions of the face; `base` alone in the others.

    Sums are cut to [0, 1]. The result has the rate of `base`; it lasts as long as the shorter one, or with `loop`, which
    repeats `other`, as long as `base`.
    """
    other = other.resample(base.fps)
    frames = len(base) if loop else min(len(base), len(other))
    rows = np.arange(frames)
    return _blend(_rows(base, rows), _rows(other, rows % len(other)), _constant(weights, frames), regions)


def crossfade(first: Clip, second: Clip, seconds: float) -> Clip:
    """`first`, then `second`, which comes up while the first goes, for so long. Raises ClipError when one is shorter."""
    second = second.resample(first.fps)
    overlap = round(seconds * first.fps)
    if overlap > min(len(first), len(second)):
        shorter = min(first.duration, second.duration)
        raise ClipError(f"the clips cannot overlap for {seconds:g} s: the shorter one lasts {shorter:.2f} s")
    frames = len(first) + len(second) - overlap
    rows = np.arange(frames)
    start = len(first) - overlap
    # Without an overlap it is a cut: nothing is between the last frame of one and the first of the other.
    ramp = ((rows - start + 0.5) / overlap).clip(0, 1) if overlap else (rows >= start).astype(np.float64)
    share = ramp * ramp * (3 - 2 * ramp)  # starts and ends softly
    held = _rows(first, rows.clip(None, len(first) - 1)), _rows(second, (rows - start).clip(0, None))
    return _blend(*held, np.stack([1 - share, share], axis=1), REGIONS)


def _blend(base: Clip, other: Clip, weights: NDArray[np.float64], regions: Collection[Region]) -> Clip:
    """The weighted sum of two clips of the same length; weights [T, 2]."""
    a, b = (weights[:, side].astype(np.float32) for side in (0, 1))
    mixed = a[:, None] * base.expression + b[:, None] * other.expression
    inside = np.array([name.startswith(_prefixes(regions)) for name in EXPRESSION_NAMES])
    gaze, rotation, translation = base.gaze, base.head_rotation, base.head_translation
    if "eyes" in regions and (base.gaze is not None or other.gaze is not None):
        gaze = a[:, None, None] * _gaze(base) + b[:, None, None] * _gaze(other)
    if "head" in regions:
        rotation = _blend_rotations(base.head_rotation, other.head_rotation, a, b)
        if base.head_translation is not None or other.head_translation is not None:
            translation = a[:, None] * _place(base) + b[:, None] * _place(other)
    return Clip(
        np.where(inside, mixed.clip(0, 1), base.expression).astype(np.float32), rotation, translation, gaze, base.fps
    )


def _blend_rotations(first: Float32, second: Float32, a: Float32, b: Float32) -> Float32:
    """(First → second along the arc, by b / (a + b)) taken a + b times: the arc itself when the weights sum to one."""
    from scipy.spatial.transform import Rotation

    total = a + b
    share = np.where(total > 0, b / np.where(total > 0, total, 1), 0)
    start = Rotation.from_rotvec(first)
    arc = (start.inv() * Rotation.from_rotvec(second)).as_rotvec()
    between = (start * Rotation.from_rotvec(share[:, None] * arc)).as_rotvec()
    return np.asarray(total[:, None] * between, np.float32)


def _rows(clip: Clip, rows: NDArray[np.int64]) -> Clip:
    return Clip(
        clip.expression[rows],
        clip.head_rotation[rows],
        None if clip.head_translation is None else clip.head_translation[rows],
        None if clip.gaze is None else clip.gaze[rows],
        clip.fps,
    )


def _gaze(clip: Clip) -> Float32:
    """The clip's gaze, or what its eyeLook* coefficients say."""
    return clip.parameters().gaze.numpy() if clip.gaze is None else clip.gaze


def _place(clip: Clip) -> Float32:
    return np.zeros((len(clip), 3), np.float32) if clip.head_translation is None else clip.head_translation


def _constant(weights: tuple[float, float], frames: int) -> NDArray[np.float64]:
    return np.broadcast_to(np.array(weights), (frames, 2))


def _prefixes(regions: Collection[Region]) -> tuple[str, ...]:
    return tuple(prefix for region in regions for prefix in REGIONS[region])


def _chosen(rows: NDArray[np.bool_], low: Float32, high: Float32, order: Float32) -> dict[str, Range]:
    """Ranges of the chosen actions, by rising `order` [52]."""
    chosen = [int(index) for index in np.argsort(order, kind="stable") if rows[index]]
    return {EXPRESSION_NAMES[index]: Range(float(low[index]), float(high[index])) for index in chosen}


def _ranges(names: tuple[str, ...], values: NDArray[np.floating]) -> dict[str, Range]:
    return {name: Range(float(column.min()), float(column.max())) for name, column in zip(names, values.T, strict=True)}
