"""How pictures of a bust are framed: by the generation plan, the renderer and the viewer alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatarcli.geometry.cameras import Camera, orbit_cameras

DISTANCE = 1.3  # metres from the middle of the head: a portrait lens' distance, so that faces are not distorted
_BUST_BOTTOM = -0.255  # metres: the lower edge of the picture cuts the shoulders here
_MARGIN = 0.025  # metres of background above the hair
_HEAD_ONLY = 0.6  # of the bust's window: side of one with the head in its middle


@dataclass(frozen=True)
class Framing:
    """How a camera frames the bust: it looks at `target` [3] and spans `span` metres there."""

    target: tuple[float, float, float]
    span: float

    @classmethod
    def of(cls, points: Tensor) -> Framing:
        """Frame a person from the shoulders to the top of the hair. points [N, 3]: the surface at rest, metres."""
        head = points[points[:, 1] > -0.1]
        top, radius = float(head[:, 1].amax()), float(head[:, [0, 2]].norm(dim=-1).amax())
        low, high = _BUST_BOTTOM, top + _MARGIN
        span = max(high - low, 2 * radius + 2 * _MARGIN)
        return cls((0.0, 0.5 * (low + high), 0.0), span)

    def closer(self, zoom: float) -> Framing:
        """The same person `zoom` times as large. What shows less than the whole bust has the head in its middle."""
        shown = 1 / zoom
        bust = _share_of_bust(shown)
        x, y, z = self.target
        return Framing((bust * x, bust * y, bust * z), self.span * shown)

    def cameras(self, yaw: Tensor, pitch: Tensor, size: int) -> Camera:
        """Cameras on the orbit; yaw, pitch [V] in radians, pictures of `size` × `size` pixels."""
        focal = size * DISTANCE / self.span
        return orbit_cameras(yaw, pitch, distance=DISTANCE, target=torch.tensor(self.target), focal=focal, size=size)


@dataclass(frozen=True)
class Window:
    """A square part of a picture, in whole pixels."""

    left: int
    top: int
    side: int

    @classmethod
    def framing(cls, framing: Framing, camera: Camera) -> Window:
        """What the plan's cameras would show of a person at rest, as far as the picture of `camera` reaches: a picture
        that ends inside a person would teach that people end there."""
        pixels, depth = camera.project(torch.tensor([framing.target, (0.0, 0.0, 0.0)]))
        wanted = float(camera.K[0, 0]) * framing.span / float(depth[0])
        side = max(1, min(round(wanted), camera.width, camera.height))
        bust = _share_of_bust(side / wanted)
        left, top = (round(float(v) - side / 2) for v in torch.lerp(pixels[1], pixels[0], bust))
        return cls(min(max(left, 0), camera.width - side), min(max(top, 0), camera.height - side), side)

    def camera(self, camera: Camera, size: int) -> Camera:
        """The camera that takes this part of its picture with `size` × `size` pixels."""
        return camera.cropped(self.left, self.top, self.side, self.side).resized(size, size)

    @property
    def part(self) -> tuple[slice, slice]:
        """Its rows and columns."""
        return slice(self.top, self.top + self.side), slice(self.left, self.left + self.side)

    def of(self, picture: NDArray[np.generic]) -> NDArray[np.generic]:
        return picture[self.part]


def _share_of_bust(shown: float) -> float:
    """How much a picture that shows this part of the bust's window aims at the bust's middle, [0, 1]; the rest is the head's:
    what shows less than the whole bust had better show the head."""
    return min(max((shown - _HEAD_ONLY) / (1 - _HEAD_ONLY), 0.0), 1.0)
