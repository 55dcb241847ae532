"""Moves a subject: expression, gaze, and the neck that carries everything."""

from __future__ import annotations

import torch
from torch import Tensor

from avatarcli.geometry.rotations import axis_angle_to_matrix, rigid
from avatarcli.head.model import NECK_SHARE
from avatarcli.head.track import HeadParameters
from avatarcli.training.studio.pack_head import PackHead
from avatarcli.training.studio.scene import BoundMesh, PosedMesh

_CHAIN = ("neck01", "neck02", "neck03", "head")
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
        head, drawn = self._head, self._head.drawn
        frames = len(motion)
        expression = motion.expression
        offset = torch.tensordot(expression, drawn.expression_basis, dims=1)
        coarse = self._neutral + torch.tensordot(expression, head.expression_basis, dims=1)
        rest = self._drawn + offset
        eyes = self._turn_eyes(rest, motion.gaze)
        occlusion = self._occlusion(coarse, eyes)
        for name, vertices in eyes.items():
            rest[:, drawn.rows(name)] = vertices
        worn = (coarse[:, self._bind_index] * self._bind_weight[..., None]).sum(-2) + self._bind_offset
        vertices = self._carry(torch.cat([rest, worn], dim=1), motion)
        return PosedMesh(
            vertices=vertices,
            offset=torch.cat([offset, torch.zeros_like(worn)], dim=1),
            occlusion=torch.cat([occlusion, self._worn_occlusion.expand(frames, -1)], dim=1),
        )

    def landmarks(self, motion: HeadParameters) -> Tensor:
        """MediaPipe's 478 points [F, 478, 3] in the world, metres. Those of the irises follow the gaze."""
        head = self._head
        coarse = self._neutral + torch.tensordot(motion.expression, head.expression_basis, dims=1)
        coarse = coarse.clone()
        for side, part in enumerate(("eye_l", "eye_r")):
            coarse[:, head.rows(part)] = self._turned(coarse[:, head.rows(part)], part, motion.gaze[:, side])
        corners = head.landmark_triangles
        skinning = (head.skinning[corners] * head.landmark_weights[..., None]).sum(-2)
        return self._carry(head.landmarks(coarse), motion, skinning)

    def _turned(self, vertices: Tensor, eye: str, gaze: Tensor) -> Tensor:
        """An eye's vertices [F, n, 3] turned about its joint by gaze [F, 2] (yaw to the subject's left, pitch up)."""
        rotation = axis_angle_to_matrix(torch.stack([-gaze[:, 1], gaze[:, 0], torch.zeros_like(gaze[:, 0])], dim=-1))
        centre = self._joints[self._head.joint_names.index(eye)]
        return (vertices - centre) @ rotation.transpose(-1, -2) + centre

    def _turn_eyes(self, rest: Tensor, gaze: Tensor) -> dict[str, Tensor]:
        turned = {}
        for side, letter in enumerate("lr"):
            for part in (f"eye_{letter}", f"cornea_{letter}"):
                turned[part] = self._turned(rest[:, self._head.drawn.rows(part)], f"eye_{letter}", gaze[:, side])
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

    def _carry(self, points: Tensor, motion: HeadParameters, skinning: Tensor | None = None) -> Tensor:
        """Points [F, P, 3] at rest moved by the neck, then by the pose of the whole bust."""
        if skinning is None:
            skinning = self._skinning
        frames = len(motion)
        chain = [torch.eye(4, dtype=points.dtype, device=points.device).expand(frames, 4, 4)]
        for name in _CHAIN:
            rotation = axis_angle_to_matrix(motion.neck * NECK_SHARE.get(name, 0.0))
            joint = self._joints[self._head.joint_names.index(name)]
            chain.append(chain[-1] @ rigid(rotation, joint - rotation @ joint))
        bones = motion.head_pose[:, None] @ torch.stack(chain, dim=1)
        blended = (skinning @ bones[:, :, :3].flatten(2)).unflatten(-1, (3, 4))
        return (blended[..., :3] @ points[..., None])[..., 0] + blended[..., 3]
