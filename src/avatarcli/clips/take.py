"""What the readers of foreign clips share: the take that they read, and text files as programs write them."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avatarcli.errors import ClipError

DEFAULT_FPS = 30.0  # of foreign files that do not say theirs
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class Take:
    """T frames of a foreign file, not yet checked: shapes, units and axes as in `avatarcli.clips.files`."""

    expression: NDArray[np.float32]  # [T, 52] as recorded
    head_rotation: NDArray[np.float32]
    gaze: NDArray[np.float32] | None
    fps: float | None  # None: the file does not say
    head_translation: NDArray[np.float32] | None = None
    seconds: NDArray[np.float64] | None = None  # [T] when the frames were taken, where the file says so
    span: tuple[float, float] | None = None  # seconds of its first and last frame, with or without a face in them
    notes: tuple[str, ...] = ()  # what was left out or guessed
    default_fps: float = DEFAULT_FPS  # what `fps` None stands for


def read_text(path: Path, *, max_bytes: int, want: str) -> str:
    """A file's text: UTF-8, or UTF-16 as spreadsheets and PowerShell write it.

    Raises:
        ClipError: larger than `max_bytes`, or not text; the message says what is wanted instead.
        OSError: the file cannot be opened.
    """
    if path.stat().st_size > max_bytes:
        raise ClipError(f"larger than {max_bytes // 2**20} MiB")
    data = path.read_bytes()
    try:
        text = data.decode("utf-16" if data.startswith(_UTF_16) else "utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    # Tables and JSON begin with plain letters, digits, quotes or brackets; other bytes are no text of ours.
    if "\0" in text[:1] or not text[:1].isascii():
        raise ClipError(f"not a text file; want {want}")
    return text
