"""What a head does: expression, gaze, neck and pose, frame by frame."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


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

    def in_head(self, points: Tensor) -> Tensor:
        """World points [..., 3] in the head's own frame, at the first of the frames."""
        return (points - self.head_pose[0, :3, 3]) @ self.head_pose[0, :3, :3]

    @classmethod
    def at_rest(cls, frames: int = 1) -> HeadParameters:
        """The neutral face, looking ahead."""
        return cls(
            torch.zeros(frames, 52),
            torch.zeros(frames, 2, 2),
            torch.zeros(frames, 3),
            torch.eye(4).repeat(frames, 1, 1),
        )
