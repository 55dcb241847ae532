"""Which latents are made when."""

from __future__ import annotations

import pytest

from avatarcli.diffusion.groups import plan_groups, spread_order


@pytest.mark.parametrize(("views", "latents"), [(1, 1), (3, 1), (8, 3), (16, 3), (24, 5), (31, 13), (2, 40)])
@pytest.mark.parametrize(("group_views", "group_latents"), [(8, 24), (4, 7), (2, 2), (30, 16), (8, 9)])
def test_every_place_is_made_once_from_places_made_before(
    views: int, latents: int, group_views: int, group_latents: int
) -> None:
    made: set[tuple[int, int]] = set()
    for number, group in enumerate(plan_groups(views, latents, group_views=group_views, group_latents=group_latents)):
        assert len(group.places) <= group_latents
        assert len({view for view, _ in group.places}) <= group_views
        assert made.issuperset(group.given)
        assert not made.intersection(group.new)
        assert group.new
        assert bool(group.given) == (number > 0)
        # A view's later latents follow its own earlier ones.
        assert all(t == 0 or (v, t - 1) in group.places for v, t in group.new)
        made.update(group.new)
    assert made == {(v, t) for v in range(views) for t in range(latents)}


def test_what_fits_is_a_single_group() -> None:
    assert len(plan_groups(8, 1, group_views=8, group_latents=24)) == 1
    assert len(plan_groups(8, 3, group_views=8, group_latents=24)) == 2


@pytest.mark.parametrize("count", [1, 2, 5, 16, 24])
def test_spread_order_is_a_permutation_that_halves_the_gaps(count: int) -> None:
    order = spread_order(count)
    assert sorted(order) == list(range(count))
    for first in (2, 4, 8):
        if first <= count:
            ring = sorted(order[:first])
            gaps = [b - a for a, b in zip(ring, [*ring[1:], ring[0] + count], strict=True)]
            assert max(gaps) <= -(-count // first) + 1


def test_groups_too_small_to_extend_are_refused() -> None:
    with pytest.raises(ValueError, match="got 1 and 8"):
        plan_groups(4, 2, group_views=1, group_latents=8)
