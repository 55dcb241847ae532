"""Adding and dropping Gaussians."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from avatarcli.gaussians.density import Density
from avatarcli.geometry.rotations import axis_angle_to_matrix, matrix_to_quaternion

COUNT = 200


def gaussians(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Opacity logits, log scales and quaternions: the first ten hardly visible, all longer along one axis."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.full((COUNT,), 2.0)
    logits[:10] = -6.0
    scales = torch.log(torch.tensor([1e-3, 4e-3, 2e-3])) + 0.01 * torch.randn(COUNT, 3, generator=generator)
    return logits, scales, torch.randn(COUNT, 4, generator=generator)


def pulled(strength: Tensor) -> Density:
    density = Density.empty(COUNT, torch.device("cpu"))
    density.add(strength[:, None] * torch.tensor([0.0, 0.6, 0.8]), focal=torch.tensor(1.0))
    return density


@pytest.mark.parametrize("limit", [0, 150, 195, 200, 1000])
def test_faint_ones_go_and_the_limit_holds(limit: int) -> None:
    logits, scales, quaternions = gaussians()
    source, _ = pulled(torch.arange(COUNT).float()).choose(logits, scales, quaternions, limit)
    assert not torch.isin(torch.arange(10), source).any()
    assert torch.isin(torch.arange(10, COUNT), source).all()  # those that show something stay in any case
    assert len(source) <= max(limit, COUNT - 10)
    # At most an eighth more at a time, however much room there is.
    assert len(source) <= 1.125 * (COUNT - 10)
    if limit == 1000:
        assert len(source) > 1.1 * (COUNT - 10)
    if limit == 195:
        assert len(source) == 195


def test_the_most_strongly_pulled_are_split() -> None:
    logits, scales, quaternions = gaussians()
    strength = torch.zeros(COUNT)
    strength[[50, 90, 133]] = torch.tensor([3.0, 2.0, 1.0])
    source, change = pulled(strength).choose(logits, scales, quaternions, 193)
    assert source[-3:].tolist() == [50, 90, 133]
    split = torch.isin(source, torch.tensor([50, 90, 133]))
    assert int(split.sum()) == 6
    assert change.offset.shape == (193, 3)
    assert (change.offset[~split] == 0).all()
    assert (change.log_shrink[~split] == 0).all()
    assert (change.log_shrink[split] < 0).all()


def test_the_halves_lie_on_both_sides_along_the_longest_axis() -> None:
    logits, scales, _ = gaussians()
    rotation = axis_angle_to_matrix(torch.tensor([0.3, 0.2, -0.9]))
    quaternions = matrix_to_quaternion(rotation).repeat(COUNT, 1)
    strength = torch.zeros(COUNT)
    strength[77] = 1.0
    source, change = pulled(strength).choose(logits, scales, quaternions, 191)
    first, second = change.offset[source == 77]
    torch.testing.assert_close(first, -second)
    # The second axis is the longest, 4 mm: the halves' centres lie within the old one.
    torch.testing.assert_close(first.abs() / first.norm(), rotation[:, 1].abs(), atol=1e-5, rtol=0)
    assert 1e-3 < float(first.norm()) < 4.2e-3
    shrink = change.log_shrink[source == 77].exp()
    assert ((shrink > 0.5) & (shrink < 0.95)).all()


def test_the_pull_is_averaged_over_the_pictures_that_saw_it() -> None:
    logits, scales, quaternions = gaussians()
    density = Density.empty(COUNT, torch.device("cpu"))
    often, once = torch.zeros(COUNT, 3), torch.zeros(COUNT, 3)
    often[60, 0], once[120, 0] = 1.0, 2.5
    density.add(often + once, focal=torch.tensor(1.0))
    for _ in range(4):
        density.add(often, focal=torch.tensor(1.0))
    source, _ = density.choose(logits, scales, quaternions, 191)
    assert source[-1] == 120  # pulled less in sum, but more when it is seen
    assert density.seen[60] == 5
    assert density.seen[120] == 1


def test_pictures_of_twice_the_size_count_the_same() -> None:
    small, large = Density.empty(3, torch.device("cpu")), Density.empty(3, torch.device("cpu"))
    gradient = torch.rand(3, 3, generator=torch.Generator().manual_seed(0))
    small.add(gradient, focal=torch.tensor(100.0))
    large.add(2 * gradient, focal=torch.tensor(200.0))
    torch.testing.assert_close(small.pull, large.pull)


@pytest.mark.parametrize("iterations", [100, 250, 900, 5000])
def test_density_changes_a_few_times_in_the_middle_of_the_run(iterations: int) -> None:
    due = [step for step in range(iterations) if Density.due(step, iterations)]
    assert 2 <= len(due) <= 8
    assert min(due) >= 0.1 * iterations
    assert max(due) <= 0.7 * iterations
    gaps = torch.tensor(due).diff()
    assert gaps.max() - gaps.min() <= 1


def test_short_runs_leave_the_density_alone() -> None:
    assert not any(Density.due(step, 20) for step in range(20))
