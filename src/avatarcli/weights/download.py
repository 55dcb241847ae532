"""Fetching models from a Hugging Face hub. Like `fetch_judges`, it goes to the network only when the user asks for it.

Only JSON and safetensors files of the model's parts are fetched. huggingface_hub lists and transfers them. Its
`snapshot_download` starts a half-fetched file anew after its process has ended, which matters for files of gigabytes, so partial
files are kept here.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from avatarcli.errors import AvatarError, UsageError, WeightsError
from avatarcli.files import explain_io_error, sha256_file, write_json
from avatarcli.progress import Progress
from avatarcli.weights.models import AUTOENCODER_FOLDERS, TRANSFORMER_FOLDER, models_root
from avatarcli.workspace import slug

SOURCE_FILE = "source.json"
_HUB = "https://huggingface.co"
_PARTS = (TRANSFORMER_FOLDER, *AUTOENCODER_FOLDERS)
_TEXT_PARTS = ("text_encoder", "tokenizer")  # what `avatar weights null-text` reads
_SAFE_NAME = re.compile(r"([\w-]+)/[\w][\w.-]*\.(?:json|safetensors|model)")
_SPARE = 64 << 20  # bytes that are left free on the disk


@dataclass(frozen=True)
class RemoteModel:
    """A repository of a hub."""

    repository: str
    revision: str = "main"
    hub: str | None = None  # default: $HF_ENDPOINT, else huggingface.co


@dataclass(frozen=True)
class RemoteFile:
    """A file of it. sha256: of its content, where it is a large file; else git's own hash of it."""

    name: str
    bytes: int
    sha256: str | None
    git_sha1: str | None


KNOWN_MODELS = {"cogvideox-2b": RemoteModel("zai-org/CogVideoX-2b")}  # Apache-2.0


def pull_model(name: str, to: Path | None, progress: Progress, *, text_encoder: bool = False) -> Path:
    """Fetch a model into `to`, by default the user's cache, where `--weights` finds it; the folder.

    name: one of KNOWN_MODELS, `owner/repository`, or the address of a repository's page. text_encoder: its text encoder too.

    A fetch that was cut off goes on where it was. Every file is checked against the hub's hash of it, and the folder takes its
    place only when all are there.

    Raises:
        UsageError: the name cannot be one.
        WeightsError: the hub cannot be reached, has no such model, or the disk is too small.
    """
    remote = _remote(name)
    known = slug(name) if name in KNOWN_MODELS else slug(remote.repository.split("/")[1])
    folder = to.expanduser() if to is not None else models_root() / known
    if (folder / SOURCE_FILE).is_file():
        progress.info(f"{folder} is there already; delete it to fetch it again")
        return folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise WeightsError(f"{folder} is in the way: delete it or choose another place with --to")
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        partial.mkdir(parents=True, exist_ok=True)
        commit, files = _list_files(remote, _PARTS + (_TEXT_PARTS if text_encoder else ()))
        _check_room(partial, files)
        with progress.task("fetch", sum(file.bytes for file in files)) as advance:
            for file in files:
                _fetch(remote, commit, file, partial / file.name, advance)
        source = {"repository": remote.repository, "commit": commit, "files": [asdict(file) for file in files]}
        write_json(partial / SOURCE_FILE, source)
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)
    except AvatarError:
        raise
    except Exception as error:  # the hub's library has errors of its own, of another library in each of its versions
        problem = explain_io_error(error, partial) if isinstance(error, OSError) else None
        raise _unreachable(remote, error) if problem is None else WeightsError(problem) from error
    finally:
        with suppress(OSError):
            partial.rmdir()  # if there is nothing in it to go on with
    return folder


def _remote(name: str) -> RemoteModel:
    if name in KNOWN_MODELS:
        return KNOWN_MODELS[name]
    address = urlsplit(name)
    match = re.fullmatch(r"/?([\w.-]+/[\w.-]+)(?:/tree/([\w.-]+))?/?", address.path)
    if match is None or address.scheme not in ("", "http", "https"):
        known = ", ".join(KNOWN_MODELS)
        raise UsageError(f"'{name}' names no model: use {known}, owner/repository, or a repository's https address")
    hub = f"{address.scheme}://{address.netloc}" if address.netloc else None
    return RemoteModel(match[1], match[2] or "main", hub)


