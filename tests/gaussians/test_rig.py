"""How Gaussians follow the head: with their triangle, and with nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from avatarcli.gaussians.avatar import Avatar
from avatarcli.gaussians.rig import Rig, lengths
from avatarcli.geometry.rotations import axis_angle_to_matrix, quaternion_to_matrix, rigid
from avatarcli.head.expressions import EXPRESSION_INDEX
from avatarcli.head.parameters import HeadParameters

AvatarMaker = Callable[..., Avatar]


def frame(*, seed: int | None = None, neck: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> HeadParameters:
    """The face at rest, or with a random expression and gaze."""
    rest = HeadParameters.at_rest()
    if seed is not None:
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.rand(1, 52, generator=generator) < 0.15
        rest = replace(
            rest,
            expression=torch.rand(1, 52, generator=generator) * chosen,
            gaze=0.2 * torch.randn(1, 2, 2, generator=generator),
        )
    return replace(rest, neck=torch.tensor([neck]))


def covariance(quaternions: Tensor, scales: Tensor) -> Tensor:
    axes = quaternion_to_matrix(quaternions) * scales[:, None]
    return axes @ axes.transpose(-1, -2)


def place(avatar: Avatar, rig: Rig, parameters: HeadParameters) -> tuple[Tensor, Tensor, Tensor]:
    return rig.motion(parameters).place(avatar.means, avatar.quaternions, avatar.log_scales.exp())


def test_at_rest_nothing_moves(make_avatar: AvatarMaker) -> None:
    avatar = make_avatar()
    means, quaternions, scales = place(avatar, avatar.rig(), frame())
    torch.testing.assert_close(means, avatar.means, atol=1e-6, rtol=0)
    torch.testing.assert_close(scales, avatar.log_scales.exp(), rtol=1e-3, atol=1e-7)
    torch.testing.assert_close(
        covariance(quaternions, scales), covariance(avatar.quaternions, avatar.log_scales.exp()), rtol=1e-2, atol=1e-9
    )


def test_a_pose_of_the_head_moves_everything_rigidly(make_avatar: AvatarMaker) -> None:
    avatar = make_avatar()
    rig = avatar.rig()
    turn, shift = axis_angle_to_matrix(torch.tensor([0.3, -0.7, 0.2])), torch.tensor([0.1, -0.2, 0.3])
    face = frame(seed=1)
    before = place(avatar, rig, face)
    after = place(avatar, rig, replace(face, head_pose=rigid(turn, shift)[None]))
    torch.testing.assert_close(after[0], before[0] @ turn.T + shift, atol=1e-5, rtol=0)
    torch.testing.assert_close(after[2], before[2], rtol=2e-3, atol=1e-7)
    expected = turn @ quaternion_to_matrix(before[1])
    torch.testing.assert_close(quaternion_to_matrix(after[1]), expected, atol=2e-3, rtol=0)


def test_skin_stays_on_the_plane_of_its_triangle(make_avatar: AvatarMaker) -> None:
    avatar = make_avatar(600)
    rig = avatar.rig()
    faces = avatar.head.model.faces
    skin = avatar.binding < len(faces)
    face = frame(seed=2, neck=(0.1, 0.3, 0.0))
    vertices = avatar.head.posed(face)[0]
    rest, posed = avatar.head.neutral[faces[avatar.binding[skin]]], vertices[faces[avatar.binding[skin]]]
    assert (posed - rest).norm(dim=-1).mean() > 0.005  # the face does move
    means, _, _ = place(avatar, rig, face)
    first, second = posed[:, 1] - posed[:, 0], posed[:, 2] - posed[:, 0]
    normal = torch.nn.functional.normalize(torch.linalg.cross(first, second), dim=-1)
    assert ((means[skin] - posed[:, 0]) * normal).sum(-1).abs().max() < 2e-5
    # At the same place within it: barycentric weights are those at rest.
    for points, corners in ((avatar.means[skin], rest), (means[skin], posed)):
        system = torch.stack([corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]], dim=-1).double()
        weights = torch.linalg.lstsq(system, (points - corners[:, 0])[..., None].double()).solution[..., 0]
        if corners is rest:
            kept = weights
    torch.testing.assert_close(weights, kept, atol=5e-3, rtol=0)


def test_discs_stretch_as_their_triangle_does(make_avatar: AvatarMaker) -> None:
    """A head twice as large in every direction carries Gaussians twice as large."""
    avatar = make_avatar(100)
    rig = avatar.rig()
    pose = torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0]))
    means, _, scales = place(avatar, rig, replace(frame(), head_pose=pose[None]))
    torch.testing.assert_close(means, 2 * avatar.means, atol=1e-5, rtol=0)
    torch.testing.assert_close(scales, 2 * avatar.log_scales.exp(), rtol=1e-3, atol=1e-7)


def test_held_gaussians_follow_the_neck_alone(make_avatar: AvatarMaker) -> None:
    avatar = make_avatar(400)
    rig = avatar.rig()
    still = avatar.binding >= len(avatar.head.model.faces)
    assert 50 < int(still.sum()) < 350
    expressive, _, _ = place(avatar, rig, frame(seed=4))
    torch.testing.assert_close(expressive[still], avatar.means[still], atol=1e-6, rtol=0)
    assert (expressive[~still] - avatar.means[~still]).norm(dim=-1).max() > 0.003
    turned, _, _ = place(avatar, rig, frame(neck=(0.0, 0.4, 0.0)))
    both, _, _ = place(avatar, rig, frame(seed=4, neck=(0.0, 0.4, 0.0)))
    torch.testing.assert_close(both[still], turned[still], atol=1e-6, rtol=0)
    above = still & (avatar.means[:, 1] > 0.05)
    assert (turned[above] - avatar.means[above]).norm(dim=-1).min() > 0.002


def test_a_turned_neck_turns_the_axes_of_the_skull(make_avatar: AvatarMaker) -> None:
    avatar = make_avatar()
    skull = avatar.means[:, 1] > 0.05
    angle = 0.5
    _, quaternions, _ = place(avatar, avatar.rig(), frame(neck=(0.0, angle, 0.0)))
    turn = quaternion_to_matrix(quaternions) @ quaternion_to_matrix(avatar.quaternions).transpose(-1, -2)
    expected = axis_angle_to_matrix(torch.tensor([0.0, angle, 0.0]))
    torch.testing.assert_close(turn[skull], expected.expand_as(turn[skull]), atol=2e-3, rtol=0)


def test_pressed_lids_keep_everything_finite(make_avatar: AvatarMaker) -> None:
    avatar = make_avatar(800)
    face = frame()
    for name in ("eyeBlinkLeft", "eyeBlinkRight", "mouthPressLeft", "mouthPressRight", "mouthRollLower", "mouthClose"):
        face.expression[0, EXPRESSION_INDEX[name]] = 1.0
    for values in place(avatar, avatar.rig(), face):
        assert values.isfinite().all()


def test_gradients_flow_to_what_is_placed(make_avatar: AvatarMaker) -> None:
    avatar = make_avatar(60)
    motion = avatar.rig().motion(frame(seed=5, neck=(0.0, 0.2, 0.1)))
    leaves = [t.clone().requires_grad_(True) for t in (avatar.means, avatar.quaternions, avatar.log_scales)]
    means, quaternions, scales = motion.place(leaves[0], leaves[1], leaves[2].exp())
    weights = torch.randn(60, 10, generator=torch.Generator().manual_seed(0))
    (torch.cat([means, quaternions, scales], dim=-1) * weights).sum().backward()
    for leaf in leaves:
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()
        assert (leaf.grad.abs().sum(-1) > 0).all()
    # A step of one millimetre of a mean moves the placed mean by what the gradient says.
    step = 1e-3 * torch.randn(60, 3, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        moved = motion.place(avatar.means + step, avatar.quaternions, avatar.log_scales.exp())[0]
        change = float(((moved - means) * weights[:, :3]).sum())
    assert math.isclose(float((leaves[0].grad * step).sum()), change, rel_tol=2e-2, abs_tol=1e-5)


def test_a_rig_keeps_only_the_triangles_that_carry(make_avatar: AvatarMaker) -> None:
    avatar = make_avatar(50)
    rig = avatar.rig()
    assert len(rig.corners) == len(torch.unique(avatar.binding))
    assert rig.carrier.shape == (50,)
    assert int(rig.corners.max()) < 2 * avatar.head.model.vertex_count


def test_lengths_are_norms_and_pull_no_vector_of_no_length() -> None:
    scale = 10.0 ** torch.linspace(-10, 3, 400)[:, None]
    vectors = torch.randn(2, 400, 3, generator=torch.Generator().manual_seed(0)) * scale
    torch.testing.assert_close(lengths(vectors), vectors.norm(dim=-1), rtol=1e-5, atol=0)
    vectors[0, :5] = 0
    leaf = vectors.clone().requires_grad_(True)
    lengths(leaf).sum().backward()
    assert leaf.grad is not None
    assert (leaf.grad[0, :5] == 0).all()
    rest = vectors.flatten(0, 1)[5:]
    expected = torch.nn.functional.normalize(rest, dim=-1)
    torch.testing.assert_close(leaf.grad.flatten(0, 1)[5:], expected, rtol=1e-4, atol=1e-5)
