"""A bounded store of encoded people on one device, from which batches are drawn."""

from __future__ import annotations

import torch
from torch import Tensor

from avatarcli.diffusion.packing import latent_count, pack_frames
from avatarcli.training.diffusion import MultiViewBatch
from avatarcli.training.pool.encoding import Record


class LatentStore:
    """Records of `encode_sample`, all of one shape. A full store gives up its oldest record for a new one.

    dtype: of the conditioning in batches; latents are float32.
    """

    def __init__(self, capacity: int, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self.capacity = capacity
        self._device, self._dtype = device, dtype
        self._kept: Record = {}
        self.added = 0  # records ever; the next one's place is the remainder

    def __len__(self) -> int:
        return min(self.added, self.capacity)

    @property
    def views(self) -> int:
        """How many views every record has."""
        return self._kept["latents"].shape[1]

    def add(self, record: Record) -> None:
        """Keep a record. Raises ValueError when its shapes are not those of the others."""
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
        kept = self._kept
        frames = kept["maps"].shape[2]
        latents = min(latents, latent_count(frames))
        person = people.to(self._device)
        view = views.to(self._device)
        rows = person[:, None]
        maps = pack_frames(kept["maps"][rows, view][:, :, : 4 * latents - 3])
        conditioning = torch.cat([maps, kept["warp"][rows, view][:, :, :latents]], dim=3)
        photo_maps = pack_frames(kept["photo_maps"][person][:, None])[:, 0]
        return MultiViewBatch(
            photo=kept["photo"][person].float(),
            photo_conditioning=torch.cat([photo_maps, kept["photo_warp"][person]], dim=1).to(self._dtype),
            latents=kept["latents"][rows, view][:, :, :latents].float(),
            conditioning=conditioning.to(self._dtype),
            weight=kept["weight"][rows, view][:, :, :latents].float(),
        )
