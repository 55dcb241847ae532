"""The order of places in space, in which neighbours stay together, and which these are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from avatarcli.geometry.space import neighbours, z_order


def block(side: int) -> Tensor:
    """All cells of a cube [side³, 3], shuffled."""
    axis = torch.arange(side)
    cells = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).view(-1, 3)
    return cells[torch.randperm(len(cells), generator=torch.Generator().manual_seed(0))]


def ball(radius: float) -> Tensor:
    """Cells of the surface of a sphere [P, 3] about the origin."""
    cells = block(2 * int(radius) + 3) - int(radius) - 1
    return cells[(cells.float().norm(dim=-1) - radius).abs() < 0.5]


def test_every_place_comes_once_and_cubes_are_finished_one_by_one() -> None:
    cells = block(16)
    order = z_order(cells)
    assert torch.equal(order.sort().values, torch.arange(16**3))
    for side in (2, 4, 8):
        # Each stretch of side³ cells is a cube of that side.
        stretches = cells[order].view(-1, side**3, 3)
        assert (stretches.amax(1) - stretches.amin(1) == side - 1).all()


def test_no_places_have_no_order() -> None:
    assert z_order(torch.zeros(0, 3)).tolist() == []


def test_places_that_are_alike_keep_their_order() -> None:
    order = z_order(torch.tensor([[1, 1, 1], [0, 0, 0], [1, 1, 1], [0, 0, 0], [1, 1, 1]]))
    assert order.tolist() == [1, 3, 0, 2, 4]


@pytest.mark.parametrize("shift", [(-500, 3, -7), (-1000, -1000, -1000), (5000, 0, -5000)])
def test_where_the_places_lie_does_not_matter(shift: tuple[int, int, int]) -> None:
    cells = ball(9.0)
    assert torch.equal(z_order(cells + torch.tensor(shift)), z_order(cells))
    assert torch.equal(z_order(cells.float() + torch.tensor(shift)), z_order(cells))  # whole numbers of any type


def test_the_largest_span_is_still_in_order() -> None:
    cells = torch.tensor([[1023, 0, 0], [0, 0, 0], [1023, 1023, 1023], [512, 0, 0], [511, 511, 511]]) - 600
    assert z_order(cells).tolist() == [1, 4, 3, 0, 2]


def test_equal_steps_are_spread_evenly_over_a_surface() -> None:
    cells = ball(24.0)
    step = 40
    order = z_order(cells)

    def widest_hole(order: Tensor) -> float:
        """How far the nearest chosen cell may lie."""
        return float(torch.cdist(cells.float(), cells[order[step // 2 :: step]].float()).amin(1).max())

    side = (4 * torch.pi * 24**2 * step / len(cells)) ** 0.5  # of the square that each chosen cell stands for
    assert widest_hole(order) < 1.25 * side
    by_chance = torch.randperm(len(cells), generator=torch.Generator().manual_seed(1))
    by_rows = (10_000 * cells[:, 0] + 100 * cells[:, 1] + cells[:, 2]).argsort()
    assert min(widest_hole(by_chance), widest_hole(by_rows)) > 1.4 * side
    # Every cube of 16³ cells gets its share, to within one.
    cube = ((cells - cells.amin(0)) // 16 * torch.tensor([100, 10, 1])).sum(-1)
    chosen = cube[order[step // 2 :: step]]
    for name, share in zip(*cube.unique(return_counts=True), strict=True):
        assert abs(int((chosen == name).sum()) - int(share) / step) <= 1


def test_neighbours_are_the_nearest_points_and_all_of_them_where_there_are_few() -> None:
    points = torch.tensor([[0.0, 0.0], [3.0, 0.0], [1.0, 0.0]])
    distance, index = neighbours(points, torch.tensor([[0.0, 0.0], [2.6, 0.0]]), 2)
    assert index.tolist() == [[0, 2], [1, 2]]
    torch.testing.assert_close(distance, torch.tensor([[0.0, 1.0], [0.4, 1.6]]))
    assert neighbours(points, points[:1], 9)[1].tolist() == [[0, 2, 1]]