def _endpoint(remote: RemoteModel) -> str:
    return (remote.hub or os.environ.get("HF_ENDPOINT") or _HUB).rstrip("/")


def _list_files(remote: RemoteModel, parts: tuple[str, ...]) -> tuple[str, list[RemoteFile]]:
    """The commit that a revision is now, and the files of the parts."""
    from huggingface_hub import HfApi

    # Without the user's token: these models are public.
    info: Any = HfApi(endpoint=_endpoint(remote), token=False).model_info(
        remote.repository, revision=remote.revision, files_metadata=True, timeout=30
    )
    files = []
    for entry in info.siblings or ():
        match = _SAFE_NAME.fullmatch(entry.rfilename)
        if match is not None and match[1] in parts:
            sha256 = entry.lfs.sha256 if entry.lfs else None
            files.append(RemoteFile(entry.rfilename, int(entry.size), sha256, None if sha256 else entry.blob_id))
    folders = {file.name.split("/")[0] for file in files if file.name.endswith(".safetensors")}
    if TRANSFORMER_FOLDER not in folders or not folders.intersection(AUTOENCODER_FOLDERS):
        raise WeightsError(
            f"{remote.repository} is not a model for avatarcli: it needs {TRANSFORMER_FOLDER}/ and "
            f"{' or '.join(f'{name}/' for name in AUTOENCODER_FOLDERS)} with safetensors"
        )
    return str(info.sha), files


def _check_room(folder: Path, files: list[RemoteFile]) -> None:
    missing = sum(file.bytes - _size(folder / file.name) - _size(_unfinished(folder / file.name)) for file in files)
    free = shutil.disk_usage(folder).free
    if missing + _SPARE > free:
        raise WeightsError(
            f"{missing / 1e9:.1f} GB are to be fetched and {folder.parent} has {free / 1e9:.1f} GB free: "
            "free some space or choose another place with --to"
        )


class _Counted(io.FileIO):
    """A file that tells how many bytes are written to it."""

    def __init__(self, path: Path, advance: Callable[[int], None]) -> None:
        super().__init__(path, "ab")
        self._advance = advance
        advance(self.tell())

    def write(self, content: Any) -> int:
        self._advance(len(content))
        return super().write(content)


def _fetch(remote: RemoteModel, commit: str, file: RemoteFile, path: Path, advance: Callable[[int], None]) -> None:
    """Have a whole file at `path`, from wherever an earlier run left it."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub import logging as hub_logging
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if _size(path) == file.bytes and path.is_file():
        advance(file.bytes)
        return  # it was checked before it got its name
    # What it says of its retries, and its bars, would stand between our own.
    hub_logging.set_verbosity_error()
    disable_progress_bars()
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = _unfinished(path)
    if _size(unfinished) > file.bytes:
        unfinished.unlink()
    url = hf_hub_url(remote.repository, file.name, revision=commit, endpoint=_endpoint(remote))
    with _Counted(unfinished, advance) as stream:
        http_get(
            url, stream, resume_size=stream.tell(), expected_size=file.bytes, headers={"Accept-Encoding": "identity"}
        )
    if not _is_whole(unfinished, file):
        unfinished.unlink()
        raise WeightsError(f"{file.name} of {remote.repository} arrived damaged: run the command again")
    unfinished.replace(path)


def _is_whole(path: Path, file: RemoteFile) -> bool:
    if path.stat().st_size != file.bytes:
        return False
    if file.sha256 is not None:
        return sha256_file(path) == file.sha256
    if file.git_sha1 is not None:
        blob = hashlib.sha1(f"blob {file.bytes}\0".encode() + path.read_bytes(), usedforsecurity=False)
        return blob.hexdigest() == file.git_sha1
    return True


def _unfinished(path: Path) -> Path:
    return path.with_name(f"{path.name}.unfinished")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _unreachable(remote: RemoteModel, error: Exception) -> WeightsError:
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return WeightsError(
        f"cannot fetch {remote.repository} from {_endpoint(remote)} ({reason.rstrip('.')}): check the name and the connection, "
        "then run the command again; it continues where it stopped"
    )
