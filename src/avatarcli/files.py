"""Small helpers for files that must never be half there."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from avatarcli.errors import ExportError

# What a full disk looks like: no space, quota used up, and the limit on a file's size (ulimit -f).
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_ROOM = 64 * 1024  # bytes; a file system hands out blocks, so a full one may still name a few as free
_FULL = "the disk is full: free some space and run the command again"


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a whole file, or leave the one that is there untouched. Raises OSError."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        make_ordinary(Path(name))
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


def make_ordinary(path: Path) -> None:
    """Give a file the mode of a plain open(): temporary files, and what safetensors writes, are the owner's alone."""
    umask = os.umask(0)
    os.umask(umask)
    path.chmod(0o666 & ~umask)


def explain_io_error(error: BaseException, place: Path | None = None) -> str | None:
    """One line for a failure of the disk, or None when the error is something else.

    Libraries in Rust and C++ wrap the system's error in types of their own, so a full disk is also known by its words;
    and where they lose even those, by there being no room at `place`, where the failed work was writing.
    """
    if isinstance(error, OSError):
        if error.errno in _DISK_FULL:
            return _FULL
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return f"no permission to use {error.filename or 'a file'}: {os.strerror(error.errno)}"
    if "No space left on device" in str(error):
        return _FULL
    if place is not None and place.exists() and shutil.disk_usage(place).free < _NO_ROOM:
        return _FULL
    return None


@contextmanager
def finished_output(out: Path, *, folder: bool) -> Iterator[Path]:
    """A place beside `out` to write to; it takes the name `out` when the block ends well and is removed otherwise.

    A file replaces the one that is there. A folder must be new or empty, for frames of an older and longer video would
    stay among the new ones.

    Raises:
        ExportError: the place is taken, or cannot be written.
    """
    if folder and out.is_dir() and any(out.iterdir()):
        raise ExportError(f"the folder {out} is not empty: delete it or name another")
    if folder and out.exists() and not out.is_dir():
        raise ExportError(f"{out} is a file: name a folder")
    if not folder and out.is_dir():
        raise ExportError(f"{out} is a folder: name a file")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise ExportError(f"cannot write {out}: {error.strerror}") from error
    try:
        # The suffix stays last: it tells encoders which format to write.
        place = beside / out.name
        if folder:
            place.mkdir()
        yield place
        if folder and out.is_dir():
            out.rmdir()
        os.replace(place, out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
