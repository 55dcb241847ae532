"""The common framing: head and shoulders fill the picture from every side."""

from __future__ import annotations

import math

import pytest
import torch

from avatarcli.head.model import PersonalHead
from avatarcli.multiview.framing import DISTANCE, Framing


def test_the_bust_fills_the_picture_from_the_cut_to_the_hair(mean_head: PersonalHead) -> None:
    framing = Framing.of(mean_head.neutral)
    camera = framing.cameras(torch.zeros(1), torch.zeros(1), 100)[0]
    top = float(mean_head.neutral[:, 1].amax())
    # In the plane of the target, the cut of the shoulders lies on the lower edge and the hair just below the upper one.
    pixels, depth = camera.project(torch.tensor([[0.0, -0.255, 0.0], [0.0, top, 0.0], list(framing.target)]))
    assert float(depth[2]) == pytest.approx(DISTANCE)
    assert float(pixels[0, 1]) == pytest.approx(100.0, abs=0.01)
    assert 2 < float(pixels[1, 1]) < 12
    assert pixels[2].tolist() == pytest.approx([50.0, 50.0], abs=1e-3)


@pytest.mark.parametrize("width", [0.0, 0.3])
def test_the_whole_head_is_in_the_picture_all_around(mean_head: PersonalHead, width: float) -> None:
    """Also with hair that reaches `width` metres to each side."""
    hair = torch.tensor([[width, 0.05, 0.0], [-width, 0.05, 0.0], [0.0, 0.05, -width]])
    points = torch.cat([mean_head.neutral, hair])
    head = points[points[:, 1] > -0.1]
    framing = Framing.of(points)
    yaw = torch.linspace(-math.pi, math.pi, 9)
    pixels, depth = framing.cameras(yaw, torch.zeros(9), 64).project(head)
    assert (depth > 0).all()
    # Perspective brings what is nearer than the middle a little further out than the margin of the plane foresees.
    assert pixels.amin() > -0.08 * 64
    assert pixels.amax() < 1.08 * 64


def test_wide_hair_widens_the_frame(mean_head: PersonalHead) -> None:
    narrow = Framing.of(mean_head.neutral)
    wide = Framing.of(torch.cat([mean_head.neutral, torch.tensor([[0.35, 0.0, 0.0]])]))
    assert wide.span == pytest.approx(0.75)
    assert wide.span > narrow.span
    assert wide.target == narrow.target
    # What the shoulders do does not matter.
    assert Framing.of(torch.cat([mean_head.neutral, torch.tensor([[2.0, -0.2, 0.0]])])) == narrow


def test_the_same_framing_at_any_size(mean_head: PersonalHead) -> None:
    framing = Framing.of(mean_head.neutral)
    yaw, pitch = torch.tensor([0.3]), torch.tensor([0.2])
    small, large = framing.cameras(yaw, pitch, 50)[0], framing.cameras(yaw, pitch, 200)[0]
    torch.testing.assert_close(4 * small.project(mean_head.neutral)[0], large.project(mean_head.neutral)[0])


def test_coming_closer_turns_to_the_head() -> None:
    framing = Framing((0.0, -0.06, 0.0), 0.42)
    assert framing.closer(1.0) == framing
    assert framing.closer(2.0) == Framing((0.0, 0.0, 0.0), 0.21)
    assert -0.06 < framing.closer(1.25).target[1] < 0.0
