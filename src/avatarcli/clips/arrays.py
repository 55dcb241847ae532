"""Arrays in `.npz` files, as clips and maps of FLAME are kept: never pickled, never larger than the memory."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avatarcli.errors import ClipError
from avatarcli.files import explain_io_error, write_atomically

# About 4 hours at 60 fps. The declared size is read before anything is unpacked, so that a small file cannot fill the
# memory.
MAX_BYTES = 256 * 2**20


def read_arrays(path: Path, wanted: Collection[str]) -> dict[str, NDArray[np.generic]]:
    """Those wanted arrays of an `.npz` that it has.

    Raises:
        ClipError: it is damaged, holds pickled objects, or unpacks to too much.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_BYTES:
            raise ClipError(f"unpacks to {size // 2**20} MiB; want at most {MAX_BYTES // 2**20} MiB")
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files if key in wanted}
    except zipfile.BadZipFile:
        raise ClipError("not a readable .npz file (empty, cut short, or not a zip archive)") from None
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise ClipError(
                "holds pickled objects, which are refused because they can run code; save plain arrays"
            ) from None
        raise ClipError(f"damaged array ({error})") from None
    except (EOFError, zlib.error, NotImplementedError, RuntimeError, MemoryError) as error:
        raise ClipError(f"damaged archive ({error})") from None


def write_arrays(path: Path, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Write a compressed `.npz`, whole or not at all. Raises ClipError if it cannot be written."""
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content.getvalue())
    except OSError as error:
        raise ClipError(f"cannot write {path}: {explain_io_error(error) or error.strerror}") from None


def numbers(key: str, array: NDArray[np.generic]) -> NDArray[np.float32]:
    """An array as float32. Raises ClipError, which names it, when it does not hold numbers."""
    if array.dtype.kind not in "fiu":
        raise ClipError(f"{key} holds {array.dtype} values; want numbers")
    return array.astype(np.float32)
