"""PNG: a single picture, or a folder of numbered frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from avatarcli.errors import UsageError
from avatarcli.export.origin import Origin
from avatarcli.files import finished_output

Frame = NDArray[np.uint8]

FRAME_NAME = "frame_{:05d}.png"


def write_png(path: Path, frames: Iterator[Frame], origin: Origin) -> None:
    """Write the only frame, [H, W, 3] or [H, W, 4], exactly.

    Raises:
        UsageError: there are more frames.
        OSError, ExportError: it cannot be written.
    """
    frame = next(frames)
    if next(frames, None) is not None:
        raise UsageError(f"{path}: a PNG holds one frame; name a folder (no suffix), .mp4, .webm, .gif or .webp")
    with finished_output(path, folder=False) as temporary:
        _save(temporary, frame, origin)


def write_png_folder(path: Path, frames: Iterator[Frame], origin: Origin) -> None:
    """Write `frame_00000.png` and so on into a new or empty folder, which appears when all are written.

    Raises:
        OSError, ExportError: it cannot be written, or holds files already.
    """
    with finished_output(path, folder=True) as temporary:
        for index, frame in enumerate(frames):
            _save(temporary / FRAME_NAME.format(index), frame, origin)


def _save(path: Path, frame: Frame, origin: Origin) -> None:
    Image.fromarray(frame).save(path, format="PNG", pnginfo=origin.png_info())
