"""Anchor and extend: in which order, and in which company, the latents of a plan are made.

A pass of the model holds only so many latents. The first one makes anchor views of the first frame (the face at rest), spread
around the head. Every later one makes new latents beside some that are done, which it keeps fixed, so that any plan is reached.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

Place = tuple[int, int]  # view, latent

# What a process is worth when all share a group, beside one that has a group to itself: the target for four GPUs, not measured.
# It decides only when nearly as many groups are ready as there are processes.
_SHARED_EFFICIENCY = 0.8


@dataclass(frozen=True)
class Group:
    """One pass: the places it makes, and those made before that it looks at."""

    new: tuple[Place, ...]
    given: tuple[Place, ...]

    @property
    def places(self) -> tuple[Place, ...]:
        return self.given + self.new


@dataclass(frozen=True)
class Round:
    """Passes (numbers in the plan) that processes make at the same time: one each, or all of them the only one together."""

    groups: tuple[int, ...]
    shared: bool


def plan_groups(views: int, latents: int, *, group_views: int, group_latents: int, crops: int = 0) -> list[Group]:
    """Passes that make `views` × `latents` places once each, none of more than `group_views` views or `group_latents` latents.

    The last `crops` views show the face only: they are among the anchors, beside the views that stand all around.

    Raises ValueError when a pass could not hold a new latent beside a given one.
    """
    if group_latents < 2 or group_views < 2:
        raise ValueError(f"a group needs two views and two latents, got {group_views} and {group_latents}")
    order = spread_order(views - crops)
    at_rest = min(group_views, group_latents)
    # The first half of the anchors is what later groups look at: heads, not crops.
    whole = max(at_rest - crops, -(-at_rest // 2))
    order[whole:whole] = range(views - crops, views)
    groups = [
        Group(tuple((v, 0) for v in block), tuple((v, 0) for v in context))
        for context, block in _view_blocks(order, at_rest, at_rest // 2)
    ]
    # Later latents: each view brings its last one, and a window of new ones.
    wide = min(group_views, group_latents // 2)
    window = group_latents // wide - 1
    for start in range(1, latents, window):
        span = range(start, min(start + window, latents))
        for context, block in _view_blocks(order, wide, wide // 4):
            before = tuple((v, start - 1) for v in block)
            beside = tuple((v, t) for v in context for t in span)
            groups.append(Group(tuple((v, t) for v in block for t in span), before + beside))
    return groups


def plan_rounds(
    groups: Sequence[Group], done: Collection[int], *, processes: int, shareable: bool = True
) -> list[Round]:
    """Rounds in which several processes make the groups that are not `done`, each after those that it looks at.

    A whole group a process is the best there is: nothing is exchanged. Where fewer groups are ready than there are processes,
    all of them share one group after another, unless so few would stand idle that whole groups are faster. shareable: False
    where a group cannot be shared.
    """
    maker = {place: number for number, group in enumerate(groups) for place in group.new}
    waits_for = [{maker[place] for place in group.given} for group in groups]
    made, rounds = set(done), []
    while len(made) < len(groups):
        ready = [n for n in range(len(groups)) if n not in made and waits_for[n] <= made][:processes]
        if processes > 1 and shareable and len(ready) < processes * _SHARED_EFFICIENCY:
            rounds.append(Round((ready[0],), shared=True))
        else:
            rounds.append(Round(tuple(ready), shared=False))
        made.update(rounds[-1].groups)
    return rounds


def spread_order(count: int) -> list[int]:
    """Indices of a ring so that the first few of them are always spread all around (van der Corput's sequence)."""
    bits = max(count - 1, 1).bit_length()
    reversed_bits = sorted(range(1 << bits), key=lambda i: int(f"{i:0{bits}b}"[::-1], 2))
    order = [i * count // (1 << bits) for i in reversed_bits]
    return list(dict.fromkeys(order))


def _view_blocks(order: list[int], size: int, context: int) -> list[tuple[list[int], list[int]]]:
    """The first `size` views alone, then the others in blocks beside the first `context` ones: (context, block) each."""
    blocks: list[tuple[list[int], list[int]]] = [([], order[:size])]
    known = order[: max(context, 1)] if size > 1 else []
    step = size - len(known)
    rest = order[size:]
    blocks.extend((known, rest[i : i + step]) for i in range(0, len(rest), step))
    return blocks
