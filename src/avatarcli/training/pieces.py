"""Tensors in a folder of safetensors files, none larger than asked: some places take only small files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from avatarcli.files import make_ordinary

_INDEX = "index.json"
_HEADER = 65_536  # bytes set aside in each file for names and shapes


def write_pieces(tensors: Mapping[str, Tensor], folder: Path, *, piece_bytes: int | None = None) -> None:
    """Write tensors into an existing folder, cut into files of at most `piece_bytes` (more than 64 KiB; None: no limit)."""
    room = (piece_bytes or 1 << 62) - _HEADER
    files: list[dict[str, Tensor]] = [{}]
    used = 0
    index = {}
    for name, tensor in sorted(tensors.items()):
        flat = tensor.detach().cpu().reshape(-1)
        parts: list[tuple[int, str]] = []
        start = 0
        while start < len(flat) or not parts:
            if used >= room or len(files[-1]) >= 400:  # names of 400 tensors fit the header
                files.append({})
                used = 0
            count = min(len(flat) - start, max((room - used) // flat.element_size(), 1))
            key = f"{len(files[-1])}"
            files[-1][key] = flat[start : start + count].clone()
            parts.append((len(files) - 1, key))
            start, used = start + count, used + count * flat.element_size()
        index[name] = {"shape": list(tensor.shape), "parts": parts}
    for number, content in enumerate(files):
        path = _piece(folder, number)
        save_file(content, path)
        make_ordinary(path)
    (folder / _INDEX).write_text(json.dumps({"files": len(files), "tensors": index}))


def read_pieces(folder: Path) -> dict[str, Tensor]:
    """What `write_pieces` wrote. Raises OSError, ValueError or KeyError when a file is missing or damaged."""
    index = json.loads((folder / _INDEX).read_text())
    try:
        files = [load_file(_piece(folder, number)) for number in range(index["files"])]
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    return {
        name: torch.cat([files[number][key] for number, key in entry["parts"]]).reshape(entry["shape"])
        for name, entry in index["tensors"].items()
    }


def _piece(folder: Path, number: int) -> Path:
    return folder / f"piece_{number:04d}.safetensors"
