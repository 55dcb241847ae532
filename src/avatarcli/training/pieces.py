"""Tensors in a folder of safetensors files, none larger than asked: some places take only small files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
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


def stream_pieces(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """What `write_pieces` wrote, one tensor after another, so that only one need be in memory.

    Raises OSError, ValueError or KeyError when a file is missing or damaged.
    """
    index = json.loads((folder / _INDEX).read_text())
    try:
        with ExitStack() as stack:
            files = [
                stack.enter_context(safe_open(str(_piece(folder, number)), framework="pt"))
                for number in range(index["files"])
            ]
            for name, entry in index["tensors"].items():
                parts = [files[number].get_tensor(key) for number, key in entry["parts"]]
                yield name, torch.cat(parts).reshape(entry["shape"])
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def piece_shapes(folder: Path) -> dict[str, list[int]]:
    """The shapes of what `write_pieces` wrote. Raises as `stream_pieces`."""
    index = json.loads((folder / _INDEX).read_text())
    return {name: entry["shape"] for name, entry in index["tensors"].items()}


def _piece(folder: Path, number: int) -> Path:
    return folder / f"piece_{number:04d}.safetensors"
