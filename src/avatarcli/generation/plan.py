"""Which pictures a generator makes: cameras all around the head, and a short clip that shows what the face can do."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.framing import Framing
from avatarcli.head.expressions import expression_vector
from avatarcli.head.model import gaze_from_expression
from avatarcli.head.track import HeadParameters

# Elevations of successive cameras of the ring, degrees. Low and high ones alternate, so that neighbours see each other's blind
# spots: under the chin and on top of the head.
_ELEVATIONS = (0.0, 18.0, -12.0, 8.0, 32.0, -4.0, 14.0, -18.0, 5.0, 24.0, -8.0, 40.0)

# The clip: a face at rest, then poses that between them move every part that ARKit names. Combined as faces combine them.
_POSES: tuple[dict[str, float], ...] = (
    {},
    {"jawOpen": 0.75, "mouthLowerDownLeft": 0.2, "mouthLowerDownRight": 0.2},
    {"mouthSmileLeft": 0.9, "mouthSmileRight": 0.9, "mouthUpperUpLeft": 0.4, "mouthUpperUpRight": 0.4, "jawOpen": 0.12,
     "cheekSquintLeft": 0.6, "cheekSquintRight": 0.6, "eyeSquintLeft": 0.4, "eyeSquintRight": 0.4},
    {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0, "mouthPressLeft": 0.5, "mouthPressRight": 0.5, "mouthRollLower": 0.4,
     "mouthRollUpper": 0.3},
    {"mouthFunnel": 0.6, "mouthPucker": 0.4, "jawOpen": 0.25, "browInnerUp": 0.5, "eyeLookInLeft": 0.7, "eyeLookOutRight": 0.7},
    {"browInnerUp": 0.7, "browOuterUpLeft": 0.8, "browOuterUpRight": 0.8, "eyeWideLeft": 0.9, "eyeWideRight": 0.9,
     "mouthStretchLeft": 0.6, "mouthStretchRight": 0.6, "jawOpen": 0.35, "eyeLookUpLeft": 0.6, "eyeLookUpRight": 0.6},
    {"browDownLeft": 0.9, "browDownRight": 0.9, "noseSneerLeft": 0.6, "noseSneerRight": 0.6, "mouthFrownLeft": 0.7,
     "mouthFrownRight": 0.7, "mouthShrugLower": 0.5, "eyeSquintLeft": 0.6, "eyeSquintRight": 0.6},
    {"eyeBlinkLeft": 1.0, "mouthLeft": 0.7, "jawLeft": 0.5, "mouthSmileLeft": 0.5, "cheekSquintLeft": 0.7, "mouthDimpleLeft": 0.5,
     "eyeLookOutLeft": 0.7, "eyeLookInRight": 0.7},
    {"eyeBlinkRight": 0.6, "mouthRight": 0.7, "jawRight": 0.5, "jawOpen": 0.2, "cheekPuff": 0.5, "eyeLookDownLeft": 0.8,
     "eyeLookDownRight": 0.8},
)  # fmt: skip


# Of the pictures that show the face only: how far to the sides they are taken, and how much lies around the face at rest, as a
# share of it. The widest open mouth of the clip moves the chin by 4 %.
_FACE_YAW = math.radians(45.0)
_FACE_MARGIN = 0.15


@dataclass(frozen=True)
class Plan:
    """V cameras and F frames of head parameters: every camera sees every frame. The last `crops` cameras see the face only."""

    cameras: Camera
    parameters: HeadParameters
    crops: int = 0

    @property
    def views(self) -> int:
        return len(self.cameras)

    @property
    def frames(self) -> int:
        return len(self.parameters)


def make_plan(framing: Framing, views: int, frames: int, size: int) -> Plan:
    """Spread `views` cameras over the full circle and −18° … +40° of elevation, and `frames` poses over the clip."""
    index = torch.arange(views)
    yaw = index / views * 2 * math.pi
    pitch = torch.deg2rad(torch.tensor([_ELEVATIONS[i % len(_ELEVATIONS)] for i in range(views)]))
    return Plan(framing.cameras(yaw, pitch, size), scheduled_clip(frames))


def with_face_views(plan: Plan, framing: Framing, face: Tensor, count: int) -> Plan:
    """The plan with `count` more cameras in front of the face and up to 45° beside it, whose pictures it fills.

    face [N, 3]: its surface at rest, metres.
    """
    size = plan.cameras.width
    yaw = torch.linspace(-_FACE_YAW, _FACE_YAW, count) if count > 1 else torch.zeros(count)
    heads = framing.cameras(yaw, torch.zeros(count), size)
    pixels, _ = heads.project(face)
    low, high = pixels.amin(1), pixels.amax(1)
    side = (high - low).amax(-1, keepdim=True) * (1 + _FACE_MARGIN)
    K = heads.K.clone()
    K[:, :2, 2] -= (low + high - side) / 2
    K[:, :2] *= (size / side)[..., None]
    whole = plan.cameras
    cameras = Camera(torch.cat([whole.world_to_camera, heads.world_to_camera]), torch.cat([whole.K, K]), size, size)
    return Plan(cameras, plan.parameters, plan.crops + count)


def scheduled_clip(frames: int) -> HeadParameters:
    """The scheduled expressions as `frames` evenly spaced moments, the first at rest; between poses the face moves linearly."""
    poses = torch.tensor([expression_vector(pose) for pose in _POSES])
    position = torch.linspace(0, len(poses) - 1, frames) if frames > 1 else torch.zeros(1)
    low = position.floor().long().clamp(max=len(poses) - 2)
    blend = (position - low)[:, None]
    expression = poses[low] * (1 - blend) + poses[low + 1] * blend
    rest = HeadParameters.at_rest(frames)
    return HeadParameters(expression, gaze_from_expression(expression), rest.neck, rest.head_pose)
