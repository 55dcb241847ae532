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
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avatarcli.clips.frame_times import counter_or_clock, even_times, timecode_seconds
from avatarcli.clips.take import Take, read_text
from avatarcli.errors import ClipError
from avatarcli.head.expressions import EXPRESSION_NAMES, plain_name

APP_FPS = 60.0  # the app's own rate, for takes without usable times
# Columns by `plain_name`. Cells may be text.
Columns = Mapping[str, Sequence[str | float]]

_EXPRESSIONS = tuple(name.lower() for name in EXPRESSION_NAMES)
_OPTIONAL = "tongueOut"  # of a later version of ARKit than the others
_HEAD_ANGLES = ("headyaw", "headpitch", "headroll")
_HEAD_VECTOR = ("head0", "head1", "head2")
_EYE_ANGLES = ("lefteyeyaw", "lefteyepitch", "righteyeyaw", "righteyepitch")
_TIMES = ("timecode", "time", "timestamp", "seconds", "frame", "framenumber", "frameindex", "index")
_EMPTY = ("", "nan")  # cells of a frame without a face
_COUNT = "blendshapecount"  # the app's own word for it: 0


def read_live_link(path: Path, *, max_bytes: int) -> Take:
    """Read a take. Column names count without regard to case; head and eye angles may be absent.

    Commas, semicolons or tabs stand between the cells, and numbers may have decimal commas. Frames without a face are
    left out of the take, and so is a last row that is cut off; its notes say so.

    Raises:
        ClipError: not such a table; the message names the column or row.
        OSError: the file cannot be opened.
    """
    header, rows = _table(read_text(path, max_bytes=max_bytes, want="a Live Link Face .csv"))
    present = [name for name in header if name]
    missing = [name for name in EXPRESSION_NAMES if name.lower() not in present and name != _OPTIONAL]
    if missing:
        listed = ", ".join(missing[:4]) + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")
        raise ClipError(f"not a Live Link Face table: no column {listed}")
    if len(set(present)) < len(present):
        raise ClipError(f"column {next(name for name in present if present.count(name) > 1)!r} appears twice")
    rows, faces, notes = _frames(header, rows)
    if not any(faces):
        raise ClipError("no row has a face in it" if rows else "the table has a header and no frames")
    if _OPTIONAL.lower() not in header:
        notes.append(f"no column {_OPTIONAL}: the tongue stays in")
    if absent := faces.count(False):
        notes.append(f"{absent} of {len(rows)} frames have no face: filled from their neighbours")
    seen = [row for row, face in zip(rows, faces, strict=True) if face]
    columns = _columns(header, seen)
    columns.setdefault(_OPTIONAL.lower(), ["0"] * len(seen))
    expression = np.stack([_numbers(columns, name) for name in EXPRESSION_NAMES], axis=1)
    fps, times = _times(_columns(header, rows))
    return Take(
        expression.astype(np.float32),
        head_rotation(columns),
        gaze(columns),
        fps,
        seconds=times[faces],
        span=(float(times[0]), float(times[-1])),
        notes=tuple(notes),
        default_fps=APP_FPS,
    )


def _table(text: str) -> tuple[list[str], list[list[str]]]:
    """Plain names of the columns, and rows of cells; blank lines are left out."""
    first, _, rest = text.lstrip().partition("\n")
    if first.strip().lower().startswith("sep="):  # a line that spreadsheets write to themselves
        text, first = rest, rest.lstrip().partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    try:
        table = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=False))
    except csv.Error as error:
        raise ClipError(f"not a table ({error}); want a Live Link Face .csv") from None
    rows = [[cell.strip() for cell in row] for row in table]
    rows = [row for row in rows if len(row) > 1 or any(row)]
    if not any(map(any, rows)):
        raise ClipError("the file is empty")
    header = [plain_name(cell) for cell in rows[0]]
    while rows and not any(rows[-1]):  # spreadsheets save the empty rows below a table too
        rows.pop()
    return header, rows[1:]


def _frames(header: list[str], rows: list[list[str]]) -> tuple[list[list[str]], list[bool], list[str]]:
    """Rows of as many cells as the header has, which of them have a face, and notes of what was left out."""
    width, notes = len(header), []
    places = [place for place, name in enumerate(header) if name in _EXPRESSIONS]
    counted = header.index(_COUNT) if _COUNT in header else None
    within = len(rows) > 1 and _is_number(rows[-2][-1]) and not _is_number(rows[-1][-1])  # the last cell, "0.0" or "-"
    if rows and (len(rows[-1]) < width or within):
        notes.append(f"the last row is cut off and left out ({len(rows[-1])} of {width} cells)")
        rows = rows[:-1]
    faces = [_has_face(row, places) and (counted is None or row[counted] != "0") for row in rows]
    for number, (row, face) in enumerate(zip(rows, faces, strict=True), start=2):
        if any(row[width:]) or (face and len(row) < width):
            raise ClipError(f"row {number} has {len(row)} cells; want {width}")
        if face and (bad := next((place for place in places if not row[place]), None)) is not None:
            raise ClipError(f"column {header[bad]}: the cell of row {number} is empty")
    return [(row + [""] * width)[:width] for row in rows], faces, notes


def _has_face(row: list[str], places: list[int]) -> bool:
    return any(row[place].lower() not in _EMPTY for place in places if place < len(row))


def _columns(header: list[str], rows: list[list[str]]) -> dict[str, Sequence[str]]:
    """Cells by column; columns without a name are left out."""
    return {name: cells for name, cells in zip(header, zip(*rows, strict=True), strict=True) if name}


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return False
    return True


def _numbers(columns: Columns, name: str) -> NDArray[np.float64]:
    cells = columns[name.lower()]
    try:
        return np.array([float(str(cell).replace(",", ".")) for cell in cells])
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


def _times(columns: Columns) -> tuple[float | None, NDArray[np.float64]]:
    """Frames a second (None: the table does not say) and times [T] of all rows, in seconds; of those rates unknown, at
    the app's."""
    count = len(next(iter(columns.values())))
    even = np.arange(count, dtype=np.float64)
    name = next((name for name in _TIMES if name in columns), None)
    known = [row for row in range(count) if name and str(columns[name][row]).lower() not in _EMPTY]
    if name is None or len(known) < 2:
        return None, even / APP_FPS
    cells = [str(columns[name][row]) for row in known]
    seconds = timecode_seconds(cells)
    if seconds is None:
        if not all(map(_is_number, cells)):
            return None, even / APP_FPS
        seconds, counted = counter_or_clock(_numbers({name: cells}, name))
        if counted and np.diff(seconds).min() > 0:
            return None, (np.interp(even, known, seconds) - seconds[0]) / APP_FPS
    if not np.isfinite(seconds).all() or np.diff(seconds).min() < 0 or seconds[-1] == seconds[0]:
        return None, even / APP_FPS
    if len(known) < count:  # rows without even a time lie evenly between their neighbours, or as far apart as others
        step = float(np.median(np.diff(seconds) / np.diff(known)))
        beyond = even - np.clip(even, known[0], known[-1])
        seconds = np.interp(even, known, seconds) + step * beyond
    return even_times(seconds)
