"""Anchor and extend: in which order, and in which company, the latents of a plan are made.

A pass of the model holds only so many latents. The first one makes anchor views of the face at rest, spread around the head.
Every later one makes new latents beside some that are done, which it keeps fixed, so that any plan is reached.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from avatarcli.diffusion.packing import latent_count, padded_frame_count
from avatarcli.multiview.plan import Plan

Place = tuple[int, int]  # clip, latent

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


def plan_groups(plan: Plan, *, group_clips: int, group_latents: int) -> list[Group]:
    """Passes that make each of a plan's latents once, none of more than `group_clips` clips or `group_latents` latents.

    First the face at rest: the views of the face are among the anchors, beside heads that stand all around. Then the other
    expressions, those of one moment together, each beside one view of the face at rest. Then the later latents of long clips.

    Raises ValueError when a pass could not hold a new latent beside a given one.
    """
    if group_latents < 2 or group_clips < 2:
        raise ValueError(f"a group needs two clips and two latents, got {group_clips} and {group_latents}")
    size = min(group_clips, group_latents)
    order = _rest_order(plan, size)
    groups = [
        Group(tuple((c, 0) for c in block), tuple((c, 0) for c in context))
        for context, block in _blocks(order, size, size // 3)
    ]
    groups += _expressions(plan, order, size)
    return groups + _later(plan, order, group_clips, group_latents)


def clip_latents(plan: Plan) -> list[int]:
    """How many latents each clip of a plan has."""
    return [latent_count(padded_frame_count(len(clip.frames))) for clip in plan.clips]


def _rest_order(plan: Plan, anchors: int) -> list[int]:
    """The clips that begin at rest, those first that are to be among the first `anchors`."""
    heads = plan.views - plan.crops
    at_rest = [number for number, clip in enumerate(plan.clips) if clip.frames[0] == 0]
    whole = [number for number in at_rest if plan.clips[number].view < heads]
    faces = [number for number in at_rest if plan.clips[number].view >= heads]
    order = [whole[i] for i in spread_order(len(whole))]
    # The first third of the anchors is what later groups look at: heads, not faces.
    first = max(anchors - len(faces), -(-anchors // 3))
    order[first:first] = faces
    return order


def _expressions(plan: Plan, order: list[int], size: int) -> list[Group]:
    """Passes of up to `size` clips that begin with the same expression, with the middle one of the face views at rest."""
    moments: dict[int, list[int]] = {}
    for number, clip in enumerate(plan.clips):
        if clip.frames[0] != 0:
            moments.setdefault(clip.frames[0], []).append(number)
    faces = [number for number in order if plan.clips[number].view >= plan.views - plan.crops]
    companion = faces[len(faces) // 2 : len(faces) // 2 + 1] or order[:1]
    given = tuple((number, 0) for number in companion)
    step = size - len(given)
    return [
        Group(tuple((number, 0) for number in clips[i : i + step]), given)
        for _, clips in sorted(moments.items())
        for i in range(0, len(clips), step)
    ]


def _later(plan: Plan, order: list[int], group_clips: int, group_latents: int) -> list[Group]:
    """Passes for what follows the clips' first latents: each clip brings its last one, and a window of new ones."""
    counts = clip_latents(plan)
    order = list(dict.fromkeys([*order, *range(len(counts))]))
    wide = min(group_clips, group_latents // 2)
    window = group_latents // wide - 1
    groups = []
    for start in range(1, max(counts), window):
        going_on = [number for number in order if counts[number] > start]
        for context, block in _blocks(going_on, wide, wide // 4):
            new = [(c, t) for c in block for t in range(start, min(start + window, counts[c]))]
            before = [(c, start - 1) for c in block]
            beside = [(c, t) for c in context for t in range(start, min(start + window, counts[c]))]
            groups.append(Group(tuple(new), tuple(before + beside)))
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


def _blocks(order: list[int], size: int, context: int) -> list[tuple[list[int], list[int]]]:
    """The first `size` clips alone, then the others in blocks beside the first `context` ones: (context, block) each."""
    blocks: list[tuple[list[int], list[int]]] = [([], order[:size])]
    known = order[: max(context, 1)] if size > 1 else []
    step = size - len(known)
    rest = order[size:]
    blocks.extend((known, rest[i : i + step]) for i in range(0, len(rest), step))
    return blocks
