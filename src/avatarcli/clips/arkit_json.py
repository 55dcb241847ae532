"""ARKit expressions in JSON, as web avatars, speech services and browsers write them.

There is no standard. These layouts are read; names of keys count without regard to case:

* a list of frames, or `frames` holding it. A frame is a map of names to values, or holds one as `blendshapes` or
  `weights`, or a list of `{categoryName, score}` pairs there (MediaPipe's `faceBlendshapes`). `time` or `timestamp` says
  when it was, in seconds or milliseconds;
* names once and rows of values: `facsNames` and `weightMat` (Audio2Face), `names` and `frames` whose rows are lists or
  `{weights, time}` (LAM_Audio2Expression, many web demos). `fps`, `frameRate` or `exportFps` says the rate;
* a list of values for every name, at the top or under `blendshapes` or `vs`, with `dt` in milliseconds (TalkingHead);
* JSON Lines: a frame a line, and perhaps a first line with names or rate;
* rows of 55 values as `BlendShapes` (Azure's speech service), one object or a list of them, 60 frames per second.

Names may be ARKit's in any case, with `_L` and `_R` for sides, and after a dot (`Head.jawOpen`); names that are not
ARKit's are left out, and missing ones are zero. Head and eye angles are read under the names of Live Link Face.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avatarcli.clips.frame_times import counter_or_clock, even_times
from avatarcli.clips.live_link import gaze, head_rotation
from avatarcli.clips.take import DEFAULT_FPS, Take, read_text
from avatarcli.errors import ClipError
from avatarcli.head.expressions import EXPRESSION_NAMES, plain_name

AZURE_FPS = 60.0
# Azure documents its 55 columns in the order of Apple's header, with three angles behind them.
AZURE_NAMES = (
    "eyeBlinkLeft", "eyeLookDownLeft", "eyeLookInLeft", "eyeLookOutLeft", "eyeLookUpLeft", "eyeSquintLeft", "eyeWideLeft",
    "eyeBlinkRight", "eyeLookDownRight", "eyeLookInRight", "eyeLookOutRight", "eyeLookUpRight", "eyeSquintRight",
    "eyeWideRight", "jawForward", "jawLeft", "jawRight", "jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthLeft",
    "mouthRight", "mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft", "mouthFrownRight", "mouthDimpleLeft",
    "mouthDimpleRight", "mouthStretchLeft", "mouthStretchRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower",
    "mouthShrugUpper", "mouthPressLeft", "mouthPressRight", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft",
    "mouthUpperUpRight", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft", "noseSneerRight", "tongueOut",
    "headRoll", "leftEyeRoll", "rightEyeRoll",
)  # fmt: skip

_NAMES = ("names", "facsnames", "blendshapenames", "blendshape_names")
_ROWS = ("weightmat", "frames", "weights", "blendshapes")
_WEIGHTS = ("blendshapes", "weights", "faceblendshapes", "morphtargets", "vs")
_RATE = ("fps", "exportfps", "framerate", "frame_rate")
_TIME = ("time", "timestamp", "timestamp_ms", "time_ms")
_ANGLES = (
    "headyaw", "headpitch", "headroll", "lefteyeyaw", "lefteyepitch", "righteyeyaw", "righteyepitch",
)  # fmt: skip
_KNOWN = {*(name.lower() for name in EXPRESSION_NAMES), *_ANGLES}

_SOMETHING = re.compile(r"\S")

_Frame = dict[str, Any] | None  # None: there was no face in it


@dataclass(frozen=True)
class _Table:
    """What a layout comes down to. times and rate as written; None where the file has none."""

    frames: list[_Frame]
    times: list[Any] | None = None
    rate: Any = None


def read_arkit_json(path: Path, *, max_bytes: int) -> Take:
    """Read a take. The module says which layouts.

    Raises:
        ClipError: not JSON, none of the layouts, or no ARKit expression in it; the message names key and frame.
        OSError: the file cannot be opened.
    """
    text = read_text(path, max_bytes=max_bytes, want="JSON")
    try:
        document, notes = _parsed(text)
    except json.JSONDecodeError as error:
        raise ClipError(f"not JSON: {error.msg} in line {error.lineno}, column {error.colno}") from None
    except (RecursionError, ValueError):  # ValueError: a number of more digits than Python will read
        raise ClipError("not JSON that can be read: nested too deep, or a number without end") from None
    take = _take(_table(document))
    return replace(take, notes=(*notes, *take.notes))


def _parsed(text: str) -> tuple[Any, list[str]]:
    """The document; of JSON Lines a list of them, or an object that holds them if the first says what they are."""
    try:
        return json.loads(text), []
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":  # nothing follows a first document: not JSON Lines
            raise
    entries: list[Any] = []
    notes: list[str] = []
    decoder, place = json.JSONDecoder(), 0
    try:
        while found := _SOMETHING.search(text, place):
            place = found.start()
            entry, place = decoder.raw_decode(text, place)
            entries.append(entry)
    except json.JSONDecodeError:
        if "\n" in text[place:].strip() or not isinstance(entries[0], dict):
            raise
        notes.append("the last line is cut off and left out")
    return _under_heading(entries), notes


def _under_heading(entries: list[Any]) -> Any:
    """JSON Lines as one document: what a first line says of names or rate counts for the frames below it."""
    heading = entries[0]
    keys = {key.lower() for key in heading} if isinstance(heading, dict) else set()
    if not keys & {*_NAMES, *_RATE, "metadata"} or keys & {*_WEIGHTS} or _KNOWN & set(map(plain_name, keys)):
        return entries
    return {**heading, "frames": entries[1:]}


def _take(table: _Table) -> Take:
    if not table.frames:
        raise ClipError("the file has no frames")
    seen = [(index, frame) for index, frame in enumerate(table.frames) if frame is not None]
    if not seen:
        raise ClipError("no frame has a face in it")
    columns: dict[str, list[float]] = {}
    left_out: set[str] = set()
    for row, (index, frame) in enumerate(seen):
        given: dict[str, str] = {}
        for name, value in frame.items():
            plain = plain_name(name)
            if plain not in _KNOWN:
                left_out.add(name)
                continue
            if plain in given:
                raise ClipError(f"frame {index} has both {given[plain]!r} and {name!r}")
            given[plain] = name
            column = columns.setdefault(plain, [0.0] * len(seen))
            column[row] = _number(value, f"{name!r} of frame {index}")
    expressions = [name.lower() for name in EXPRESSION_NAMES]
    if not any(name in columns for name in expressions):
        found = f" ({', '.join(sorted(left_out)[:4])})" if left_out else ""
        raise ClipError(f"no ARKit expression, such as jawOpen, among its names{found}")
    nothing = [0.0] * len(seen)
    expression = np.array([columns.get(name, nothing) for name in expressions], np.float32).T
    seconds, fps = _times(table)
    notes = []
    if left_out:
        listed = ", ".join(sorted(left_out)[:4]) + (", …" if len(left_out) > 4 else "")
        notes.append(f"left out {len(left_out)} names that are not ARKit's: {listed}")
    if missing := len(table.frames) - len(seen):
        notes.append(f"{missing} of {len(table.frames)} frames have no face: filled from their neighbours")
    return Take(
        expression,
        head_rotation(columns),
        gaze(columns),
        fps,
        seconds=seconds[[index for index, _ in seen]],
        span=(float(seconds[0]), float(seconds[-1])),
        notes=tuple(notes),
    )


def _table(document: Any) -> _Table:
    if isinstance(document, list):
        return _of_list(document)
    if not isinstance(document, dict):
        raise ClipError(f"the document is {_kind(document)}; want a list of frames, or an object that holds them")
    content = _lower(document)
    extra = _lower(content["metadata"]) if isinstance(content.get("metadata"), dict) else {}
    rate = _first(content, _RATE) or _first(extra, _RATE)
    names = _first(content, _NAMES) or _first(extra, _NAMES)
    rows = _first(content, _ROWS)
    if names is None and "blendshapes" in content and "frameindex" in content:
        return _of_azure([content])
    if isinstance(rows, list):
        if names is not None and (not isinstance(names, list) or not all(isinstance(name, str) for name in names)):
            raise ClipError("the list of names holds something other than text")
        frames = [_frame(row, index, names) for index, row in enumerate(rows)]
        return _Table(frames, _frame_times(rows), rate)
    tracks = _first(content, ("vs", "blendshapes"))
    return _of_tracks(tracks if isinstance(tracks, dict) else document, content.get("dt"), rate)


def _of_list(document: list[Any]) -> _Table:
    if document and all(isinstance(entry, dict) and "frameindex" in _lower(entry) for entry in document):
        return _of_azure([_lower(entry) for entry in document])
    return _Table([_frame(entry, index, None) for index, entry in enumerate(document)], _frame_times(document))


def _of_azure(chunks: list[dict[str, Any]]) -> _Table:
    chunks = sorted(chunks, key=lambda chunk: _number(chunk["frameindex"], "'FrameIndex'"))
    rows = []
    for chunk in chunks:
        if not isinstance(chunk.get("blendshapes"), list):
            raise ClipError(f"'BlendShapes' is {_kind(chunk.get('blendshapes'))}; want a list of rows")
        rows += chunk["blendshapes"]
    return _Table([_frame(row, index, list(AZURE_NAMES)) for index, row in enumerate(rows)], rate=AZURE_FPS)


def _of_tracks(tracks: dict[str, Any], steps: Any, rate: Any) -> _Table:
    """One list of values a name; `steps`: milliseconds that each value is reached in."""
    columns = {
        name: values for name, values in tracks.items() if isinstance(values, list) and plain_name(name) in _KNOWN
    }
    if not columns and any(plain_name(name) in _KNOWN and _is_number(value) for name, value in tracks.items()):
        return _Table([tracks], None, rate)
    if not columns:
        raise ClipError("no frames, no rows under names, and no list of values under an ARKit name")
    length = len(next(iter(columns.values())))
    for name, values in columns.items():
        if len(values) != length:
            raise ClipError(f"{name!r} has {len(values)} values; want {length} as {next(iter(columns))!r} has")
    frames: list[_Frame] = [{name: values[row] for name, values in columns.items()} for row in range(length)]
    if steps is None:
        return _Table(frames, None, rate)
    if not isinstance(steps, list) or len(steps) != length:
        found = f"has {len(steps)} values" if isinstance(steps, list) else f"is {_kind(steps)}"
        raise ClipError(f"'dt' {found}; want a list of {length}")
    reached = np.cumsum([_number(step, f"'dt' of value {index}") for index, step in enumerate(steps)])
    return _Table(frames, (reached / 1000).tolist(), rate)


def _frame(entry: Any, index: int, names: list[str] | None) -> _Frame:
    """One frame as a map of names to values, whatever it was written as."""
    if entry is None:
        return None
    if isinstance(entry, dict):
        content = _lower(entry)
        weights = _first(content, _WEIGHTS)
        if weights is None and (empty := [content[key] for key in _WEIGHTS if key in content]):
            return {} if {} in empty else None  # an empty map is a face at rest
        if weights is None:
            weights = {name: value for name, value in entry.items() if plain_name(name) in _KNOWN or _is_number(value)}
            weights = {name: value for name, value in weights.items() if name.lower() not in (*_TIME, "frame", "index")}
        entry = weights
    if isinstance(entry, dict):
        return entry
    if not isinstance(entry, list):
        raise ClipError(f"frame {index} is {_kind(entry)}; want a map of names to values, or a list")
    if not entry and names is None:
        return None
    if isinstance(entry[0] if entry else None, dict):
        return _pairs(entry, index)
    if names is None:
        raise ClipError(f"frame {index} is a list of values, and nothing says what they are: no 'names' beside it")
    if len(entry) != len(names):
        raise ClipError(f"frame {index} has {len(entry)} values; want {len(names)}, one per name")
    return dict(zip(names, entry, strict=True))


def _pairs(entries: list[Any], index: int) -> _Frame:
    """`[{categoryName, score}, …]`; MediaPipe wraps that once more, as `[{categories: […]}]`, one per face."""
    if isinstance(entries[0].get("categories"), list):
        entries = entries[0]["categories"]
    frame = {}
    for entry in entries:
        content = _lower(entry) if isinstance(entry, dict) else {}
        name, value = _first(content, ("categoryname", "name")), _first(content, ("score", "value", "weight"))
        if not isinstance(name, str) or value is None:
            raise ClipError(f"frame {index} has an entry without name and value; want {{categoryName, score}}")
        frame[name] = value
    return frame


def _frame_times(rows: list[Any]) -> list[Any] | None:
    times = [_first(_lower(row), _TIME) if isinstance(row, dict) else None for row in rows]
    return None if any(time is None for time in times) else times


def _times(table: _Table) -> tuple[NDArray[np.float64], float | None]:
    """When the frames [T] were, in seconds, and the rate; None where the file does not say."""
    rate = None if table.rate is None else _number(table.rate, "the frame rate")
    if rate is not None and not rate > 0:
        raise ClipError(f"the frame rate is {rate:g}; want a number above 0")
    even = np.arange(len(table.frames)) / (rate or DEFAULT_FPS)
    if table.times is None or len(table.frames) == 1:
        return even, rate
    times = np.array([_number(time, f"the time of frame {index}") for index, time in enumerate(table.times)])
    steps = np.diff(times)
    if not steps.any():  # all the same: the program that wrote it has no clock
        return even, rate
    if not steps.min() > 0:
        raise ClipError(f"the time of frame {int(steps.argmin()) + 1} is not after that of the frame before it")
    seconds, counted = counter_or_clock(times)
    if counted:
        return (seconds - seconds[0]) / (rate or DEFAULT_FPS), rate
    measured, seconds = even_times(seconds)
    return seconds, rate or measured


def _lower(content: dict[str, Any]) -> dict[str, Any]:
    return {key.lower(): value for key, value in content.items()}


def _first(content: dict[str, Any], keys: tuple[str, ...]) -> Any:
    """The value of the first of the keys that is there and not null or empty."""
    return next((content[key] for key in keys if content.get(key) not in (None, [], {})), None)


def _number(value: Any, what: str) -> float:
    if not _is_number(value):
        raise ClipError(f"{what} is {_kind(value)}; want a number")
    try:
        return float(value)
    except OverflowError:
        raise ClipError(f"{what} is too large") from None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return f"the text {value[:20]!r}"
    kinds = {dict: "an object", list: "a list", bool: "true or false", int: "a number", float: "a number"}
    return kinds.get(type(value), "nothing")
