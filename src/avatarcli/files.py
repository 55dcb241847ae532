"""Small helpers for files that must never be half there."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avatarcli.errors import AvatarError, ExportError

if TYPE_CHECKING:
    from filelock import BaseFileLock

# What a full disk looks like: no space, quota used up, and the limit on a file's size (ulimit -f).
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_ROOM = 64 * 1024  # bytes; a file system hands out blocks, so a full one may still name a few as free
_AT_WORK, _REPLACED = ".at-work", ".replaced"
_FULL = "the disk is full: free some space and run the command again"


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def shipped_folders(installed: str, checkout: str) -> tuple[Path, Path]:
    """Where files that ship with the program may be: the folder `installed` of the package, as wheels have it, and the
    folder `checkout` of the source tree. One of them exists."""
    package = Path(__file__).resolve().parent
    return package / installed, package.parents[1] / checkout


def why_not_a_file(path: Path, what: str) -> str | None:
    """Why nothing can be read at `path`, where a `what` ("photo") is wanted; None when there is an ordinary file.

    Pipes are none: most files are read more than once here, and one that nobody writes to would be waited for without end.
    """
    if path.is_dir():
        return f"{path} is a folder; give one {what} file"
    if path.is_file():
        return None
    if path.exists():
        return f"{path} is a pipe or a device; save the {what} as an ordinary file"
    return f"there is no file {path}; check the path of the {what}"


def _behind_link(path: Path) -> Path:
    """Where a file of this name is to be written: a symbolic link stays, and what it points to is replaced."""
    return path.resolve() if path.is_symlink() else path


def write_atomically(path: Path, content: bytes) -> None:
    """Write a whole file, or leave the one that is there untouched. Raises OSError."""
    path = _behind_link(path)
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


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object of a file; None when there is none to read."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # the last: lists in lists without end
        return None
    return content if isinstance(content, dict) else None


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write what `read_json` reads, whole or not at all. Names of files that are no text come back as they were. Raises OSError."""
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    write_atomically(path, text.encode("utf-8", errors="backslashreplace"))


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
        if error.errno == errno.ENAMETOOLONG:
            return (
                f"no file can have a name as long as {Path(os.fsdecode(error.filename or '')).name[:40]}…: shorten it"
            )
    if "No space left on device" in str(error):
        return _FULL
    if place is not None and place.exists() and shutil.disk_usage(place).free < _NO_ROOM:
        return _FULL
    return None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to write a file that takes the place of `path` when the block ends well: a reader never sees half of it.

    One process at a time writes to a `path`; for what is another's too there is `finished_output`.
    """
    partial = path.with_suffix(".partial")
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def finished_output(out: Path, *, folder: bool, replaceable: Callable[[Path], bool] | None = None) -> Iterator[Path]:
    """A place beside `out` to write to; it takes the name `out` when the block ends well and is removed otherwise.

    A file replaces the one that is there, or the one that a link of this name points to. A folder must be new or empty, for
    frames of an older and longer video would stay among the new ones; or all in it is `replaceable`, as that tells of each
    entry, and the new folder takes its place. What a killed process left beside `out` is removed. An `out` that is such a
    place itself is yielded as it is.

    Raises:
        ExportError: the place is taken, or cannot be written, also where the block fails for that.
    """
    check_place(out, folder=folder, replaceable=replaceable)
    out = _behind_link(out)
    if (out.parent / _AT_WORK).exists():
        if folder:
            out.mkdir(exist_ok=True)
        yield out
        return
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _remove_left_overs(out)
        beside, lock = _place_beside(out)
    except OSError as error:
        raise ExportError(f"cannot write {out}: {error.strerror}") from error
    # The suffix stays last: it tells encoders which format to write.
    place = beside / out.name
    try:
        if folder:
            place.mkdir()
        yield place
        if folder and out.is_dir():
            check_place(out, folder=True, replaceable=replaceable)  # something may have come into it in the meantime
            os.replace(out, beside / _REPLACED)
        try:
            os.replace(place, out)
        except OSError:
            with suppress(FileNotFoundError):
                os.replace(beside / _REPLACED, out)
            raise
    except AvatarError as error:
        # The user knows the file by the name that they gave it.
        raise type(error)(str(error).replace(str(place), str(out))) from error
    except Exception as error:
        if (problem := explain_io_error(error, out.parent)) is None:
            raise
        raise ExportError(f"cannot write {out}: {problem}") from error
    finally:
        lock.release()
        shutil.rmtree(beside, ignore_errors=True)


def check_place(
    out: Path,
    *,
    folder: bool,
    replaceable: Callable[[Path], bool] | None = None,
    mend: str = "delete it or name another",
) -> None:
    """Raise ExportError when `finished_output` could not write there, as far as can be told without trying.

    mend: what to do about a folder that holds something.
    """
    if folder and out.is_dir():
        for entry in sorted(out.iterdir()):
            if replaceable is None:
                raise ExportError(f"the folder {out} is not empty: {mend}")
            if not replaceable(entry):
                raise ExportError(
                    f"{entry} is not one of our results and will not be deleted: move it or name another folder"
                )
    if folder and out.exists() and not out.is_dir():
        raise ExportError(f"{out} is a file: name a folder")
    if not folder and out.is_dir():
        raise ExportError(f"{out} is a folder: name a file")
    parent = next(place for place in out.absolute().parents if place.exists())
    if not parent.is_dir():
        raise ExportError(f"cannot write {out}: {parent} is a file")
    if not os.access(parent, os.W_OK):
        raise ExportError(f"cannot write {out}: no permission to write to {parent}")


def _place_beside(out: Path) -> tuple[Path, BaseFileLock]:
    """A new folder beside `out`, and the system's own lock in it, which shows others for how long we live."""
    from filelock import FileLock

    beside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    lock = FileLock(beside / _AT_WORK)
    try:
        lock.acquire()
    except OSError:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return beside, lock


def _remove_left_overs(out: Path) -> None:
    """Remove the folders of `finished_output` whose process was killed before it could."""
    from filelock import FileLock, Timeout

    ours = re.compile(rf"\.{re.escape(out.name)}\.[a-z0-9_]{{8}}")  # as mkdtemp names them
    for entry in out.parent.iterdir():
        if not ours.fullmatch(entry.name) or not (entry / _AT_WORK).is_file():
            continue
        with suppress(OSError, Timeout), FileLock(entry / _AT_WORK, timeout=0):
            shutil.rmtree(entry, ignore_errors=True)
