"""Finished groups on disk, so that a run that was killed goes on, and processes read what the others made."""

from __future__ import annotations

import hashlib
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from avatarcli.diffusion.groups import Group, Place
from avatarcli.errors import WorkspaceError
from avatarcli.files import write_atomically


def digest(values: list[object], *tensors: Tensor) -> str:
    """A name of 64 hexadecimal digits for what a result depends on."""
    found = hashlib.sha256(repr(values).encode())
    for tensor in tensors:
        found.update(tensor.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def write_group(folder: Path, number: int, latents: dict[Place, Tensor], key: str) -> None:
    """Store the latents [16, h, w] that a group made. key: what they depend on."""
    tensors = {_name(place): value.contiguous() for place, value in latents.items()}
    write_atomically(_path(folder, number), save(tensors, metadata={"key": key}))


def read_group(folder: Path, number: int, group: Group, key: str) -> dict[Place, Tensor] | None:
    """The latents of a group, where there is a whole file of the same key."""
    try:
        with safe_open(str(_path(folder, number)), framework="pt") as file:
            if (file.metadata() or {}).get("key") == key:
                return {place: file.get_tensor(_name(place)) for place in group.new}
    except (OSError, SafetensorError):
        pass
    return None


def read_round(
    folder: Path, numbers: tuple[int, ...], groups: list[Group], key: str, *, skip: int
) -> dict[Place, Tensor]:
    """The latents that the other processes have just written; `skip` is this one's place among the numbers."""
    latents: dict[Place, Tensor] = {}
    for place, number in enumerate(numbers):
        if place != skip:
            made = read_group(folder, number, groups[number], key)
            if made is None:
                raise WorkspaceError(f"{_path(folder, number)} cannot be read: another process has changed it")
            latents.update(made)
    return latents


def _path(folder: Path, number: int) -> Path:
    return folder / f"group_{number:04d}.safetensors"


def _name(place: Place) -> str:
    clip, latent = place
    return f"c{clip:03d}_t{latent:03d}"
