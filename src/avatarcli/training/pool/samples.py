"""Samples of people as pictures, a file each: held-out people, and real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from avatarcli.errors import UsageError
from avatarcli.files import write_atomically
from avatarcli.studio.sample import StudioSample
from avatarcli.studio.writer import sample_bytes

HELD_OUT_SUFFIX = ".safetensors"
_TENSORS = ("video", "hint", "maps", "weight", "photo", "photo_hint", "photo_maps")


def write_sample(sample: StudioSample, path: Path) -> None:
    """Write a sample's tensors by their names, a whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, sample_bytes(sample.tensors(), sample.number))


def read_sample(path: Path) -> StudioSample:
    """What `write_sample` or `avatar data photos --pictures` wrote, on the CPU.

    Raises:
        UsageError: the file is damaged or holds something else.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            missing = [name for name in _TENSORS if name not in file.keys()]  # noqa: SIM118 (no mapping)
            if missing:
                raise UsageError(
                    f"{path} has no tensor {missing[0]}: samples of real people hold pictures, as "
                    "`avatar data photos --pictures` writes them"
                )
            tensors: dict[str, Any] = {name: file.get_tensor(name) for name in _TENSORS}
            number = int((file.metadata() or {}).get("subject", 0))
    except (OSError, SafetensorError, ValueError) as error:
        raise UsageError(f"cannot read the sample {path} ({error})") from error
    return StudioSample(number=number, **tensors)
