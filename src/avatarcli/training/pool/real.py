"""The real people of a training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from avatarcli.errors import UsageError
from avatarcli.studio.sample import StudioSample
from avatarcli.training.pool.encoding import Tone
from avatarcli.training.settings import PoolTable


def real_files(pool: PoolTable) -> list[Path]:
    """Those of the settings, by name. Raises UsageError when there are none beside those who are held out."""
    if pool.real is None:
        return []
    files = sorted(Path(pool.real).glob("*.safetensors"))
    if len(files) <= pool.real_held_out:
        raise UsageError(
            f"{pool.real} holds {len(files)} samples of real people, of which {pool.real_held_out} are held out: "
            "name a folder with more, or lower real_held_out of [pool]"
        )
    return files


def in_other_colors(files: Sequence[Path], variants: int, device: torch.device) -> Iterator[StudioSample]:
    """Everybody so many times, first as they are, then in other colors."""
    for number, path in enumerate(files):
        sample = StudioSample.load(path).to(device)
        yield sample
        for variant in range(1, variants):
            yield Tone.draw(np.random.default_rng([number, variant])).recolored(sample)
