"""When the frames of a foreign file were taken, and at which rate, from its time codes, clocks or counters.

Time codes count frames within each second and say nothing about the length of a frame. At television's rates (29.97,
59.94, 23.976) a count of 30 takes a thousandth longer than a second. Drop-frame codes make up for it by leaving out two
numbers (of 30) each minute but the tenth; others are clocks and leave out one number in a thousand. Both show
in a take that is long enough; codes that never leave out a number read as the whole rate, where nobody can know better.

Source of drop-frame counting: SMPTE ST 12-1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from avatarcli.arrays import Float64
from avatarcli.clips.frame_rates import STANDARD_FPS, nearest_rate

TELEVISION = 1001 / 1000  # how much longer their frames are
_DAY = 24 * 60 * 60
# hours:minutes:seconds:frames, frames may have a fraction; a semicolon before them means drop-frame
_TIMECODE = re.compile(r"(\d+):(\d+):(\d+)([:;])(\d+(?:[.,]\d+)?)")
_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d+(?:[.,]\d+)?)")
_SLOWEST = 1.0  # seconds between frames; a larger step counts milliseconds
_STEADY = 0.25  # share of a frame by which a clock's readings may miss even places
_EXACT = 3e-4  # relative error of a rate: less than a third of what tells 29.97 from 30


def timecode_seconds(cells: Sequence[str]) -> Float64 | None:
    """Seconds [T] from `h:m:s:frame` codes or `h:m:s` clocks; None: something else, or too short to tell."""
    clocks = [_CLOCK.fullmatch(cell) for cell in cells]
    if all(clocks):
        fields = np.array([[_number(part or "0") for part in match.groups()] for match in clocks if match])
        return _over_midnight(fields @ (3600, 60, 1))
    codes = [_TIMECODE.fullmatch(cell) for cell in cells]
    if not all(codes):
        return None
    fields = np.array([[_number(match[part]) for part in (1, 2, 3, 5)] for match in codes if match])
    whole = _over_midnight(fields[:, :3] @ (3600, 60, 1))
    if whole[-1] - whole[0] < 2:
        return None  # no whole second seen, so nothing says at which frame the counter wraps
    wraps_at = fields[:, 3].max() // 1 + 1
    base = next((rate for rate in STANDARD_FPS if rate.is_integer() and rate >= wraps_at), wraps_at)
    numbers = whole * base + fields[:, 3]
    if (codes[0] and codes[0][4] == ";") or _drops_numbers(numbers, base):
        minutes = whole // 60
        numbers = numbers - _dropped(base) * (minutes - minutes // 10)
        return np.asarray(numbers * TELEVISION / base)
    rows = np.arange(len(numbers))
    left_out = numbers // 1 - numbers[0] // 1 - rows
    if left_out[-1] >= 2 and np.ptp(numbers // 1 - TELEVISION * rows) < 1.1:
        return np.asarray(rows * TELEVISION / base)
    return np.asarray(numbers / base)


def counter_or_clock(values: Float64) -> tuple[Float64, bool]:
    """Numbers [T] as frame counts (True) or seconds (False): whole steps of 1 count, larger ones are milliseconds."""
    steps = np.diff(values)
    usual = float(np.median(steps)) if len(steps) else 1.0
    if usual == 1 and not (values % 1).any():
        return values, True
    return (values / 1000, False) if usual > _SLOWEST else (values, False)


def even_times(seconds: Float64) -> tuple[float, Float64]:
    """Frames a second, and the frames' times [T] from the first on, of frames taken at `seconds` [T].

    The times must rise in all and never fall. Where they keep to a rate they are put on it: a rate within the error of
    the measurement is the standard one, any other steady rate is kept. Uneven times stay as they are.
    """
    times, rows = seconds - seconds[0], np.arange(len(seconds), dtype=np.float64)
    steps = np.diff(times)
    usual = float(np.median(steps))
    if not steps.min() > 0 or not usual > 0:  # times too coarse to tell neighbours apart
        rate = nearest_rate(float(rows[-1] / times[-1]))
        return rate, rows / rate
    step = float(steps[np.abs(steps - usual) <= 0.3 * usual].mean())
    index = np.concatenate([[0.0], np.cumsum(np.maximum(np.round(steps / step), 1.0))])
    slope, start = np.polyfit(index, times, 1)
    off = (times - start) / slope - index
    if np.abs(off).max() > _STEADY:
        return nearest_rate(1 / usual), times
    spread = np.sqrt(np.square(index - index.mean()).sum())
    exact = max(_EXACT, 4 * float(off.std()) / float(spread), _digit(times) / float(times[-1]))
    miss = {standard: abs(slope * standard - 1) for standard in STANDARD_FPS}
    near = [standard for standard in STANDARD_FPS if miss[standard] <= exact]
    # Of rates that too short a take cannot tell apart, the whole one is usual.
    rate = min(near, key=lambda standard: (not standard.is_integer(), miss[standard]), default=1 / float(slope))
    return rate, index / rate


def _digit(times: Float64) -> float:
    """The last decimal that times are written to, in seconds; 0 where they are not rounded."""
    scaled = ((10.0**-digits, times * 10.0**digits) for digits in range(1, 7))
    return next((unit for unit, values in scaled if np.abs(values - np.round(values)).max() < 1e-3), 0.0)


def _drops_numbers(numbers: Float64, base: float) -> bool:
    """Whether frame numbers [T] (minutes · 60 · base + …) skip what drop-frame codes leave out, and nothing of it is there."""
    minute, frame = np.divmod(numbers // 1, 60 * base)
    dropping = minute % 10 != 0
    if base % 30 or (dropping & (frame < _dropped(base))).any():
        return False
    return bool((dropping[1:] & (frame[1:] == _dropped(base)) & (frame[:-1] == 60 * base - 1)).any())


def _dropped(base: float) -> float:
    return 2 * base / 30


def _over_midnight(seconds: Float64) -> Float64:
    return np.where(seconds < seconds[0], seconds + _DAY, seconds)


def _number(text: str) -> float:
    return float(text.replace(",", "."))
