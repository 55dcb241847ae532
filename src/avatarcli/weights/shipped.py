"""The files under `weights/`: where they are and whether they are whole.

`weights/manifest.json` names every file with its SHA-256, size, licence, source and what it is for. A file is checked
against it the first time a process asks for it.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from avatarcli.errors import WeightsError
from avatarcli.files import sha256_file, shipped_folders

MANIFEST = "manifest.json"
FORMAT_VERSION = 1
ENVIRONMENT_VARIABLE = "AVATAR_WEIGHTS"

_MEND = "reinstall avatarcli, or run `git checkout weights` in a source checkout"


@dataclass(frozen=True)
class WeightsEntry:
    """One row of the manifest."""

    sha256: str
    bytes: int
    licence: str
    source: str
    description: str


@dataclass(frozen=True)
class WeightsCheck:
    """What `verify_all` found of one file; `error` is None when the file is whole."""

    name: str
    path: Path
    entry: WeightsEntry
    error: str | None


def weights_root() -> Path:
    """The folder that holds the weights.

    `AVATAR_WEIGHTS` if set, else the copy inside an installed wheel, else `weights/` of the source checkout.

    Raises:
        WeightsError: none of these exists.
    """
    override = os.environ.get(ENVIRONMENT_VARIABLE)
    if override:
        root = Path(override).expanduser()
        if not root.is_dir():
            raise WeightsError(
                f"{ENVIRONMENT_VARIABLE}={override} is not a folder; unset it or point it at a weights folder"
            )
        return root
    for root in shipped_folders("_weights", "weights"):
        if (root / MANIFEST).is_file():
            return root
    raise WeightsError(f"the weights that ship with avatarcli are missing; reinstall it or set {ENVIRONMENT_VARIABLE}")


def load_manifest() -> dict[str, WeightsEntry]:
    """The manifest of `weights_root()`: entries by file name relative to it, with forward slashes.

    Raises:
        WeightsError: the manifest is missing, unreadable or of another format version.
    """
    path = weights_root() / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content["format_version"]
        if version != FORMAT_VERSION:
            raise WeightsError(f"{path} has format version {version}, this program reads {FORMAT_VERSION}; {_MEND}")
        return {str(name): WeightsEntry(**fields) for name, fields in content["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"cannot read the weights manifest {path} ({error}); {_MEND}") from error


def weights_file(name: str) -> Path:
    """Path of a weights file such as `head/head.safetensors`, checked against the manifest once per process.

    Raises:
        WeightsError: the manifest does not list it, or the file is missing or differs from its SHA-256.
    """
    entry = _entry(name)
    path = weights_root() / name
    _verify(path, entry.sha256, entry.bytes)
    return path


def verify_all() -> list[WeightsCheck]:
    """Check every file of the manifest, reading each anew, in the order of their names."""
    root = weights_root()
    checks = []
    for name, entry in sorted(load_manifest().items()):
        error = _problem(root / name, entry.sha256, entry.bytes)
        checks.append(WeightsCheck(name, root / name, entry, error))
    return checks


def fingerprint(name: str) -> str:
    """The SHA-256 that the manifest records for a weights file, for cache keys; the file is not read."""
    return _entry(name).sha256


def _entry(name: str) -> WeightsEntry:
    manifest = load_manifest()
    if name not in manifest:
        raise WeightsError(f"no weights file is called '{name}'; there are {', '.join(sorted(manifest)) or 'none'}")
    return manifest[name]


@cache
def _verify(path: Path, sha256: str, size: int) -> None:
    # Only success is remembered: `cache` does not keep a call that raised.
    problem = _problem(path, sha256, size)
    if problem is not None:
        raise WeightsError(problem)


def _problem(path: Path, sha256: str, size: int) -> str | None:
    """Why the file is not the one that the manifest describes, or None."""
    try:
        found = path.stat().st_size
        if found != size:
            return f"the weights file {path} is damaged ({found} bytes instead of {size}); {_MEND}"
        whole = sha256_file(path) == sha256
    except FileNotFoundError:
        return f"the weights file {path} is missing; {_MEND}"
    except OSError as error:
        return f"cannot read the weights file {path} ({error.strerror}); {_MEND}"
    if not whole:
        return f"the weights file {path} is damaged (its SHA-256 differs from the manifest); {_MEND}"
    return None
