"""Adding Gaussians where pictures are still wrong, and dropping those that show nothing (after Kerbl et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from avatarcli.geometry.rotations import quaternion_to_matrix

_FAINT = 0.02  # opacity below which a Gaussian is dropped
_SHARE = 0.12  # of the Gaussians may be added at once
_SHRINK = 0.8  # a split Gaussian's halves are smaller by this factor
_START, _END, _ROUNDS = 0.15, 0.6, 4  # shares of the run between which density changes, and how often


class Change(NamedTuple):
    """What becomes of the rearranged Gaussians: offset [G, 3] metres at rest, log_shrink [G] added to the log scales."""

    offset: Tensor
    log_shrink: Tensor


@dataclass
class Density:
    """Sums of the pull [G] on each Gaussian (the norm of the gradient of its mean, per pixel) and how often it was pulled [G]."""

    pull: Tensor
    seen: Tensor

    @classmethod
    def empty(cls, count: int, device: torch.device) -> Density:
        return cls(torch.zeros(count, device=device), torch.zeros(count, device=device))

    def add(self, gradient: Tensor, focal: Tensor) -> None:
        """Count one picture's gradient of the posed means [G, 3] (per metre); focal [] in pixels makes pictures comparable."""
        norm = gradient.norm(dim=-1) / focal
        self.pull += norm
        self.seen += (norm > 0).float()

    @staticmethod
    def due(step: int, iterations: int) -> bool:
        """Whether the density changes after this step."""
        length = (_END - _START) * iterations / _ROUNDS
        # Between two changes every Gaussian must have been pulled a few times, else chance chooses which are split.
        return length >= 5 and any(step == int(_START * iterations + k * length) for k in range(1, _ROUNDS + 1))

    def choose(
        self, opacity_logits: Tensor, log_scales: Tensor, quaternions: Tensor, limit: int
    ) -> tuple[Tensor, Change]:
        """Which Gaussian each of the new set comes from [G'], and how it changes.

        Faint ones go. The most strongly pulled are split in two along their longest axis, while there is room.
        """
        kept = (opacity_logits.sigmoid() > _FAINT).nonzero()[:, 0]
        room = min(max(limit - len(kept), 0), int(_SHARE * len(kept)))
        mean_pull = self.pull[kept] / self.seen[kept].clamp(min=1)
        split = kept[mean_pull.topk(min(room, len(kept))).indices]
        longest = log_scales[split].argmax(-1)
        axes = quaternion_to_matrix(quaternions[split])
        axis = axes.gather(-1, longest[:, None, None].expand(-1, 3, 1))[..., 0]
        step = 0.5 * log_scales[split].exp().amax(-1, keepdim=True) * axis
        offset = torch.zeros(len(opacity_logits), 3, device=opacity_logits.device)
        shrink = torch.zeros(len(opacity_logits), device=opacity_logits.device)
        offset[split] = step
        shrink[split] = torch.log(torch.tensor(_SHRINK))
        source = torch.cat([kept, split])
        return source, Change(torch.cat([offset[kept], -step]), torch.cat([shrink[kept], shrink[split]]))
