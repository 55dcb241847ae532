"""What may be missing on a computer: system libraries, which pip cannot bring, and the packages of extras, which it brings only if
asked to."""

from __future__ import annotations

import ctypes
import importlib.util
import sys

from avatarcli.errors import AvatarError, UsageError

# MediaPipe's native half links to these even when it computes on the CPU. Beside them: Debian's and Ubuntu's packages.
MEDIAPIPE_LIBRARIES = {"libEGL.so.1": "libegl1", "libGLESv2.so.2": "libgles2"}

# Extras of `pip install avatarcli`, and the packages that each brings.
EXTRAS = {
    "view": ("viser", "websockets"),
    "speech": ("pocketsphinx",),
    "train": ("accelerate", "h5py"),
    "ray": ("ray",),
}


class MissingLibraryError(AvatarError):
    """A shared library of the operating system is not installed."""


def missing_libraries() -> list[str]:
    """Debian packages of those libraries of MediaPipe's that cannot be loaded here. Empty outside Linux."""
    if not sys.platform.startswith("linux"):
        return []
    return [package for library, package in MEDIAPIPE_LIBRARIES.items() if not _loads(library)]


def install_command(packages: list[str]) -> str:
    """What to type on Debian and Ubuntu."""
    return f"sudo apt-get install -y {' '.join(packages)}"


def library_problem(error: BaseException) -> str | None:
    """One line when an import failed because a system library is missing, else None."""
    text = str(error)
    if not isinstance(error, (ImportError, OSError)) or not any(
        library.split(".so")[0] in text for library in MEDIAPIPE_LIBRARIES
    ):
        return None
    command = install_command(missing_libraries() or list(MEDIAPIPE_LIBRARIES.values()))
    return f"MediaPipe needs a system library that is not installed; run: {command}"


def missing_packages(extra: str) -> list[str]:
    """Packages of an extra that are not installed."""
    return [package for package in EXTRAS[extra] if importlib.util.find_spec(package) is None]


def install_extra(extra: str) -> str:
    """What to type to get an extra."""
    return f"pip install 'avatarcli[{extra}]'"


def check_extra(extra: str, command: str) -> None:
    """Raise UsageError when an extra that a command needs is not installed."""
    if missing := missing_packages(extra):
        raise UsageError(f"{command} needs {' and '.join(missing)}: {install_extra(extra)}")


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
