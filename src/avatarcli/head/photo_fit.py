"""What preprocessing knows about a photo: where the camera stands, and what the head in front of it looks like."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from avatarcli.geometry.cameras import Camera
from avatarcli.head.parameters import HeadParameters


@dataclass(frozen=True)
class PhotoFit:
    """The fit of the head model to one photo. Pixels are those of the cropped photo.

    camera: a single camera whose world is the head model's own frame. identity [K] standard deviations; residual [N, 3]
    metres, added to the vertices at rest; expression [52]; gaze [2, 2]; landmarks [478, 2] pixels; scores [52]: the
    detector's own ARKit guesses.
    """

    camera: Camera
    identity: Tensor
    residual: Tensor
    expression: Tensor
    gaze: Tensor
    landmarks: Tensor
    scores: Tensor

    def parameters(self) -> HeadParameters:
        """The photo's own expression as a single frame. The head's pose is in the camera."""
        rest = HeadParameters.at_rest()
        return HeadParameters(self.expression[None], self.gaze[None], rest.neck, rest.head_pose)

    def save(self, path: Path) -> None:
        """Write a safetensors file. Raises OSError."""
        tensors = {
            "world_to_camera": self.camera.world_to_camera,
            "K": self.camera.K,
            "size": torch.tensor([self.camera.width, self.camera.height]),
            "identity": self.identity,
            "residual": self.residual,
            "expression": self.expression,
            "gaze": self.gaze,
            "landmarks": self.landmarks,
            "scores": self.scores,
        }
        save_file({key: value.contiguous() for key, value in tensors.items()}, path)

    @classmethod
    def load(cls, path: Path) -> PhotoFit:
        """Read what `save` wrote. Raises OSError or SafetensorError when there is no such file."""
        data = load_file(path)
        width, height = data.pop("size").tolist()
        camera = Camera(data.pop("world_to_camera"), data.pop("K"), width, height)
        return cls(camera=camera, **data)
