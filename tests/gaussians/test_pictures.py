"""What the steps of a fit show, and before what."""

from __future__ import annotations

import torch

from avatarcli.gaussians.pictures import Backgrounds


def test_a_background_depends_on_seed_and_step_alone() -> None:
    one, resumed, other = Backgrounds(3, "cpu"), Backgrounds(3, "cpu"), Backgrounds(4, "cpu")
    steps = [0, 1, 255, 256, 700]
    colors = torch.stack([one[step] for step in steps])
    assert torch.equal(torch.stack([resumed[step] for step in reversed(steps)]), colors.flip(0))
    assert len(colors.unique(dim=0)) == len(steps)
    assert colors.min() >= 0
    assert colors.max() < 1
    assert not torch.equal(other[0], one[0])


def test_a_background_is_what_its_own_generator_draws() -> None:
    """As runs of earlier versions had them, so that their checkpoints go on alike."""
    generator = torch.Generator().manual_seed(2 * 1_000_003 + 300)
    assert torch.equal(Backgrounds(2, "cpu")[300], torch.rand(3, generator=generator))
