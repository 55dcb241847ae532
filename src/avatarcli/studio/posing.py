"""Moves a subject: expression, gaze, and the neck that carries everything."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.geometry.rotations import axis_angle_to_matrix
from avatarcli.head.model import NECK_CHAIN, eye_turns, neck_chain, neck_turns
from avatarcli.head.parameters import HeadParameters
from avatarcli.studio.pack_head import PackHead
from avatarcli.studio.scene import BoundMesh, PosedMesh

# Inner lips (MediaPipe's points 13 and 14) nearer than the first are shut, farther than the second wide open: metres.
_INNER_LIPS = (13, 14)
_LIPS_SHUT, _LIPS_OPEN = 0.0025, 0.0085
# Metres: the eyeball's occlusion stays in the head while the ball turns; it is looked up among vertices within this reach.
_EYE_REACH = 0.001


class Poser:
    """Poses one subject, many frames at a time, on the device of the head and the meshes.

    neutral [N, 3] and joints [J, 3]: that person's head at rest. The vertices it gives are the drawn head's, then
    those of `worn`.
    """

    def __init__(self, head: PackHead, neutral: Tensor, joints: Tensor, worn: list[BoundMesh]) -> None:
        drawn = head.drawn
        self._head = head
        self._neutral = neutral
        self._joints = joints
        self._drawn = head.drawn_neutral(neutral)
        self._bind_index = torch.cat([mesh.bind_index for mesh in worn])
        self._bind_weight = torch.cat([mesh.bind_weight for mesh in worn])
        self._bind_offset = torch.cat([mesh.offset for mesh in worn])
        self._skinning = torch.cat([drawn.skinning, *(mesh.skinning for mesh in worn)])
        seen = [
            torch.ones(len(mesh.offset), device=neutral.device) if mesh.occlusion is None else mesh.occlusion
            for mesh in worn
        ]
        self._worn_occlusion = torch.cat(seen)

    @property
    def neutral(self) -> Tensor:
        """All rows [N, 3] of the person's head at rest."""
        return self._neutral

    def __call__(self, motion: HeadParameters) -> PosedMesh:
        """Frames of the subject. `motion` lies on the subject's device."""
        coarse = self._coarse(motion)
        vertices, offset, eyes = self._posed(motion, coarse)
        occlusion = self._occlusion(coarse, eyes)
        return PosedMesh(
            vertices=vertices,
            offset=functional.pad(offset, (0, 0, 0, vertices.shape[1] - offset.shape[1])),
            occlusion=torch.cat([occlusion, self._worn_occlusion.expand(len(motion), -1)], dim=1),
        )

    def vertices(self, motion: HeadParameters) -> Tensor:
        """The vertices [F, N, 3] alone, without what the sky sees of them, which is most of the work."""
        return self._posed(motion, self._coarse(motion))[0]

    def landmarks(self, motion: HeadParameters) -> Tensor:
        """MediaPipe's 478 points [F, 478, 3] in the world, metres. Those of the irises follow the gaze."""
        head = self._head
        coarse = self._coarse(motion)
        turns, eyes = _turns(motion)
        for side, part in enumerate(("eye_l", "eye_r")):
            coarse[:, head.rows(part)] = self._turned(coarse[:, head.rows(part)], part, eyes[side])
        corners = head.landmark_triangles
        skinning = (head.skinning[corners] * head.landmark_weights[..., None]).sum(-2)
        return self._carry(head.landmarks(coarse), motion, turns, skinning)

    def _coarse(self, motion: HeadParameters) -> Tensor:
        """All rows [F, N, 3] of the person's head with the expressions, not yet carried."""
        return self._neutral + torch.tensordot(motion.expression, self._head.expression_basis, dims=1)

    def _posed(self, motion: HeadParameters, coarse: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """All vertices; what the expression adds to the drawn head's [F, M, 3]; and the turned eyes' at rest, by part."""
        drawn = self._head.drawn
        turns, of_eyes = _turns(motion)
        offset = torch.tensordot(motion.expression, drawn.expression_basis, dims=1)
        rest = self._drawn + offset
        eyes = self._turn_eyes(rest, of_eyes)
        for name, vertices in eyes.items():
            rest[:, drawn.rows(name)] = vertices
        worn = (coarse[:, self._bind_index] * self._bind_weight[..., None]).sum(-2) + self._bind_offset
        return self._carry(torch.cat([rest, worn], dim=1), motion, turns, self._skinning), offset, eyes

    def _turned(self, vertices: Tensor, eye: str, rotation: Tensor) -> Tensor:
        """An eye's vertices [F, n, 3] turned about its joint [F, 3, 3]."""
        centre = self._joints[self._head.joint_names.index(eye)]
        return (vertices - centre) @ rotation.transpose(-1, -2) + centre

    def _turn_eyes(self, rest: Tensor, turns: Tensor) -> dict[str, Tensor]:
        turned = {}
        for side, letter in enumerate("lr"):
            for part in (f"eye_{letter}", f"cornea_{letter}"):
                turned[part] = self._turned(rest[:, self._head.drawn.rows(part)], f"eye_{letter}", turns[side])
        return turned

    def _occlusion(self, coarse: Tensor, eyes: dict[str, Tensor]) -> Tensor:
        """How much of the sky the drawn head's vertices see [F, M]."""
        drawn = self._head.drawn
        lips = self._head.landmarks(coarse)[:, _INNER_LIPS]
        gap = (lips[:, 0] - lips[:, 1]).norm(dim=-1, keepdim=True)
        opened = ((gap - _LIPS_SHUT) / (_LIPS_OPEN - _LIPS_SHUT)).clamp(0, 1)
        seen = drawn.occlusion_shut * (1 - opened) + drawn.occlusion_open * opened
        # The stored values are of the whole dome of light; these curves bring them to how bright such places look in photos, for
        # light also arrives by way of skin and teeth. Behind shut lips it is dark, or teeth would shine through hair-thin gaps.
        result = (seen * 1.25).clamp(0, 1)
        for name, vertices in eyes.items():
            if not name.startswith("eye"):
                continue
            still = self._drawn[drawn.rows(name)]
            near = torch.softmax(-torch.cdist(vertices, still.expand(len(vertices), -1, -1)) / _EYE_REACH, dim=-1)
            result[:, drawn.rows(name)] = ((near @ drawn.occlusion_shut[drawn.rows(name)]) * 1.7).clamp(0, 1) ** 0.8
        for name, gain, floor in (("tongue", 4.0, 0.06), ("teeth_upper", 6.0, 0.25), ("teeth_lower", 6.0, 0.25)):
            inside = drawn.occlusion_open[drawn.rows(name)]
            result[:, drawn.rows(name)] = ((gain * inside + floor) * opened).clamp(0, 1)
        for name in ("cornea_l", "cornea_r"):
            result[:, drawn.rows(name)] = 1.0
        return result

    def _carry(self, points: Tensor, motion: HeadParameters, turns: Tensor, skinning: Tensor) -> Tensor:
        """Points [F, P, 3] at rest moved by the neck (turns [4, F, 3, 3] of NECK_CHAIN), then by the pose of the whole bust."""
        joints = [self._joints[self._head.joint_names.index(name)] for name in NECK_CHAIN]
        bones = motion.head_pose[:, None] @ neck_chain(turns, joints).transpose(0, 1)
        blended = (skinning @ bones[:, :, :3].flatten(2)).unflatten(-1, (3, 4))
        return (blended[..., :3] @ points[..., None])[..., 0] + blended[..., 3]


def _turns(motion: HeadParameters) -> tuple[Tensor, Tensor]:
    """Rotations of the neck's joints [4, F, 3, 3] and of both eyes [2, F, 3, 3], made at once."""
    every = torch.cat([neck_turns(motion.neck), eye_turns(motion.gaze).transpose(0, 1)])
    turns = axis_angle_to_matrix(every)
    return turns[: len(NECK_CHAIN)], turns[len(NECK_CHAIN) :]
