"""How pictures of a bust are framed: by the generation plan, the renderer and the viewer alike."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avatarcli.geometry.cameras import Camera, orbit_cameras

DISTANCE = 1.3  # metres from the middle of the head: a portrait lens' distance, so that faces are not distorted
_BUST_BOTTOM = -0.255  # metres: the lower edge of the picture cuts the shoulders here
_MARGIN = 0.025  # metres of background above the hair


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

    def cameras(self, yaw: Tensor, pitch: Tensor, size: int) -> Camera:
        """Cameras on the orbit; yaw, pitch [V] in radians, pictures of `size` × `size` pixels."""
        focal = size * DISTANCE / self.span
        return orbit_cameras(yaw, pitch, distance=DISTANCE, target=torch.tensor(self.target), focal=focal, size=size)
