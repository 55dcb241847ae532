"""An avatar before its fit: posed on the CPU, drawn on the device that it is given."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from avatarcli.gaussians.avatar import Avatar
from avatarcli.gaussians.rasterize import rasterize
from avatarcli.gaussians.start import Start
from avatarcli.head.expressions import EXPRESSION_INDEX
from avatarcli.head.model import PersonalHead
from avatarcli.head.parameters import HeadParameters
from drawing import drawn_on
from toy_photos import SIZE, bare, view


def talking() -> HeadParameters:
    expression = torch.zeros(1, 52)
    expression[0, EXPRESSION_INDEX["jawOpen"]] = 0.8
    return replace(HeadParameters.at_rest(), expression=expression)


@pytest.fixture(scope="module")
def avatar(mean_head: PersonalHead) -> Avatar:
    return bare(mean_head)


def test_it_shows_what_its_avatar_shows_in_every_pose(avatar: Avatar) -> None:
    start, camera = Start(avatar, "cpu"), view(avatar.head, 20.0)
    turned = replace(talking(), neck=torch.tensor([[0.0, 0.3, 0.0]]))
    shifted = replace(talking(), head_pose=torch.eye(4)[None] + 0.01 * torch.eye(4)[3].expand(1, 4, 4).mT)
    for parameters in (HeadParameters.at_rest(), talking(), turned, shifted, HeadParameters.at_rest()):
        drawn, wanted = start.draw(parameters, camera), avatar.render(avatar.rig(), parameters, camera)
        assert torch.equal(drawn.color, wanted.color)
        assert torch.equal(drawn.alpha, wanted.alpha)


def test_a_pose_is_worked_out_once(avatar: Avatar) -> None:
    start = Start(avatar, "cpu")
    assert start.splats(talking()) is start.splats(talking())
    assert start.splats(talking()) is not start.splats(HeadParameters.at_rest())


def test_depth_is_that_of_the_first_surface(avatar: Avatar) -> None:
    start, camera = Start(avatar, "cpu"), view(avatar.head, 0.0)
    nose = avatar.head.neutral[avatar.head.model.in_regions("nose")]
    pixels, depth = camera.project(nose[nose[:, 2].argmax()][None])
    column, row = pixels[0].long().tolist()
    assert float(start.depth(HeadParameters.at_rest(), camera)[row, column]) == pytest.approx(float(depth), abs=0.01)


def test_it_is_drawn_on_its_device(avatar: Avatar, monkeypatch: pytest.MonkeyPatch) -> None:
    devices, start, camera = drawn_on(monkeypatch), Start(avatar, "elsewhere"), view(avatar.head, 0.0)
    start.draw(HeadParameters.at_rest(), camera)
    start.depth(HeadParameters.at_rest(), camera)
    assert devices == ["elsewhere"] * 2


def test_what_is_drawn_elsewhere_is_sent_there(avatar: Avatar) -> None:
    """No device but the CPU is sure to be here. `meta` holds no values, so the CPU's kernels cannot take them from there."""
    splats = avatar.splats(avatar.rig(), HeadParameters.at_rest())
    with pytest.raises(NotImplementedError, match="meta"):
        rasterize(*splats, view(avatar.head, 0.0), device="meta")
    assert rasterize(*splats, view(avatar.head, 0.0), device="cpu").color.shape == (SIZE, SIZE, 3)
