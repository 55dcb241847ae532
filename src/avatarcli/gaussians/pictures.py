"""The pictures that an avatar is fitted to, and which of them each step shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from avatarcli.geometry.cameras import Camera
from avatarcli.head.parameters import HeadParameters

FRONTAL = -1  # the moment of the frontal photo, and of close-ups of it
# Pictures are held out for this share of the run. After it the rates are still high enough to take them in, so that the avatar
# is judged by pictures it has not seen, and is yet made of all of them.
_HELD_OUT_UNTIL = 0.7
_BLOCK = 256  # backgrounds that are sent to a device at once


@dataclass(frozen=True)
class TrainingPicture:
    """One picture to be reproduced: premultiplied color [H, W, 3], alpha [H, W], and `trust` [H, W], how much each pixel counts.

    moment: pictures of the same number show the same head parameters.
    """

    camera: Camera
    parameters: HeadParameters
    moment: int
    color: Tensor
    alpha: Tensor
    trust: Tensor

    def to(self, device: str) -> TrainingPicture:
        color, alpha, trust = (tensor.to(device) for tensor in (self.color, self.alpha, self.trust))
        return TrainingPicture(self.camera.to(device), self.parameters.to(device), self.moment, color, alpha, trust)


class PictureSource(Protocol):
    """The training pictures: the photos, then the views. Index 0 is the frontal photo; it and its close-ups alone are never nudged
    or tinted."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> TrainingPicture: ...


class AtHand:
    """Pictures on a device, kept from when they are first asked for."""

    def __init__(self, pictures: PictureSource, device: str) -> None:
        self._pictures, self._device = pictures, device
        self._kept: dict[int, TrainingPicture] = {}

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int) -> TrainingPicture:
        if index not in self._kept:
            self._kept[index] = self._pictures[index].to(self._device)
        return self._kept[index]


class Backgrounds:
    """The color [3] behind the picture of each step, on a device; it depends on seed and step alone.

    A new one each time: what is transparent must stay so before any of them. They are sent in blocks, as a GPU would have to finish
    all its work before each that is sent alone.
    """

    def __init__(self, seed: int, device: str) -> None:
        self._seed, self._device = seed, device
        self._first, self._block = 0, torch.empty(0, 3)

    def __getitem__(self, step: int) -> Tensor:
        if not 0 <= step - self._first < len(self._block):
            self._first = step
            colors = [torch.rand(3, generator=self._generator(n)) for n in range(step, step + _BLOCK)]
            self._block = torch.stack(colors).to(self._device)
        return self._block[step - self._first]

    def _generator(self, step: int) -> torch.Generator:
        return torch.Generator().manual_seed(self._seed * 1_000_003 + step)


@dataclass(frozen=True)
class Schedule:
    """How long and how a fit runs.

    iterations: steps; photo_every: one step in so many shows a photo; limit: Gaussians at most; hold_out: one in so many of the
    pictures after the photos is not shown before `join` (0: all are shown from the start); photos: how many there are.
    """

    iterations: int
    photo_every: int
    limit: int
    seed: int
    hold_out: int = 0
    photos: int = 1

    @property
    def join(self) -> int:
        """The step from which the held-out pictures are shown too."""
        return int(_HELD_OUT_UNTIL * self.iterations) if self.hold_out else 0

    def shown(self, count: int) -> list[int]:
        """Of `count` pictures, those that are shown from the start beside the photos."""
        last = self.photos - 1
        views = range(self.photos, count)
        return [n for n in views if not self.hold_out or (n - last) % self.hold_out != self.hold_out // 2]

    def choose(self, step: int, count: int) -> int:
        """Which of `count` pictures a step shows: photos at regular intervals, the frontal one every other time; views in shuffled
        rounds."""
        if step % self.photo_every == 0 or count == self.photos:
            turn = step // self.photo_every
            return 0 if turn % 2 == 0 or self.photos == 1 else 1 + turn // 2 % (self.photos - 1)
        shown = self.shown(count) if step < self.join else range(self.photos, count)
        turn, place = divmod(step - step // self.photo_every - 1, len(shown))
        order = torch.randperm(len(shown), generator=torch.Generator().manual_seed(self.seed + turn))
        return shown[int(order[place])]
