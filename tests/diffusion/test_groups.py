"""Which latents are made when."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from avatarcli.diffusion.groups import clip_latents, plan_groups, plan_rounds, spread_order
from avatarcli.diffusion.packing import frame_count
from avatarcli.head.parameters import HeadParameters
from avatarcli.multiview.framing import Framing
from avatarcli.multiview.plan import Plan, Reel, make_plan

FRAMING = Framing((0.0, -0.05, 0.0), 0.5)
FACE = torch.tensor([[-0.07, -0.12, 0.05], [0.07, 0.06, 0.05], [0.0, -0.02, 0.12]])


def full(views: int, latents: int, crops: int = 0) -> Plan:
    """A clip of `latents` latents from each view, of which the last `crops` see the face only."""
    cameras = FRAMING.cameras(torch.arange(views) / views * 6.28, torch.zeros(views), 16)
    return replace(Plan.full(cameras, HeadParameters.at_rest(frame_count(latents))), crops=crops)


def stills(views: int, face_views: int, frames: int) -> Plan:
    return make_plan(FRAMING, FACE, views=views, face_views=face_views, frames=frames, size=16)


def uneven() -> Plan:
    """Stills and clips of all lengths, some of which begin with an expression; views 4 and 5 see the face."""
    clips = (
        Reel(0, (0,)), Reel(1, (0, 1, 2)), Reel(2, tuple(range(9))), Reel(3, (0,)), Reel(4, (0, 1)), Reel(5, (0,)),
        Reel(0, (3, 4, 5, 6, 7, 8)), Reel(3, (3,)), Reel(5, (3, 4)), Reel(5, (1, 2)),
    )  # fmt: skip
    return replace(full(6, 3, 2), clips=clips)


def check(plan: Plan, group_clips: int, group_latents: int) -> None:
    """Every place is made once, from places made before, in passes that are not too large."""
    made: set[tuple[int, int]] = set()
    for number, group in enumerate(plan_groups(plan, group_clips=group_clips, group_latents=group_latents)):
        assert len(group.places) <= group_latents
        assert len({clip for clip, _ in group.places}) <= group_clips
        assert made.issuperset(group.given)
        assert not made.intersection(group.new)
        assert len(set(group.new)) == len(group.new) > 0
        assert bool(group.given) == (number > 0)
        # A clip's later latents follow its own earlier ones.
        assert all(t == 0 or (c, t - 1) in group.places for c, t in group.new)
        made.update(group.new)
    assert made == {(c, t) for c, count in enumerate(clip_latents(plan)) for t in range(count)}


@pytest.mark.parametrize(("group_clips", "group_latents"), [(8, 24), (10, 24), (4, 7), (2, 2), (30, 16), (8, 9)])
@pytest.mark.parametrize(
    ("views", "latents", "crops"), [(1, 1, 0), (3, 1, 1), (8, 3, 3), (19, 3, 3), (24, 5, 0), (31, 13, 5), (2, 40, 1)]
)
def test_every_place_of_a_grid_is_made_once_from_places_made_before(
    views: int, latents: int, crops: int, group_clips: int, group_latents: int
) -> None:
    check(full(views, latents, crops), group_clips, group_latents)


@pytest.mark.parametrize(("group_clips", "group_latents"), [(10, 24), (8, 24), (4, 7), (2, 2), (30, 16), (3, 2)])
@pytest.mark.parametrize(
    ("views", "face_views", "frames"), [(20, 3, 9), (16, 3, 6), (28, 5, 13), (3, 1, 2), (1, 5, 4), (6, 0, 4)]
)
def test_every_still_is_made_once_from_stills_made_before(
    views: int, face_views: int, frames: int, group_clips: int, group_latents: int
) -> None:
    plan = stills(views, face_views, frames)
    assert set(clip_latents(plan)) == {1}
    check(plan, group_clips, group_latents)


@pytest.mark.parametrize(("group_clips", "group_latents"), [(10, 24), (4, 7), (2, 2), (3, 5)])
def test_clips_of_uneven_lengths_are_made_too(group_clips: int, group_latents: int) -> None:
    plan = uneven()
    assert clip_latents(plan) == [1, 2, 3, 1, 2, 1, 3, 1, 2, 2]
    check(plan, group_clips, group_latents)


def test_what_fits_is_a_single_group() -> None:
    assert len(plan_groups(full(8, 1), group_clips=8, group_latents=24)) == 1
    assert len(plan_groups(full(8, 3), group_clips=8, group_latents=24)) == 2
    assert len(plan_groups(stills(7, 3, 1), group_clips=10, group_latents=24)) == 1


@pytest.mark.parametrize("plan", [full(19, 3, 3), stills(16, 3, 9)], ids=["grid", "stills"])
def test_faces_are_among_the_anchors_beside_heads_all_around(plan: Plan) -> None:
    anchors, *others = plan_groups(plan, group_clips=8, group_latents=24)
    assert {view for view, _ in anchors.new} == {*spread_order(16)[:5], 16, 17, 18}
    rest = [group for group in others if all(time == 0 and plan.clips[c].frames[0] == 0 for c, time in group.new)]
    assert {clip for group in rest for clip, _ in group.new} == set(spread_order(16)[5:])
    # They look at heads that stand far apart.
    assert all(group.given == ((0, 0), (8, 0)) for group in rest)


def test_faces_of_one_moment_are_made_together_beside_the_face_at_rest() -> None:
    plan = stills(16, 3, 9)
    groups = plan_groups(plan, group_clips=8, group_latents=24)
    moving = [group for group in groups if any(plan.clips[clip].frames[0] for clip, _ in group.new)]
    assert groups[-8:] == moving
    for frame, group in enumerate(moving, 1):
        assert {(plan.clips[clip].view, plan.clips[clip].frames) for clip, _ in group.new} == {
            (view, (frame,)) for view in (16, 17, 18)
        }
        ((clip, _),) = group.given
        assert plan.clips[clip] == Reel(17, (0,))  # the middle one


@pytest.mark.parametrize("processes", [1, 2, 3, 4, 8])
@pytest.mark.parametrize(("done", "shareable"), [((), True), ((), False), ((0, 1, 3), True)])
@pytest.mark.parametrize("plan", [full(24, 9), stills(20, 3, 9)], ids=["grid", "stills"])
def test_rounds_make_every_missing_group_once_after_those_it_looks_at(
    plan: Plan, processes: int, done: tuple[int, ...], shareable: bool
) -> None:
    groups = plan_groups(plan, group_clips=6, group_latents=12)
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
    groups = plan_groups(full(8, 1), group_clips=2, group_latents=2)
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
    for sizes in ((1, 8), (8, 1)):
        with pytest.raises(ValueError, match=f"got {sizes[0]} and {sizes[1]}"):
            plan_groups(full(4, 2), group_clips=sizes[0], group_latents=sizes[1])
