"""A plan that several tests share: a full grid, which is what the generators' own plans are not."""

from __future__ import annotations

import math

import torch

from avatarcli.multiview.framing import Framing
from avatarcli.multiview.plan import Plan, scheduled_clip


def full_plan(framing: Framing, views: int, frames: int, size: int) -> Plan:
    """`views` cameras all around at eye level, each of which films the whole clip of `frames` frames."""
    yaw = torch.arange(views) / views * 2 * math.pi
    return Plan.full(framing.cameras(yaw, torch.zeros(views), size), scheduled_clip(frames))
