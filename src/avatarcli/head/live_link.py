"""Takes of Epic's Live Link Face app (and programs that write its table): 52 ARKit columns, head and eye angles.

The app documents neither units nor signs. Here is what its data says.

* Eyes. In a real take the eye angles are the eyeLook* columns again (r > 0.99): LeftEyeYaw = 0.61 · (LookIn − LookOut)
  and RightEyeYaw = 0.61 · (LookOut − LookIn), each plus a constant; EyePitch = 0.61 · (LookDown − LookUp). A left eye
  that looks *in* looks to the subject's right, so eye yaw is positive to the subject's **right** and eye pitch positive
  **down**; 0.61 at coefficient 1 can only be radians (35°). The constant turns each eye 3.7° outward: a phone reports
  optical axes, which lie outside the lines of sight. On a model whose irises sit straight that would be a squint, so
  the take's median divergence is removed.
* Head. While the subject sways and keeps looking at the phone, eye yaw follows head yaw smoothly with slope +0.75 and
  without lag: the vestibulo-ocular reflex, in which eyes turn *against* the head. So head yaw is positive to the
  subject's **left**. Pitch is positive **up** and roll positive to the subject's **right** shoulder, as in open
  programs that speak this protocol. The order is that of Unreal's rotators, yaw · pitch · roll.

A second dialect writes `time` in seconds, camelCase names and the head's axis-angle vector as `head0,head1,head2`.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avatarcli.errors import ClipError
from avatarcli.head.expressions import EXPRESSION_NAMES

DEFAULT_FPS = 60.0  # the app's own rate, for takes without usable times
STANDARD_FPS = (24.0, 25.0, 30.0, 48.0, 50.0, 60.0, 90.0, 100.0, 120.0)
_DAY = 24 * 60 * 60

# hours:minutes:seconds:frames, frames may have a fraction
_TIMECODE = re.compile(r"(\d+):(\d+):(\d+)[:;](\d+(?:\.\d+)?)")
# Cells by column name in lower case. Cells may be text.
Columns = Mapping[str, Sequence[str | float]]

_HEAD_ANGLES = ("headyaw", "headpitch", "headroll")
_HEAD_VECTOR = ("head0", "head1", "head2")
_EYE_ANGLES = ("lefteyeyaw", "lefteyepitch", "righteyeyaw", "righteyepitch")


@dataclass(frozen=True)
class Take:
    """T frames of a foreign file, not yet checked: shapes, units and axes as in `avatarcli.head.clips`."""

    expression: NDArray[np.float32]  # [T, 52] as recorded
    head_rotation: NDArray[np.float32]
    gaze: NDArray[np.float32] | None
    fps: float | None  # None: the file does not say
    head_translation: NDArray[np.float32] | None = None
    seconds: NDArray[np.float64] | None = None  # [T] when the frames were taken, where the file says so
    notes: tuple[str, ...] = ()  # what was left out or guessed


def read_live_link(path: Path, *, max_bytes: int) -> Take:
    """Read a take. Column names count without regard to case; head and eye angles may be absent.

    Raises:
        ClipError: not such a table; the message names the column or line.
        OSError: the file cannot be opened.
    """
    if path.stat().st_size > max_bytes:
        raise ClipError(f"larger than {max_bytes // 2**20} MiB")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ClipError("not a text file; want a Live Link Face .csv") from None
    rows = [row for row in csv.reader(io.StringIO(text), strict=False) if any(cell.strip() for cell in row)]
    if not rows:
        raise ClipError("the file is empty")
    header = [cell.strip().lower() for cell in rows[0]]
    missing = [name for name in EXPRESSION_NAMES if name.lower() not in header]
    if missing:
        listed = ", ".join(missing[:4]) + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")
        raise ClipError(f"not a Live Link Face table: no column {listed}")
    if len(set(header)) != len(header):
        raise ClipError(f"column {next(name for name in header if header.count(name) > 1)!r} appears twice")
    if len(rows) == 1:
        raise ClipError("the table has a header and no frames")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise ClipError(f"row {number} has {len(row)} cells; want {len(header)}")
    columns = dict(zip(header, zip(*rows[1:], strict=True), strict=True))
    expression = np.stack([_numbers(columns, name) for name in EXPRESSION_NAMES], axis=1)
    return Take(expression.astype(np.float32), head_rotation(columns), gaze(columns), _frame_rate(columns))


def _numbers(columns: Columns, name: str) -> NDArray[np.float64]:
    cells = columns[name.lower()]
    try:
        return np.array([float(cell) for cell in cells])
    except ValueError as error:
        raise ClipError(f"column {name}: {error}") from None


def head_rotation(columns: Columns) -> NDArray[np.float32]:
    """Rotation vectors [T, 3] from a take's head angles; zero where it has none. Raises ClipError for other units."""
    if all(name in columns for name in _HEAD_ANGLES):
        from scipy.spatial.transform import Rotation  # slow to import, and only needed here

        yaw, pitch, roll = (_angle(columns, name) for name in _HEAD_ANGLES)
        turned = Rotation.from_euler("YXZ", np.stack([yaw, -pitch, roll], axis=1))
        return np.asarray(turned.as_rotvec(), np.float32)
    if all(name in columns for name in _HEAD_VECTOR):
        return np.stack([_angle(columns, name) for name in _HEAD_VECTOR], axis=1).astype(np.float32)
    frames = len(next(iter(columns.values())))
    return np.zeros((frames, 3), np.float32)


