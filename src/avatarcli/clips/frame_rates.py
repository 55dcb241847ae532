"""Frame rates that cameras and programs mean."""

from __future__ import annotations

from avatarcli.errors import UsageError

MAX_FPS = 240.0  # the fastest phone camera; a larger number is a sample rate or a mistake
# Television's rates are a thousandth slower than the whole numbers: 0.72 s in twelve minutes.
STANDARD_FPS = (
    15.0, 20.0, 24000 / 1001, 24.0, 25.0, 30000 / 1001, 30.0, 48.0, 50.0, 60000 / 1001, 60.0, 90.0, 100.0,
    120000 / 1001, 120.0, 240.0,
)  # fmt: skip
_TOLERANCE = 0.03  # what dropped frames and rounded times may make of a rate


def nearest_rate(fps: float) -> float:
    """The standard rate within 3 % of a roughly measured one; else itself."""
    nearest = min(STANDARD_FPS, key=lambda standard: abs(standard - fps))
    return nearest if abs(nearest - fps) < _TOLERANCE * nearest else fps


def check_fps(fps: float | None) -> None:
    """Raise UsageError when --fps, None where it was left out, is no rate of a clip or a video."""
    if fps is not None and not 1 <= fps <= MAX_FPS:
        raise UsageError(f"--fps {fps:g}: choose 1 to {MAX_FPS:g}")
