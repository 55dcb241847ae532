"""Where the shell is opaque: hair and clothes as the photo shows them, and as they probably go on."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.geometry.fill import blur, pull_push, ramp
from avatarcli.head.model import PersonalHead
from avatarcli.reproject.shell import brow_height, front_of_face
from avatarcli.reproject.shell_view import ShellView, Zone, by_rows

# A head with so much hair on its sides is covered behind, too: a side is seen aslant, partly bare.
_SIDES_SPEAK = 1.6


def shell_cover(view: ShellView, head: PersonalHead, posed: Tensor) -> Tensor:
    """Coverage [H, W]: the photo's where it is seen, else the other side's, else each zone continues on its own, so that a bare
    neck does not shave the back of the head. posed [N, 3]: the bare head in the photo."""
    face, seen = _hair_on_face(view, head, posed), _seen(view, head, posed)
    mirror_seen = (1 - seen) * seen.flip(1)
    known = seen + mirror_seen
    coverage = (view.covered * seen + view.covered.flip(1) * mirror_seen) / known.clamp(min=1e-6)
    cover = coverage * known
    behind = ramp(-view.rest[..., 2], -0.2, 0.1)
    for zone in Zone:
        here = view.within(zone)
        weight = known * here
        unknown = 1 - known
        if zone == Zone.FACE:
            # Below the forehead the other side's hair says nothing, and neither do the surroundings.
            spread = torch.maximum(
                pull_push(coverage[..., None], weight, wrap=True)[..., 0] * face, _stands_off(view, head, posed)
            )
            unknown = 1 - torch.maximum(seen, known * face)
        elif zone == Zone.SCALP:
            # Only the front's hairline is a matter of pixels.
            spread = pull_push(coverage[..., None], weight, wrap=True)[..., 0]
            sides = weight * (view.rest[..., 2].abs() < 0.5)
            mean = (coverage * sides).sum() / sides.sum().clamp(min=1e-6)
            spread = torch.lerp(spread, (_SIDES_SPEAK * mean).clamp(0, 1).expand_as(spread), behind)
        elif zone == Zone.EAR:
            # Hidden or bare as a whole; around a bare one the scalp's own edge is where hair ends.
            spread = torch.lerp(torch.ones_like(coverage), view.hairline, view.bare)
        elif zone == Zone.NECK:
            # Hair or a collar beside the neck goes on round its back, where the shell stands for the skin, too: a nape would lie
            # in a notch between hair and collar.
            beside = by_rows(view.covered[..., None], view.seen * here * view.aside)[..., 0]
            spread = torch.lerp(beside, torch.ones_like(beside), behind)
        else:
            spread = torch.ones_like(coverage)
        # Half-covered skin is a guess that looks like mist: decide.
        cover = cover + here * ramp(spread, 0.4, 0.6) * unknown
    cover = torch.lerp(blur(cover[..., None], 2.5)[..., 0], cover, seen)
    # Grown by 2 mm, so that no sliver of background shines through between the hair's edge and the skin.
    return functional.max_pool2d(cover[None, None], 5, stride=1, padding=2)[0, 0].clamp(0, 1)


def _seen(view: ShellView, head: PersonalHead, posed: Tensor) -> Tensor:
    """How far the photo's own coverage counts [H, W]."""
    # Below the forehead hair hides a face only where the photo says so, seen well enough to tell a cheek from what is behind it.
    squarely = torch.maximum(_forehead(view, head, posed), ramp(view.facing, 0.5, 0.75))
    seen = view.seen * torch.lerp(torch.ones_like(squarely), squarely, view.within(Zone.FACE))
    # Beside a bare ear shadows of jaw and ear, seen aslant, look like hair.
    doubtful = view.below_ears * view.within(Zone.FACE, Zone.NECK)
    seen = seen * torch.lerp(torch.ones_like(seen), ramp(view.facing, 0.6, 0.85), doubtful)
    return seen * (1 - view.bare * view.within(Zone.EAR))


def _forehead(view: ShellView, head: PersonalHead, posed: Tensor) -> Tensor:
    """1 away from the face proper [H, W]."""
    return 1 - front_of_face(head.model, posed, view.points.reshape(-1, 3)).view(view.zone.shape)


def _hair_on_face(view: ShellView, head: PersonalHead, posed: Tensor) -> Tensor:
    """How far hair may go on over the face's zone [H, W] where no photo shows it."""
    forehead = _forehead(view, head, posed)
    temple = view.bare * ramp(view.rest[..., 0].abs(), 0.6, 0.8)
    return torch.lerp(forehead, forehead * view.hairline, temple) * (1 - view.below_ears)


def _stands_off(view: ShellView, head: PersonalHead, posed: Tensor) -> Tensor:
    """1 [H, W] where the shell stands off the forehead by a finger's breadth: that is hair, seen or not."""
    above = ramp(view.points[..., 1] - brow_height(head.model, posed), 0.02, 0.05)
    return above * ramp(view.thickness, 0.005, 0.012)
