"""What imagined views agree on: an avatar that is fitted to them in haste, seen by their own cameras.

Views of different groups contradict each other. What a diffusion model makes of pictures of one shape keeps to that shape, and is
sharper than they are (as in Instruct-NeRF2NeRF, arXiv 2303.12789).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from avatarcli.config import DistillConfig
from avatarcli.gaussians.avatar import Avatar
from avatarcli.multiview.plan import Plan
from avatarcli.progress import Progress, SilentProgress
from avatarcli.stages.distill import distill_avatar
from avatarcli.stages.person import Person

FIRST_LOOK = ".first"  # hidden: a working folder, not part of the result
# As much as tells shapes and colors in pictures of 256 pixels: what is finer is made anew.
_ROUGH = DistillConfig(gaussians=16_000, iterations=250, photo_size=256, hold_out=0, correctives=1)


def fit_roughly(person: Person, first: Path, *, seed: int, device: str, progress: Progress) -> None:
    """Write an avatar beside the first views of a person at rest, which are in the folder `first`."""
    told = _Within(progress)
    distill_avatar(person, first, first, _ROUGH, seed=seed, device=device, progress=told, provenance={})


@torch.no_grad()
def pictures_of(avatar: Path, plan: Plan, device: str) -> dict[tuple[int, int], Tensor]:
    """What a stored avatar shows of a plan: premultiplied RGBA [H, W, 4] on the CPU, by (view, frame)."""
    shown = Avatar.load(avatar).to(device)
    rig, cameras, parameters = shown.rig(), plan.cameras.to(device), plan.parameters.to(device)
    pictures = {}
    for view, frame in plan.pictures:
        drawn = shown.render(rig, parameters[frame : frame + 1], cameras[view])
        alpha = drawn.alpha[..., None].clamp(0, 1)
        pictures[view, frame] = torch.cat([drawn.color.clamp(min=0).minimum(alpha), alpha], dim=-1).cpu()
    return pictures


@dataclass(frozen=True)
class _Within(SilentProgress):
    """A fit that is a part of other work. What it warns of is said again when it matters."""

    progress: Progress

    @contextmanager
    def task(self, description: str, total: int) -> Iterator[Callable[[int], None]]:
        with self.progress.task("second look", total) as advance:
            yield advance
