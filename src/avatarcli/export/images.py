"""A single picture (PNG or JPEG), or a folder of numbered PNG frames."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from avatarcli.errors import UsageError
from avatarcli.export.formats import endings
from avatarcli.export.origin import Origin, made_here
from avatarcli.files import finished_output

Frame = NDArray[np.uint8]

FRAME_NAME = "frame_{:05d}.png"
_FRAME_NAME = re.compile(r"frame_\d{5,}\.png")
_JPEG_QUALITY = 95  # with full color resolution: no difference can be seen


def write_picture(path: Path, frames: Iterator[Frame], origin: Origin) -> None:
    """Write the only frame: as PNG, [H, W, 3] or [H, W, 4], exactly; as JPEG, [H, W, 3], nearly so.

    Raises:
        UsageError: there are more frames.
        OSError, ExportError: it cannot be written.
    """
    frame = next(frames)
    if next(frames, None) is not None:
        videos = endings(lambda form: not form.still)
        raise UsageError(f"{path}: a {path.suffix} holds one frame; name a folder (no ending), {videos}")
    with finished_output(path, folder=False) as temporary:
        if path.suffix.lower() == ".png":
            _save_png(temporary, frame, origin)
        else:
            # By way of memory: Pillow does not notice when a disk has room for the first part of a JPEG only.
            encoded = BytesIO()
            xmp = origin.to_xmp().encode()
            Image.fromarray(frame).save(encoded, format="JPEG", quality=_JPEG_QUALITY, subsampling=0, xmp=xmp)
            temporary.write_bytes(encoded.getvalue())


def write_png_folder(path: Path, frames: Iterator[Frame], origin: Origin) -> None:
    """Write `frame_00000.png` and so on into a new or empty folder, which appears when all are written.

    Raises:
        OSError, ExportError: it cannot be written, or holds files already.
    """
    with finished_output(path, folder=True) as temporary:
        for index, frame in enumerate(frames):
            _save_png(temporary / FRAME_NAME.format(index), frame, origin)


def is_frame(path: Path) -> bool:
    """Whether a file is a frame that `write_png_folder` wrote: by its name, and by the mark of origin in it."""
    if _FRAME_NAME.fullmatch(path.name) is None or path.is_symlink() or not path.is_file():
        return False
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            return made_here(picture)
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError):
        return False


def _save_png(path: Path, frame: Frame, origin: Origin) -> None:
    Image.fromarray(frame).save(path, format="PNG", pnginfo=origin.png_info())