def gaze(columns: Columns) -> NDArray[np.float32] | None:
    """Gaze [T, 2, 2] from a take's eye angles, or None where it has none. Raises ClipError for other units."""
    if not all(name in columns for name in _EYE_ANGLES):
        return None
    left_yaw, left_pitch, right_yaw, right_pitch = (-_angle(columns, name) for name in _EYE_ANGLES)
    if not any(angle.any() for angle in (left_yaw, left_pitch, right_yaw, right_pitch)):
        return None  # programs that do not track the eyes write zeros; the eyeLook* columns know better
    outward = max(0.0, float(np.median(left_yaw - right_yaw))) / 2
    left = np.stack([left_yaw - outward, left_pitch], axis=1)
    right = np.stack([right_yaw + outward, right_pitch], axis=1)
    return np.stack([left, right], axis=1).astype(np.float32)


def _angle(columns: Columns, name: str) -> NDArray[np.float64]:
    angle = _numbers(columns, name)
    if not np.isfinite(angle).all():
        raise ClipError(f"column {name} holds NaN or infinity")
    if np.abs(angle).max() > np.pi:
        raise ClipError(f"column {name} reaches {np.abs(angle).max():.4g}; want radians, this looks like degrees")
    return angle


def _frame_rate(columns: Columns) -> float:
    """Frames per second from the times of the first and last row, or the app's default where there are none."""
    if "time" in columns:
        seconds = _numbers(columns, "time")
    elif "timecode" in columns:
        parsed = [_TIMECODE.fullmatch(str(cell).strip()) for cell in columns["timecode"]]
        if any(match is None for match in parsed):
            return DEFAULT_FPS
        fields = np.array([[float(field) for field in match.groups()] for match in parsed if match])
        whole = (fields[:, :3] * (3600, 60, 1)).sum(axis=1)
        whole = np.where(whole < whole[0], whole + _DAY, whole)  # recorded over midnight
        if whole[-1] - whole[0] < 2:
            return DEFAULT_FPS  # no whole second seen, so nothing says at which frame the counter wraps
        wraps_at = fields[:, 3].max() // 1 + 1
        rate = next((standard for standard in STANDARD_FPS if standard >= wraps_at), wraps_at)
        seconds = whole + fields[:, 3] / rate
    else:
        return DEFAULT_FPS
    span = float(seconds[-1] - seconds[0])
    if not span > 0:
        return DEFAULT_FPS
    return nearest_rate((len(seconds) - 1) / span)


def nearest_rate(fps: float) -> float:
    """The standard rate within 3 %, which a measured one is with a few dropped frames or rounded times; else itself."""
    nearest = min(STANDARD_FPS, key=lambda standard: abs(standard - fps))
    return nearest if abs(nearest - fps) < 0.03 * nearest else fps
