"""Training samples in folders of safetensors files, one sample a file, drawn at random."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from avatarcli.errors import UsageError
from avatarcli.training.autoencoder import VideoBatch
from avatarcli.training.diffusion import MultiViewBatch

_SCENE = ("photo", "photo_conditioning", "latents", "conditioning")


class _Unlike(UsageError):
    """Samples that do not fit one batch."""


class SampleFolder:
    """The `*.safetensors` files of a folder.

    Raises:
        UsageError: there is none, or (when drawing) one lacks a tensor, has another shape than the others, or is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = sorted(folder.glob("*.safetensors"))
        if not self.files:
            raise UsageError(f"{folder} holds no *.safetensors samples to train on")

    def draw(self, count: int, required: tuple[str, ...], generator: torch.Generator) -> list[dict[str, Tensor]]:
        """`count` random samples."""
        chosen = torch.randint(len(self.files), (count,), generator=generator).tolist()
        return [_read(self.files[i], required) for i in chosen]


def draw_videos(folder: SampleFolder, count: int, device: torch.device | str, generator: torch.Generator) -> VideoBatch:
    """Samples with `video` uint8 [F, 4, H, W] (premultiplied RGBA) and, where known, `hint` uint8 [F, 5, H, W]."""
    with _named(folder):
        return stack_videos(folder.draw(count, ("video",), generator), device)


def stack_videos(samples: Sequence[dict[str, Tensor]], device: torch.device | str) -> VideoBatch:
    """A batch of samples as `draw_videos` finds them."""
    batch = _stack(samples, ("video",), ("hint",))
    tensors = {name: value.to(device).float() / 255 for name, value in batch.items()}
    return VideoBatch(tensors["video"], tensors.get("hint"))


def draw_scenes(
    folder: SampleFolder,
    count: int,
    device: torch.device | str,
    generator: torch.Generator,
    *,
    views: tuple[int, int] | None = None,
    latents: tuple[int, int] | None = None,
) -> MultiViewBatch:
    """Samples with the tensors of a MultiViewBatch by name, without the B, of any floating type.

    A sample of R photos of its person has `photo` [R, 16, h, w], `photo_conditioning` [R, 220, h, w] and `conditioning`
    [R, V, T, 220, h, w], of which one is drawn. views, latents: fewest and most that a batch shows, of those that there are.
    """
    with _named(folder):
        return scene_batch(folder.draw(count, _SCENE, generator), device, generator, views=views, latents=latents)


def scene_batch(
    samples: Sequence[dict[str, Tensor]],
    device: torch.device | str,
    generator: torch.Generator,
    *,
    views: tuple[int, int] | None = None,
    latents: tuple[int, int] | None = None,
) -> MultiViewBatch:
    """A batch of samples as `draw_scenes` finds them."""
    batch = _stack([_one_reference(sample, generator) for sample in samples], _SCENE, ("weight",))
    there = batch["latents"].shape[1:3]
    seen = torch.randperm(there[0], generator=generator)[: _amount(views, there[0], generator)]
    long = _amount(latents, there[1], generator)
    for name in ("latents", "conditioning", "weight"):
        if name in batch:
            batch[name] = batch[name][:, seen.to(batch[name].device), :long]
    tensors = {name: value.to(device).float() for name, value in batch.items()}
    return MultiViewBatch(**{name: tensors[name] for name in _SCENE}, weight=tensors.get("weight"))


@contextmanager
def _named(folder: SampleFolder) -> Iterator[None]:
    """What does not fit is said with its folder."""
    try:
        yield
    except _Unlike as error:
        raise UsageError(f"{folder.folder}: {error}") from error


def _stack(
    samples: Sequence[dict[str, Tensor]], required: tuple[str, ...], optional: tuple[str, ...]
) -> dict[str, Tensor]:
    """The samples' tensors stacked, by name; optional ones if all have them. Raises UsageError where shapes differ."""
    present = [name for name in optional if all(name in sample for sample in samples)]
    batch = {}
    for name in (*required, *present):
        shapes = {tuple(sample[name].shape) for sample in samples}
        if len(shapes) > 1:
            raise _Unlike(f"samples differ in the shape of {name}: {sorted(shapes)}")
        batch[name] = torch.stack([sample[name] for sample in samples])
    return batch


def _amount(limits: tuple[int, int] | None, there: int, generator: torch.Generator) -> int:
    """A random number within the limits, no more than there are."""
    low, high = (min(limit, there) for limit in limits or (there, there))
    return int(torch.randint(low, high + 1, (), generator=generator))


def _one_reference(sample: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """One of the photos of a sample that has several."""
    photos = sample["photo"]
    if photos.ndim == 3:
        return sample
    chosen = int(torch.randint(len(photos), (), generator=generator))
    of_photo = {name: sample[name][chosen] for name in ("photo", "photo_conditioning", "conditioning")}
    return {**sample, **of_photo}


def _read(path: Path, required: tuple[str, ...]) -> dict[str, Tensor]:
    try:
        sample = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"cannot read the sample {path} ({error})") from error
    missing = [name for name in required if name not in sample]
    if missing:
        raise UsageError(f"the sample {path} has no tensor {missing[0]}; it has {', '.join(sorted(sample)) or 'none'}")
    return sample
