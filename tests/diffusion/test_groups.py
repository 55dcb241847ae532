"""Which latents are made when."""

from __future__ import annotations

import pytest

from avatarcli.diffusion.groups import plan_groups, plan_rounds, spread_order


@pytest.mark.parametrize(
    ("views", "latents", "crops"), [(1, 1, 0), (3, 1, 1), (8, 3, 3), (19, 3, 3), (24, 5, 0), (31, 13, 5), (2, 40, 1)]
)
@pytest.mark.parametrize(("group_views", "group_latents"), [(8, 24), (4, 7), (2, 2), (30, 16), (8, 9)])
def test_every_place_is_made_once_from_places_made_before(
    views: int, latents: int, crops: int, group_views: int, group_latents: int
) -> None:
    made: set[tuple[int, int]] = set()
    sizes = {"group_views": group_views, "group_latents": group_latents}
    for number, group in enumerate(plan_groups(views, latents, **sizes, crops=crops)):
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


def test_faces_are_among_the_anchors_beside_heads_all_around() -> None:
    anchors, *others = plan_groups(19, 3, group_views=8, group_latents=24, crops=3)
    assert {view for view, _ in anchors.new} == {*spread_order(16)[:5], 16, 17, 18}
    assert all(
        view < 16 for group in others for view, time in group.given if time == 0 and (view, 0) in anchors.new[:4]
    )
    heads = {view for group in others for view, time in group.new if time == 0}
    assert heads == set(spread_order(16)[5:])


@pytest.mark.parametrize("processes", [1, 2, 3, 4, 8])
@pytest.mark.parametrize(("done", "shareable"), [((), True), ((), False), ((0, 1, 3), True)])
def test_rounds_make_every_missing_group_once_after_those_it_looks_at(
    processes: int, done: tuple[int, ...], shareable: bool
) -> None:
    groups = plan_groups(24, 9, group_views=6, group_latents=12)
    rounds = plan_rounds(groups, done, processes=processes, shareable=shareable)
    made = {place for number in done for place in groups[number].new}
    for part in rounds:
        assert 1 <= len(part.groups) <= processes
        assert all(made.issuperset(groups[number].given) for number in part.groups)
        made.update(place for number in part.groups for place in groups[number].new)
        if part.shared:
            assert shareable
            assert processes > 1
            assert len(part.groups) == 1
    assert sorted([*done, *(number for part in rounds for number in part.groups)]) == list(range(len(groups)))


def test_whole_groups_are_dealt_out_where_there_are_as_many_as_processes() -> None:
    """Anchors alone, then six groups that look at nothing but them."""
    groups = plan_groups(8, 1, group_views=2, group_latents=2)
    assert [len(group.given) for group in groups] == [0, 1, 1, 1, 1, 1, 1]
    alone = plan_rounds(groups, (), processes=1)
    assert [part.groups for part in alone] == [(n,) for n in range(7)]
    assert not any(part.shared for part in alone)
    three = plan_rounds(groups, (), processes=3)
    assert [(part.groups, part.shared) for part in three] == [((0,), True), ((1, 2, 3), False), ((4, 5, 6), False)]
    # Of four, two would stand idle at the end: all share these groups instead.
    four = plan_rounds(groups, (), processes=4)
    assert [(len(part.groups), part.shared) for part in four] == [(1, True), (4, False), (1, True), (1, True)]
    unshared = plan_rounds(groups, (), processes=4, shareable=False)
    assert [(len(part.groups), part.shared) for part in unshared] == [(1, False), (4, False), (2, False)]


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
