"""Whole generator models: which there are, where they are, and the hash of what they hold.

A model is a folder with `transformer/` and `autoencoder/` (or `vae/`, as diffusers names it). One may ship under `weights/`;
others are fetched by `avatar weights pull` into the user's cache, or are folders that the user names.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Literal

from platformdirs import user_cache_path

from avatarcli.config import GenerateConfig
from avatarcli.errors import WeightsError
from avatarcli.files import sha256_file, write_json
from avatarcli.weights.shipped import load_manifest, weights_file, weights_root

SHIPPED_MODEL = "mmvdm-mini"
TRANSFORMER_FOLDER = "transformer"
AUTOENCODER_FOLDERS = ("autoencoder", "vae")
ENVIRONMENT_VARIABLE = "AVATAR_MODELS"

_DIGESTS = ".digests.json"
_REMEMBERED_FROM = 64 << 20  # bytes: hashing a smaller file takes less than a fifth of a second


def models_root() -> Path:
    """Where pulled models are: `$AVATAR_MODELS`, else a folder of the user's cache. It need not exist."""
    override = os.environ.get(ENVIRONMENT_VARIABLE)
    return Path(override).expanduser() if override else user_cache_path("avatarcli", appauthor=False) / "models"


def pulled_models() -> list[str]:
    """Names of the models in `models_root()`."""
    root = models_root()
    return sorted(p.name for p in root.iterdir() if p.is_dir() and p.name[0] != ".") if root.is_dir() else []


def find_model(weights: str | None) -> Path:
    """The folder of a model: a path, a name that ships or was pulled, or None for the one that ships.

    Raises:
        WeightsError: there is none, or the one that ships is damaged.
    """
    if weights in (None, SHIPPED_MODEL) and (files := _shipped_files()):
        for name in files:
            weights_file(name)
        return weights_root() / SHIPPED_MODEL
    if weights is None:
        raise WeightsError(
            "no trained mmvdm weights ship with this version: name a model with --weights, or use --generator reproject"
        )
    for folder in (Path(weights).expanduser(), models_root() / weights):
        if folder.is_dir():
            _check_parts(folder)
            return folder
    there = ", ".join(pulled_models()) or "none"
    raise WeightsError(
        f"no model folder {weights}, and no model of that name was pulled (there: {there}); see `avatar weights pull`"
    )


def autoencoder_folder(model: Path) -> Path:
    """The autoencoder of a model's folder."""
    return next((model / n for n in AUTOENCODER_FOLDERS if (model / n).is_dir()), model / AUTOENCODER_FOLDERS[0])


def find_transformer(base: str) -> Path:
    """A transformer to start training from: its own folder, or that of a whole model, by path or name.

    Raises:
        WeightsError: there is none.
    """
    folder = Path(base).expanduser()
    return folder if (folder / "config.json").is_file() else find_model(base) / TRANSFORMER_FOLDER


def model_digest(model: Path) -> str:
    """SHA-256 of all that a model's folder says, by its files' names and contents; where it lies does not matter."""
    digest = hashlib.sha256()
    for part in (model / TRANSFORMER_FOLDER, autoencoder_folder(model)):
        for path in sorted(p for p in part.iterdir() if p.suffix in (".json", ".safetensors")):
            digest.update(f"{part.name}/{path.name} {_remembered_sha256(path)}\n".encode())
    return digest.hexdigest()


def generator_of(config: GenerateConfig) -> Literal["reproject", "mmvdm"]:
    """What `auto` means here: mmvdm when its trained weights ship, else reproject."""
    if config.generator == "auto":
        return "mmvdm" if _shipped_files() else "reproject"
    return config.generator


def _shipped_files() -> list[str]:
    return [name for name in load_manifest() if name.startswith(f"{SHIPPED_MODEL}/")]


def _check_parts(folder: Path) -> None:
    for part in (folder / TRANSFORMER_FOLDER, autoencoder_folder(folder)):
        if not (part / "config.json").is_file():
            raise WeightsError(
                f"{folder} is not a model: {part} has no config.json; name a folder with "
                f"{TRANSFORMER_FOLDER}/ and {AUTOENCODER_FOLDERS[0]}/"
            )


def _remembered_sha256(path: Path) -> str:
    """A file's SHA-256. Those of large files are remembered in the cache, by path, size and time."""
    state = path.stat()
    if state.st_size < _REMEMBERED_FROM:
        return sha256_file(path)
    store, key = models_root() / _DIGESTS, f"{path.resolve()} {state.st_size} {state.st_mtime_ns}"
    known: dict[str, str] = {}
    with suppress(OSError, ValueError):
        known = json.loads(store.read_text(encoding="utf-8"))
    if key not in known:
        known[key] = sha256_file(path)
        with suppress(OSError):  # a cache that cannot be written only costs time
            store.parent.mkdir(parents=True, exist_ok=True)
            write_json(store, known)
    return known[key]
