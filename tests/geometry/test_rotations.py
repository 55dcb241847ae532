"""Rotations: the algebra holds for any of them, and scipy agrees."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from torch import Tensor

from avatarcli.geometry.rotations import (
    axis_angle_to_matrix,
    invert_rigid,
    matrix_to_quaternion,
    quaternion_multiply,
    quaternion_to_matrix,
    rigid,
)

settings.register_profile("quick", max_examples=60, deadline=None, derandomize=True)
settings.load_profile("quick")

EYE = torch.eye(3, dtype=torch.float64)


def vectors(limit: float) -> st.SearchStrategy[Tensor]:
    numbers = st.floats(-limit, limit, allow_nan=False, allow_subnormal=False)
    return st.tuples(numbers, numbers, numbers).map(lambda v: torch.tensor(v, dtype=torch.float64))


def close(a: Tensor, b: Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(a, b, atol=tolerance, rtol=0)


@given(vectors(7.0))
def test_matrices_are_rotations_and_agree_with_scipy(rotvec: Tensor) -> None:
    matrix = axis_angle_to_matrix(rotvec)
    close(matrix @ matrix.T, EYE)
    assert float(torch.linalg.det(matrix)) == pytest.approx(1.0)
    close(matrix, torch.from_numpy(Rotation.from_rotvec(rotvec.numpy()).as_matrix()))
    close(matrix @ rotvec, rotvec, 1e-8)


@given(vectors(7.0))
def test_the_opposite_vector_is_the_inverse(rotvec: Tensor) -> None:
    close(axis_angle_to_matrix(rotvec) @ axis_angle_to_matrix(-rotvec), EYE)


@pytest.mark.parametrize("size", [0.0, 1e-12, 1e-4, 1.0, math.pi])
def test_gradients_are_the_right_ones_also_at_rest(size: float) -> None:
    rotvec = torch.tensor([[size, -0.5 * size, 0.25 * size]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(axis_angle_to_matrix, (rotvec,), eps=1e-6, atol=1e-5)


@given(vectors(4.0))
def test_quaternions_say_the_same(rotvec: Tensor) -> None:
    matrix = axis_angle_to_matrix(rotvec)
    quaternion = matrix_to_quaternion(matrix)
    assert float(quaternion[0]) >= 0
    assert float(quaternion.norm()) == pytest.approx(1.0)
    close(quaternion_to_matrix(quaternion), matrix)
    close(quaternion_to_matrix(3.7 * quaternion), matrix)
    close(quaternion_to_matrix(-quaternion), matrix)


@pytest.mark.parametrize("axis", [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.6, 0.0, -0.8)])
def test_half_turns_survive_the_way_through_quaternions(axis: tuple[float, float, float]) -> None:
    matrix = axis_angle_to_matrix(math.pi * torch.tensor(axis, dtype=torch.float64))
    close(quaternion_to_matrix(matrix_to_quaternion(matrix)), matrix, 1e-7)


@given(vectors(4.0), vectors(4.0))
def test_products_compose_from_right_to_left(left: Tensor, right: Tensor) -> None:
    a, b = axis_angle_to_matrix(left), axis_angle_to_matrix(right)
    product = quaternion_multiply(matrix_to_quaternion(a), matrix_to_quaternion(b))
    close(quaternion_to_matrix(product), a @ b)


@given(vectors(4.0), vectors(10.0), vectors(4.0), vectors(10.0), vectors(5.0))
def test_rigid_transforms_invert_and_compose(r1: Tensor, t1: Tensor, r2: Tensor, t2: Tensor, point: Tensor) -> None:
    first, second = rigid(axis_angle_to_matrix(r1), t1), rigid(axis_angle_to_matrix(r2), t2)
    close(invert_rigid(first) @ first, torch.eye(4, dtype=torch.float64))
    close(invert_rigid(first @ second), invert_rigid(second) @ invert_rigid(first))
    close((first @ torch.cat([point, torch.ones(1)]))[:3], axis_angle_to_matrix(r1) @ point + t1)


def test_batches_equal_single_rotations() -> None:
    rotvec = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 5, 3)))
    matrix = axis_angle_to_matrix(rotvec)
    quaternion = matrix_to_quaternion(matrix)
    assert matrix.shape == (4, 5, 3, 3)
    assert quaternion.shape == (4, 5, 4)
    assert rigid(matrix, rotvec).shape == (4, 5, 4, 4)
    for i in range(4):
        for j in range(5):
            close(matrix[i, j], axis_angle_to_matrix(rotvec[i, j]))
            close(quaternion[i, j], matrix_to_quaternion(matrix[i, j]))


def test_drawing_first_and_training_afterwards() -> None:
    """What is computed once and kept must also serve gradients. No other test uses this type of number."""
    with torch.inference_mode():
        start = torch.randn(4, 4, dtype=torch.bfloat16, generator=torch.Generator().manual_seed(0))
        quaternion_multiply(start, start)
        quaternion_to_matrix(start)
    quaternion = start.clone().requires_grad_(True)
    (quaternion_to_matrix(quaternion)[:, 0] * quaternion_multiply(quaternion, quaternion)[:, :3]).sum().backward()
    assert quaternion.grad is not None
    assert quaternion.grad.abs().sum() > 0
