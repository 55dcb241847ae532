"""What preprocessing knows about a photo: where the camera stands, and what the head in front of it looks like."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from avatarcli.geometry.cameras import Camera


@dataclass(frozen=True)
class HeadParameters:
    """T frames of one head: expression [T, 52], gaze [T, 2, 2] (radians, see `PersonalHead.vertices`), neck [T, 3]
    (axis-angle), head_pose [T, 4, 4] (world from head: moves the whole bust)."""

    expression: Tensor
    gaze: Tensor
    neck: Tensor
    head_pose: Tensor

    def __len__(self) -> int:
        return self.expression.shape[0]

    def __getitem__(self, index: slice | Tensor) -> HeadParameters:
        return HeadParameters(self.expression[index], self.gaze[index], self.neck[index], self.head_pose[index])

    def to(self, device: torch.device | str) -> HeadParameters:
        return HeadParameters(*(t.to(device) for t in (self.expression, self.gaze, self.neck, self.head_pose)))

    def placed(self, points: Tensor) -> Tensor:
        """Points [T, P, 3] of the head's own frame in the world."""
        return points @ self.head_pose[:, :3, :3].transpose(-1, -2) + self.head_pose[:, None, :3, 3]

    @classmethod
    def at_rest(cls, frames: int = 1) -> HeadParameters:
        """The neutral face, looking ahead."""
        return cls(
            torch.zeros(frames, 52),
            torch.zeros(frames, 2, 2),
            torch.zeros(frames, 3),
            torch.eye(4).repeat(frames, 1, 1),
        )


@dataclass(frozen=True)
class Track:
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
    def load(cls, path: Path) -> Track:
        data = load_file(path)
        width, height = data.pop("size").tolist()
        camera = Camera(data.pop("world_to_camera"), data.pop("K"), width, height)
        return cls(camera=camera, **data)
