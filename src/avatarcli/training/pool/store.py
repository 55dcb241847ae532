"""A bounded store of encoded people on one device, from which batches are drawn."""

from __future__ import annotations

import torch
from torch import Tensor

from avatarcli.diffusion.packing import frame_count, latent_count
from avatarcli.studio.encoding import EncodedSample
from avatarcli.training.diffusion import MultiViewBatch


class LatentStore:
    """Encoded samples, all of one shape. A full store gives up its oldest one for a new one.

    dtype: of the conditioning in batches; latents are float32.
    """

    def __init__(self, capacity: int, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self.capacity = capacity
        self._device, self._dtype = device, dtype
        self._kept: dict[str, Tensor] = {}
        self.added = 0  # samples ever; the next one's place is the remainder

    def __len__(self) -> int:
        return min(self.added, self.capacity)

    @property
    def views(self) -> int:
        """How many views every sample has."""
        return self._kept["latents"].shape[1]

    def add(self, sample: EncodedSample) -> None:
        """Keep a sample. Raises ValueError when its shapes are not those of the others."""
        record = sample.tensors()
        if not self._kept:
            self._kept = {
                name: torch.zeros(self.capacity, *value.shape, dtype=torch.float16, device=self._device)
                for name, value in record.items()
            }
        for name, kept in self._kept.items():
            if record[name].shape != kept.shape[1:]:
                raise ValueError(f"{name} has shape {list(record[name].shape)}, the others {list(kept.shape[1:])}")
        place = self.added % self.capacity
        for name, kept in self._kept.items():
            kept[place].copy_(record[name])
        self.added += 1

    def draw(self, count: int, generator: torch.Generator, *, views: int, latents: int) -> MultiViewBatch:
        """`count` random people, with `views` random views each (at most all), of the first `latents` latents (at most all)."""
        chosen = torch.randint(len(self), (count,), generator=generator)
        there = self._kept["latents"].shape[1]
        seen = torch.rand(count, there, generator=generator).argsort(1)[:, :views]
        return self.batch(chosen, seen, latents)

    def everything(self) -> MultiViewBatch:
        """All people with all views and latents, in the order in which they were added."""
        views, latents = self._kept["latents"].shape[1:3]
        people = torch.arange(len(self))
        return self.batch(people, torch.arange(views).expand(len(self), -1), latents)

    def batch(self, people: Tensor, views: Tensor, latents: int) -> MultiViewBatch:
        """People [B] with the views [B, V] of each."""
        latents = min(latents, latent_count(self._kept["maps"].shape[2]))
        person, view = people.to(self._device), views.to(self._device)
        lengths = {"maps": frame_count(latents)}
        drawn = EncodedSample(
            **{
                name: value[person]
                if name.startswith("photo")
                else value[person[:, None], view][:, :, : lengths.get(name, latents)]
                for name, value in self._kept.items()
            }
        )
        return MultiViewBatch(
            photo=drawn.photo.float(),
            photo_conditioning=drawn.photo_conditioning().to(self._dtype),
            latents=drawn.latents.float(),
            conditioning=drawn.conditioning().to(self._dtype),
            weight=drawn.weight.float(),
        )
