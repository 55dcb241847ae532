"""Fitting an avatar's Gaussians to pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from avatarcli.gaussians.avatar import Avatar
from avatarcli.gaussians.bust import Bust
from avatarcli.gaussians.color_range import ColorRange
from avatarcli.gaussians.fit_state import REACH_OF_SKIN, FitState
from avatarcli.gaussians.openings import at_rims
from avatarcli.gaussians.pictures import AtHand, Backgrounds, PictureSource, Schedule
from avatarcli.gaussians.rig import on_triangles

_REACH_AT_RIMS = 0.001  # metres: what crosses from one lid or lip to the other would tear off when they part
_HOLD_EVERY = 4  # steps after which clothes and skin are brought back to their surfaces: they do not stray far
_HOLD_IN_BUST_EVERY = 12
# Hair is combed when it stands where it will and nothing is added any more; the rest of the run fits what is around it.
_COMB = 0.75
_CHECKPOINT = ".checkpoint.safetensors"  # hidden: a working file, not part of the result
_CHECKPOINTS, _FEWEST_STEPS = 5, 50  # parts of a run after which progress is kept, and how long such a part is at least


def optimise(
    avatar: Avatar,
    pictures: PictureSource,
    schedule: Schedule,
    *,
    reach: Tensor | None = None,
    bust: Bust | None = None,
    colors: ColorRange | None = None,
    device: str,
    folder: Path | None = None,
    advance: Callable[[int], None] = lambda steps: None,
    judge: Callable[[Avatar], None] = lambda avatar: None,
    comb: Callable[[Avatar], tuple[Avatar, Tensor]] | None = None,
) -> Avatar:
    """Fit the avatar to the pictures. With a folder, progress is kept there and a later call goes on from it.

    reach [G]: metres that each Gaussian may stray from where it starts before that counts as a fault; default REACH_OF_SKIN.
    bust: the shape that clothes keep to. colors: what Gaussians keep to; default: none are held.
    judge: sees the avatar once, before the first step that may show a held-out picture.
    comb: changes the avatar (on the CPU) late in the run, but not the number of Gaussians, and says what each of them `Follows` [G]
    from then on.
    The order of pictures depends on seed and step alone, so a resumed run sees the same ones.
    """
    if reach is None:
        reach = torch.full((avatar.count,), REACH_OF_SKIN)
    reach = torch.where(on_triangles(at_rims(avatar.head), avatar.binding), reach.clamp(max=_REACH_AT_RIMS), reach)
    bust = None if bust is None else bust.to(device)
    colors = ColorRange.free(avatar.means) if colors is None else colors
    state = FitState.create(avatar.to(device), reach.to(device), colors.to(device), len(pictures))
    at_hand, backgrounds = AtHand(pictures, device), Backgrounds(schedule.seed, device)
    first = 0
    if folder is not None and (folder / _CHECKPOINT).exists():
        first = state.restore(folder / _CHECKPOINT)
        advance(first)
    every = max(_FEWEST_STEPS, schedule.iterations // _CHECKPOINTS)
    for step in range(first, schedule.iterations):
        if schedule.hold_out and step == schedule.join:
            judge(state.avatar())
        if comb is not None and step == int(_COMB * schedule.iterations):
            state.take(*comb(state.avatar().to("cpu")))
        index = schedule.choose(step, len(pictures))
        loss = state.loss(at_hand[index], index, backgrounds[step])
        state.step(loss, step / schedule.iterations, photo=index < schedule.photos)
        if step % _HOLD_EVERY == 0 or step + 1 == schedule.iterations:
            state.hold_surfaces()
            state.hold_lids()
        if bust is not None and (step % _HOLD_IN_BUST_EVERY == 0 or step + 1 == schedule.iterations):
            state.hold_in(bust)
        if state.density.due(step, schedule.iterations):
            known = {*range(schedule.photos), *schedule.shown(len(pictures))}
            state.refine(schedule.limit, (at_hand[n] for n in sorted(known)))
        if folder is not None and (step + 1) % every == 0 and step + 1 < schedule.iterations:
            state.store(folder / _CHECKPOINT, step + 1)
        advance(1)
    if folder is not None:
        (folder / _CHECKPOINT).unlink(missing_ok=True)
    strays = state.strays(at_hand[n] for n in range(len(pictures)))
    return state.avatar().part(~strays).to("cpu")
