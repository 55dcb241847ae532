"""Upper eyelashes: thin Gaussians on the edge of the lid, which turn down with it.

Open eyes show lashes from their end, as one dark line. So neither the photo nor the views teach where they lie when eyes shut, and
a blink would end in a smooth fold of skin. They are no part of a fit: they are planted on what it has made, in its own colors.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.gaussians.avatar import SH_C0, Avatar
from avatarcli.gaussians.rig import Rig, lengths, on_triangles
from avatarcli.geometry.rotations import matrix_to_quaternion
from avatarcli.geometry.space import neighbours
from avatarcli.head.face_points import UPPER_LIDS
from avatarcli.head.model import PersonalHead, still_head

ON_A_LID = 44
LASHES = ON_A_LID * len(UPPER_LIDS)  # of an avatar
_BARE = 0.12  # of the lid's edge from the inner corner, where hardly any grow
# Metres: of the longest, in the middle of the lid, and what a Gaussian's standard deviation is across.
_LENGTH, _THICKNESS = 0.0045, 0.00013
_AT_CORNERS, _UNEVEN = 0.65, 0.2  # of the longest: how long those at the corners are, and by how much neighbours differ
_DEVIATION = 0.27  # of a lash's length: the standard deviation along it
_MIDDLE = 0.42  # of its length from the root: the point it is drawn around
# They grow away from the eye's middle, lowered by so much; neighbours cross by so much; to the sides they turn by a share of that.
# Lashes of 6 mm that fan out as they grow, with an opacity of 0.7, look like eyeliner from the front: five people's faces were .292
# from their photos by the face embedding, .268 without lashes, .271 with these.
_LOWERED, _CROSSING, _FANNED = 0.2, 0.04, 0.3
_CARRIERS = 32  # triangles around a root, of which one carries the lash
_SHUT = (0.5, 1.0)  # blinks by which it is chosen
_DARKEST, _DARKER = 0.15, 0.9  # share of the lid's edge that is taken for lashes, and what they are of its color
_OPACITY = 0.45


def with_lashes(avatar: Avatar, seed: int) -> Avatar:
    """The avatar (on the CPU) with LASHES more Gaussians: upper lashes in the color of the darkest that its lids' edges show."""
    head = avatar.head
    of_edge = 0.5 + SH_C0 * avatar.sh[on_triangles(head.model.faces_in("eyelid"), avatar.binding), 0]
    if len(of_edge) == 0:
        return avatar
    shade = of_edge.mean(-1)
    color = _DARKER * of_edge[shade <= shade.quantile(_DARKEST)].mean(0)
    generator = torch.Generator().manual_seed(seed)
    lids = [_grow(head, eye, generator) for eye in UPPER_LIDS]
    roots, lashes, binding = (torch.cat(parts) for parts in zip(*lids, strict=True))
    length = lengths(lashes)[:, None]
    along = lashes / length
    across = functional.normalize(torch.linalg.cross(along, along.new_tensor([0.0, 1.0, 0.0]).expand_as(along)), dim=-1)
    frame = torch.stack([along, across, torch.linalg.cross(along, across)], dim=-1)
    thickness = torch.full_like(length, _THICKNESS)
    new = {
        "binding": binding,
        "means": roots + _MIDDLE * lashes,
        "quaternions": matrix_to_quaternion(frame),
        "log_scales": torch.cat([_DEVIATION * length, thickness, thickness], -1).log(),
        "opacity_logits": avatar.opacity_logits.new_full((LASHES,), math.log(_OPACITY / (1 - _OPACITY))),
        "sh": ((color - 0.5) / SH_C0).expand(LASHES, 1, 3),
    }
    rows: dict[str, Any] = {name: torch.cat([getattr(avatar, name), value]) for name, value in new.items()}
    basis = avatar.correctives.basis
    still = torch.cat([basis, basis.new_zeros(LASHES, *basis.shape[1:])])
    return replace(avatar, correctives=replace(avatar.correctives, basis=still), **rows)


def _grow(head: PersonalHead, eye: str, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Where the lashes of an eye are rooted at rest, the way from there to their tips [L, 3] (metres), and their carriers [L]."""
    share = (torch.arange(ON_A_LID) + torch.rand(ON_A_LID, generator=generator)) / ON_A_LID * (1 - _BARE)
    crossing = _CROSSING * torch.randn(ON_A_LID, 3, generator=generator)
    uneven = 1 + _UNEVEN * (2 * torch.rand(ON_A_LID, generator=generator) - 1)
    length = _LENGTH * uneven * torch.lerp(torch.tensor(_AT_CORNERS), torch.tensor(1.0), (share * torch.pi).sin())
    middle = head.joints[head.model.joint_names.index(eye)]

    def lash(vertices: Tensor) -> tuple[Tensor, Tensor]:
        """Roots and ways on a head of these vertices."""
        line = head.model.landmarks(vertices)[list(UPPER_LIDS[eye])]
        last = len(line) - 1
        before = (share * last).long().clamp(max=last - 1)
        root = torch.lerp(line[before], line[before + 1], (share * last - before)[:, None])
        direction = functional.normalize((root - middle) * root.new_tensor([_FANNED, 1.0, 1.0]), dim=-1) + crossing
        direction[:, 1] -= _LOWERED
        return root, functional.normalize(direction, dim=-1) * length[:, None]

    root, way = lash(head.neutral)
    # Single triangles of a lid's edge fold up or turn over as it shuts. Of those around each root, that one carries the lash whose
    # tip goes most nearly where it belongs.
    skin = head.model.faces_in("face", "eyelid").nonzero()[:, 0]
    _, around = neighbours(head.neutral[head.model.faces[skin]].mean(1), root, _CARRIERS)
    rig = Rig.create(head, skin[around].flatten())
    tips = (root + way).repeat_interleave(_CARRIERS, 0)
    off = torch.zeros(len(tips))
    for weight in _SHUT:
        face = still_head(dict.fromkeys(("eyeBlinkLeft", "eyeBlinkRight"), weight))
        motion = rig.motion(face)
        carried = (motion.affine @ tips[..., None])[..., 0] + motion.shift
        edge, onward = lash(head.posed(face)[0])
        off += lengths(carried - (edge + onward).repeat_interleave(_CARRIERS, 0))
    best = off.view(ON_A_LID, -1).argmin(1)
    return root, way, skin[around[torch.arange(ON_A_LID), best]]
