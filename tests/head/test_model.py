"""The head model: what it is at rest, and that expressions, gaze and neck move what they should and nothing else."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from avatarcli.errors import WeightsError
from avatarcli.head.expressions import EXPRESSION_INDEX, EXPRESSION_NAMES, expression_vector
from avatarcli.head.model import PARTS, REGIONS, HeadModel, PersonalHead, gaze_from_expression, load_head_model

MIRROR = torch.tensor([-1.0, 1.0, 1.0])
CHIN, NOSE_TIP = 152, 4
LIDS = {"Right": (159, 145), "Left": (386, 374)}  # MediaPipe's upper and lower lid in the middle of the eye
IRISES = {"Right": 468, "Left": 473}


def posed(
    head: PersonalHead,
    weights: dict[str, float] | None = None,
    *,
    gaze: Tensor | None = None,
    neck: Tensor | None = None,
) -> Tensor:
    """Vertices [N, 3] of one face."""
    expression = torch.tensor([expression_vector(weights or {})])
    gaze = torch.zeros(1, 2, 2) if gaze is None else gaze[None]
    return head.vertices(expression, gaze, torch.zeros(1, 3) if neck is None else neck[None])[0]


def lid_gap(head: PersonalHead, vertices: Tensor, side: str) -> float:
    upper, lower = head.model.landmarks(vertices)[list(LIDS[side])]
    return float((upper - lower).norm())


def test_the_arrays_fit_together(model: HeadModel) -> None:
    count, faces, size = model.vertex_count, len(model.faces), model.identity_size
    assert model.mean.shape == (count, 3)
    assert model.identity_basis.shape == (size, count, 3)
    assert model.expression_basis.shape == (52, count, 3)
    assert model.face_uv.shape == model.faces.shape == (faces, 3)
    assert model.face_part.shape == (faces,)
    assert model.region.shape == model.mirror.shape == (count,)
    assert model.skinning.shape == (count, 5)
    assert model.landmark_triangles.shape == model.landmark_weights.shape == (478, 3)
    assert model.joint_basis.shape == (size, len(model.joint_names), 3)
    assert int(model.faces.max()) == count - 1
    assert int(model.face_uv.max()) == len(model.uv) - 1
    assert int(model.region.max()) < len(REGIONS)
    assert model.uv.amin() >= 0
    assert model.uv.amax() <= 1
    # The parts follow each other without a gap, and triangles stay within theirs.
    assert [start for start, _ in model.part_range] == [0, *(end for _, end in model.part_range[:-1])]
    assert model.part_range[-1][1] == count
    for index, name in enumerate(PARTS):
        rows = model.part(name)
        own = model.faces[model.face_part == index]
        assert len(own) > 0
        if not name.startswith("teeth"):  # see test_no_triangle_joins_the_rows_of_teeth
            assert own.min() >= rows.start
            assert own.max() < rows.stop
    torch.testing.assert_close(model.skinning.sum(1), torch.ones(count), atol=1e-3, rtol=0)
    torch.testing.assert_close(model.landmark_weights.sum(1), torch.ones(478), atol=1e-4, rtol=0)


def test_the_mean_is_a_head_in_metres(model: HeadModel) -> None:
    skull = model.mean[model.in_regions("face", "scalp", "nose")]
    width, height, depth = (skull.amax(0) - skull.amin(0)).tolist()
    assert 0.13 < width < 0.17
    assert 0.19 < height < 0.26
    assert 0.18 < depth < 0.23
    assert model.landmarks(model.mean)[NOSE_TIP, 2] > skull[:, 2].amax() - 0.005  # it looks along +z


def test_at_rest_it_is_the_identity_it_was_made_of(model: HeadModel, mean_head: PersonalHead) -> None:
    torch.testing.assert_close(mean_head.neutral, model.mean, atol=0, rtol=0)
    torch.testing.assert_close(posed(mean_head), model.mean, atol=1e-8, rtol=0)
    identity = torch.randn(model.identity_size, generator=torch.Generator().manual_seed(0))
    residual = torch.full_like(model.mean, 0.01)
    person = PersonalHead.create(model, identity, residual)
    torch.testing.assert_close(
        person.neutral, model.mean + torch.einsum("k,knc->nc", identity, model.identity_basis) + 0.01
    )
    torch.testing.assert_close(person.joints, model.joints(identity))
    torch.testing.assert_close(model.neutral(torch.stack([identity, 0 * identity]))[0], model.neutral(identity))


def test_the_mean_is_its_own_mirror_image(model: HeadModel) -> None:
    assert (model.mirror[model.mirror] == torch.arange(model.vertex_count)).all()
    torch.testing.assert_close(model.mean[model.mirror] * MIRROR, model.mean, atol=5e-4, rtol=0)


def test_the_regions_mirror_too(model: HeadModel) -> None:
    assert int((model.region[model.mirror] != model.region).sum()) == 0


def test_no_triangle_joins_the_rows_of_teeth(model: HeadModel) -> None:
    upper, lower = model.part("teeth_upper"), model.part("teeth_lower")
    in_upper = ((model.faces >= upper.start) & (model.faces < upper.stop)).any(1)
    in_lower = ((model.faces >= lower.start) & (model.faces < lower.stop)).any(1)
    assert int((in_upper & in_lower).sum()) == 0


def test_left_and_right_expressions_mirror_each_other(model: HeadModel) -> None:
    pairs = [name for name in EXPRESSION_NAMES if name.endswith("Left") and name not in ("jawLeft", "mouthLeft")]
    assert len(pairs) > 15
    for name in pairs:
        left = model.expression_basis[EXPRESSION_INDEX[name]]
        right = model.expression_basis[EXPRESSION_INDEX[name.removesuffix("Left") + "Right"]]
        torch.testing.assert_close(left[model.mirror] * MIRROR, right, atol=1.5e-3, rtol=0)
        assert left.norm(dim=-1).amax() > 1e-3, name
    eyes = [name for name in pairs if name.startswith(("eyeBlink", "eyeWide", "mouthSmile"))]
    for name in eyes:
        moved = model.expression_basis[EXPRESSION_INDEX[name]].norm(dim=-1) > 0.002
        assert model.mean[moved, 0].mean() > 0, f"{name} moves the subject's left, which is +x"


def test_an_open_jaw_lowers_the_chin_and_leaves_the_rest(mean_head: PersonalHead) -> None:
    model = mean_head.model
    vertices = posed(mean_head, {"jawOpen": 1.0})
    moved = (vertices - model.mean).norm(dim=-1)
    chin = (model.landmarks(vertices) - model.landmarks(model.mean))[CHIN]
    assert chin[1] < -0.015
    assert abs(float(chin[0])) < 1e-4
    for name in ("eye_l", "eye_r", "teeth_upper"):
        assert moved[model.part(name)].amax() < 1e-6
    assert moved[model.part("teeth_lower")].amin() > 0.005
    assert moved[model.in_regions("eyelid", "torso")].amax() < 1e-6
    assert moved[model.in_regions("ear")].amax() < 1e-3
    assert moved[model.mean[:, 1] > 0.01].amax() < 1e-3  # forehead and skull


@pytest.mark.parametrize("side", ["Left", "Right"])
def test_a_blink_closes_its_own_eye(mean_head: PersonalHead, side: str) -> None:
    other = "Right" if side == "Left" else "Left"
    vertices = posed(mean_head, {f"eyeBlink{side}": 1.0})
    # The detector's points lie on the lids a little above and below their edges, so some distance remains.
    assert lid_gap(mean_head, vertices, side) < 0.5 * lid_gap(mean_head, mean_head.neutral, side)
    assert lid_gap(mean_head, vertices, other) == pytest.approx(lid_gap(mean_head, mean_head.neutral, other), abs=1e-5)
    assert lid_gap(mean_head, posed(mean_head, {f"eyeWide{side}": 1.0}), side) > lid_gap(
        mean_head, mean_head.neutral, side
    )


def test_a_smile_widens_the_mouth_and_lifts_its_corners(mean_head: PersonalHead) -> None:
    before = mean_head.model.landmarks(mean_head.neutral)[[61, 291]]
    after = mean_head.model.landmarks(posed(mean_head, {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0}))[[61, 291]]
    assert (after[1, 0] - after[0, 0]) > (before[1, 0] - before[0, 0]) + 0.005
    assert (after[:, 1] > before[:, 1] + 0.003).all()


def test_gaze_turns_the_irises_to_the_side_it_says(mean_head: PersonalHead) -> None:
    model = mean_head.model
    rest = model.landmarks(model.mean)[list(IRISES.values())]

    def irises(yaw: float, pitch: float) -> Tensor:
        vertices = posed(mean_head, gaze=torch.tensor([[yaw, pitch], [yaw, pitch]]))
        eyes = torch.zeros(model.vertex_count, dtype=torch.bool)
        eyes[model.part("eye_l")] = eyes[model.part("eye_r")] = True
        assert (vertices[~eyes] == model.mean[~eyes]).all()  # nothing but the eyeballs moves
        return model.landmarks(vertices)[list(IRISES.values())] - rest

    left, right, up, down = irises(0.3, 0.0), irises(-0.3, 0.0), irises(0.0, 0.2), irises(0.0, -0.2)
    # An iris lies about 13 mm before the eye's centre.
    assert (left[:, 0] > 0.003).all()
    assert (right[:, 0] < -0.003).all()
    assert (up[:, 1] > 0.002).all()
    assert (down[:, 1] < -0.002).all()


def test_each_eye_follows_its_own_gaze_and_keeps_its_shape(mean_head: PersonalHead) -> None:
    model = mean_head.model
    vertices = posed(mean_head, gaze=torch.tensor([[0.4, -0.1], [0.0, 0.0]]))
    left, right = model.part("eye_l"), model.part("eye_r")
    torch.testing.assert_close(vertices[right], model.mean[right], atol=1e-7, rtol=0)
    centre = mean_head.joints[model.joint_names.index("eye_l")]
    torch.testing.assert_close((vertices[left] - centre).norm(dim=-1), (model.mean[left] - centre).norm(dim=-1))
    assert (vertices[left] - model.mean[left]).norm(dim=-1).amax() > 0.004


@pytest.mark.parametrize("axis", range(3))
def test_the_neck_turns_the_skull_and_leaves_the_torso(mean_head: PersonalHead, axis: int) -> None:
    model = mean_head.model
    neck = 0.4 * torch.eye(3)[axis]
    vertices = posed(mean_head, neck=neck)
    moved = (vertices - model.mean).norm(dim=-1)
    assert moved[model.mean[:, 1] < -0.25].amax() < 1e-4
    # The whole skull, teeth and eyes included, is turned by the full angle and stays as it was.
    rigid = model.skinning[:, 4] > 0.999
    assert rigid.sum() > 3000
    assert rigid[model.part("eye_l")].all()
    assert rigid[model.part("teeth_upper")].all()
    before, after = model.mean[rigid], vertices[rigid]
    before, after = before - before.mean(0), after - after.mean(0)
    u, _, vh = torch.linalg.svd(before.T @ after)
    rotation = (u @ vh).T
    torch.testing.assert_close(after, before @ rotation.T, atol=1e-4, rtol=0)
    angle = math.acos(min(1.0, (float(rotation.trace()) - 1) / 2))
    assert angle == pytest.approx(0.4, abs=2e-3)
    assert moved[rigid].amax() > 0.03


def test_positive_yaw_of_the_neck_turns_the_nose_to_the_subjects_left(mean_head: PersonalHead) -> None:
    nose = mean_head.model.landmarks(posed(mean_head, neck=torch.tensor([0.0, 0.3, 0.0])))[NOSE_TIP]
    assert nose[0] > 0.02
    nod = mean_head.model.landmarks(posed(mean_head, neck=torch.tensor([0.3, 0.0, 0.0])))[NOSE_TIP]
    assert nod[1] < mean_head.model.landmarks(mean_head.neutral)[NOSE_TIP, 1] - 0.01  # and +x nods


def test_a_batch_of_frames_equals_single_frames(mean_head: PersonalHead) -> None:
    generator = torch.Generator().manual_seed(3)
    expression = torch.rand(4, 52, generator=generator) * 0.3
    gaze, neck = 0.2 * torch.randn(4, 2, 2, generator=generator), 0.2 * torch.randn(4, 3, generator=generator)
    neck[1] = 0
    batch = mean_head.vertices(expression, gaze, neck)
    assert batch.shape == (4, mean_head.model.vertex_count, 3)
    for t in range(4):
        single = mean_head.vertices(expression[t : t + 1], gaze[t : t + 1], neck[t : t + 1])[0]
        torch.testing.assert_close(batch[t], single, atol=1e-4, rtol=0)  # see the next test


def test_a_neck_at_rest_moves_nothing_beside_one_that_turns(mean_head: PersonalHead) -> None:
    neck = torch.tensor([[0.0, 0.0, 0.0], [0.2, 0.0, 0.0]])
    frames = mean_head.vertices(torch.zeros(2, 52), torch.zeros(2, 2, 2), neck)
    torch.testing.assert_close(frames[0], mean_head.neutral, atol=2e-6, rtol=0)


def test_gradients_reach_every_parameter(mean_head: PersonalHead) -> None:
    expression = torch.full((1, 52), 0.1, requires_grad=True)
    gaze = torch.full((1, 2, 2), 0.1, requires_grad=True)
    neck = torch.full((1, 3), 0.1, requires_grad=True)
    mean_head.vertices(expression, gaze, neck).square().sum().backward()
    for leaf in (expression, gaze, neck):
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()
        assert leaf.grad.abs().sum() > 0


def test_eye_look_coefficients_turn_the_eyes() -> None:
    def look(**weights: float) -> Tensor:
        return gaze_from_expression(torch.tensor([expression_vector(weights)]))[0]

    assert look().abs().max() == 0
    to_left = look(eyeLookOutLeft=1.0, eyeLookInRight=1.0)
    to_right = look(eyeLookInLeft=1.0, eyeLookOutRight=1.0)
    assert torch.rad2deg(to_left[:, 0]).tolist() == pytest.approx([30.0, 30.0])
    torch.testing.assert_close(to_right, -to_left)
    assert (look(eyeLookUpLeft=1.0, eyeLookUpRight=1.0)[:, 1] > 0.2).all()
    assert (look(eyeLookDownLeft=1.0, eyeLookDownRight=1.0)[:, 1] < -0.2).all()
    crossed = look(eyeLookInLeft=0.5, eyeLookInRight=0.5)
    assert crossed[0, 0] < 0 < crossed[1, 0]


def test_an_unknown_format_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "head.safetensors"
    save_file({"v_mean": torch.zeros(1, 3)}, path, {"format_version": "99"})
    with pytest.raises(WeightsError, match=r"head\.safetensors: head model format 99"):
        load_head_model(path)
