"""What floats beside a person in an imagined picture is removed, and nothing that belongs to one."""

from __future__ import annotations

import torch
from torch import Tensor

from avatarcli.diffusion.tones import without_islands
from avatarcli.geometry.fill import blur

SIZE = 128
Y, X = torch.meshgrid(torch.arange(SIZE) + 0.5, torch.arange(SIZE) + 0.5, indexing="ij")


def blob(x: float, y: float, radius: float) -> Tensor:
    """A disc with a soft edge of two pixels: premultiplied RGBA [H, W, 4]."""
    alpha = ((radius - ((X - x).square() + (Y - y).square()).sqrt()) / 2 + 0.5).clamp(0, 1)[..., None]
    return torch.cat([0.6 * alpha.expand(-1, -1, 3), alpha], dim=-1)


def test_small_islands_are_removed_and_large_parts_stay() -> None:
    body, hand, slip, dot = blob(50, 70, 34), blob(108, 70, 12), blob(110, 20, 5), blob(8, 8, 1)
    made = without_islands(body + hand + slip + dot)
    assert torch.equal(made, body + hand)
    # Of a hand that touches the body nothing is lost, however small it is.
    touching = (body + blob(87, 70, 5)).clamp(max=1)
    assert torch.equal(without_islands(touching), touching)


def test_a_soft_edge_is_no_island() -> None:
    """Hair's alpha falls off slowly, and stays where it is faint."""
    alpha = blur(blob(60, 64, 30)[..., 3:], 2.0)
    hair = torch.cat([0.2 * alpha.expand(-1, -1, 3), alpha], dim=-1)
    made = without_islands(hair + blob(120, 10, 3))
    assert (made - hair)[:, :100].abs().max() < 0.01
    assert (hair[..., 3] * ((hair[..., 3] > 0.01) & (hair[..., 3] < 0.1))).sum() > 1  # there is such an edge
    assert made[:20, 110:].max() == 0


def test_one_person_alone_and_nobody_are_left_as_they_are() -> None:
    for picture in (blob(64, 70, 40), torch.zeros(SIZE, SIZE, 4)):
        assert torch.equal(without_islands(picture), picture)
