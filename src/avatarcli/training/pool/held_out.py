"""How a model does with people whom it was never shown: a loss that can be compared, pictures beside the truth, PSNR by angle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import CogVideoXDDIMScheduler
from torch import Tensor, nn

from avatarcli.config import NOISE_LEVELS
from avatarcli.diffusion.autoencoder import SmallVideoAutoencoder
from avatarcli.diffusion.schedule import LatentScene, denoise, make_scheduler
from avatarcli.diffusion.transformer import MultiViewVideoTransformer
from avatarcli.pictures import write_png
from avatarcli.studio.sample import StudioSample
from avatarcli.training.agreement import combined
from avatarcli.training.diffusion import MultiViewBatch, velocity_errors
from avatarcli.training.pool.encoding import encode
from avatarcli.training.pool.store import LatentStore

HELD_OUT_FOLDER = "held-out"
SCORES_FILE = "scores.json"
_LEVELS = (150, 450, 750, NOISE_LEVELS - 1)
_STEPS = 5
_BUCKETS = ("below 30°", "30 to 60°", "60 to 120°", "above 120°", "face")
_BOUNDS = (30, 60, 120)  # degrees between the photo's direction and the view's
_FORWARD = 47  # of the maps: how far a cell's ray goes along the photo's own axis
_ON_SHEET = 4  # people
_BACKGROUND = 0.92


@dataclass
class HeldOut:
    """People to judge by, as pictures, stills with V views of which the last `face_views` see the face only. The first photo of
    each is given.
    """

    people: Sequence[StudioSample]
    autoencoder: SmallVideoAutoencoder
    device: torch.device
    face_views: int = 0
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        store = LatentStore(max(1, len(self.people)), self.device, self.dtype)
        for person in self.people:
            store.add(next(encode(person.to(self.device), self.autoencoder)))
        self._batch = store.everything() if self.people else None
        self._scheduler: CogVideoXDDIMScheduler = make_scheduler()

    @torch.no_grad()
    def loss(self, model: nn.Module) -> tuple[float, float]:
        """The training's loss with the photo given alone, summed over fixed levels and noises; and what it is a sum of."""
        total = torch.zeros(2, dtype=torch.float64)
        for number in range(len(self.people)):
            batch = self._person(number)
            for level in _LEVELS:
                noise = self._noise(batch, 1000 * number + level)
                levels = torch.full((1,), level, device=self.device)
                errors, counts = velocity_errors(model, _scene(batch), batch.weight, self._scheduler, levels, noise)
                total += torch.stack([errors.sum(), counts.sum()]).double().cpu()
        return float(total[0]), float(total[1])

    @torch.no_grad()
    def psnr(self, model: MultiViewVideoTransformer) -> Tensor:
        """Sums of decibels, and how many views they are of, for each bucket [5, 2]."""
        sums = torch.zeros(len(_BUCKETS), 2, dtype=torch.float64)
        for number, person in enumerate(self.people):
            error = (self.imagine(model, number) - _pictures(person)).square().flatten(1).mean(1)
            decibels = -10 * error.clamp(min=1e-9).log10()
            for bucket, value in zip(self._buckets(person), decibels.tolist(), strict=True):
                sums[bucket] += torch.tensor([value, 1.0])
        return sums

    @torch.no_grad()
    def imagine(self, model: MultiViewVideoTransformer, number: int) -> Tensor:
        """A person's views [V, 4, S, S] as the model makes them of the photo, premultiplied RGBA on the CPU."""
        batch = self._person(number)
        noise = self._noise(batch, number)
        latents = denoise(model, _scene(batch), noise, steps=_STEPS)[0, 1:, None]
        hint = self.people[number].hint[0].to(self.device).float() / 255
        pictures = [
            self.autoencoder.decode(view[None].float(), seen[None])[0] for view, seen in zip(latents, hint, strict=True)
        ]
        return torch.cat(pictures).float().clamp(0, 1).cpu()

    @torch.no_grad()
    def sheet(self, model: MultiViewVideoTransformer, path: Path) -> None:
        """For each of a few people a row of the photo and the true views, and below it one of what the model makes."""
        rows = []
        for number, person in enumerate(self.people[:_ON_SHEET]):
            photo = person.photo[:1].cpu().float() / 255
            true, made = _pictures(person), self.imagine(model, number)
            rows += [row(torch.cat([photo, true])), row(torch.cat([torch.zeros_like(photo), made]))]
        if rows:
            write_png(path, torch.cat(rows, dim=-2).permute(1, 2, 0))

    def _person(self, number: int) -> MultiViewBatch:
        assert self._batch is not None
        parts = {name: value[number : number + 1] for name, value in vars(self._batch).items()}
        return MultiViewBatch(**parts)

    def _noise(self, batch: MultiViewBatch, seed: int) -> Tensor:
        shape = (1, 1 + batch.latents.shape[1] * batch.latents.shape[2], *batch.latents.shape[3:])
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(self.device)

    def _buckets(self, person: StudioSample) -> list[int]:
        forward = person.maps[0, :, 0, _FORWARD].float().mean((1, 2)).clamp(-1, 1)
        angles = torch.rad2deg(forward.acos()).tolist()
        found = [sum(angle >= bound for bound in _BOUNDS) for angle in angles]
        return found[: len(found) - self.face_views] + [len(_BUCKETS) - 1] * self.face_views


def mean_losses(groups: Mapping[str, HeldOut], model: nn.Module) -> dict[str, float]:
    """The loss of each group of people, those of all processes together; every process must ask."""
    sums = combined(torch.tensor([group.loss(model) for group in groups.values()], dtype=torch.float64), "sum")
    return {name: float(total / count) for name, (total, count) in zip(groups, sums, strict=True) if count}


def mean_psnr(
    groups: Mapping[str, HeldOut], model: MultiViewVideoTransformer
) -> dict[str, dict[str, tuple[float, int]]]:
    """As `mean_losses`, decibels by the view's angle, and how many views they are of."""
    sums = combined(torch.stack([group.psnr(model) for group in groups.values()]), "sum")
    return {
        name: {b: (float(s / n), int(n)) for b, (s, n) in zip(_BUCKETS, buckets, strict=True) if n}
        for name, buckets in zip(groups, sums, strict=True)
        if buckets[:, 1].sum()
    }


def _scene(batch: MultiViewBatch) -> LatentScene:
    return batch.scene(torch.zeros(batch.latents.shape[:3], dtype=torch.bool))


def row(pictures: Tensor) -> Tensor:
    """RGB [3, S, n S] of pictures [n, 4, S, S] side by side on light grey."""
    return torch.cat(list(pictures[:, :3] + (1 - pictures[:, 3:]) * _BACKGROUND), dim=-1)


def _pictures(person: StudioSample) -> Tensor:
    """The true views [V, 4, S, S] of stills."""
    return person.video[:, 0].cpu().float() / 255
