"""Training samples in folders of safetensors files, one sample a file, drawn at random."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from avatarcli.errors import UsageError
from avatarcli.training.autoencoder import VideoBatch
from avatarcli.training.diffusion import MultiViewBatch


class SampleFolder:
    """The `*.safetensors` files of a folder.

    Raises:
        UsageError: there is none, or (when drawing) one lacks a tensor, has another shape than the others, or is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.glob("*.safetensors"))
        if not self.files:
            raise UsageError(f"{folder} holds no *.safetensors samples to train on")

    def draw(self, count: int, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Tensor]:
        """`count` random samples on end, with torch's global random numbers; optional tensors where all of them have it."""
        chosen = [self.files[i] for i in torch.randint(len(self.files), (count,)).tolist()]
        samples = [_read(path, required) for path in chosen]
        present = [name for name in optional if all(name in sample for sample in samples)]
        batch = {}
        for name in (*required, *present):
            shapes = {tuple(sample[name].shape) for sample in samples}
            if len(shapes) > 1:
                raise UsageError(f"{chosen[0].parent}: samples differ in the shape of {name}: {sorted(shapes)}")
            batch[name] = torch.stack([sample[name] for sample in samples])
        return batch


def draw_videos(folder: SampleFolder, count: int, device: torch.device | str) -> VideoBatch:
    """Samples with `video` uint8 [F, 4, H, W] (premultiplied RGBA) and, where known, `hint` uint8 [F, 5, H, W]."""
    batch = folder.draw(count, ("video",), ("hint",))
    tensors = {name: value.to(device).float() / 255 for name, value in batch.items()}
    return VideoBatch(tensors["video"], tensors.get("hint"))


def draw_scenes(folder: SampleFolder, count: int, device: torch.device | str) -> MultiViewBatch:
    """Samples with the tensors of a MultiViewBatch by name, without the B, of any floating type."""
    required = ("photo", "photo_conditioning", "latents", "conditioning")
    batch = folder.draw(count, required, ("weight",))
    tensors = {name: value.to(device).float() for name, value in batch.items()}
    return MultiViewBatch(**{name: tensors[name] for name in required}, weight=tensors.get("weight"))


def _read(path: Path, required: tuple[str, ...]) -> dict[str, Tensor]:
    try:
        sample = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"cannot read the sample {path} ({error})") from error
    missing = [name for name in required if name not in sample]
    if missing:
        raise UsageError(f"the sample {path} has no tensor {missing[0]}; it has {', '.join(sorted(sample)) or 'none'}")
    return sample
