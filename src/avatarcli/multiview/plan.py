"""Which pictures a generator makes: the head from all around, and the face in the poses that show what it can do."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from avatarcli.geometry.cameras import Camera
from avatarcli.head.expressions import expression_vector
from avatarcli.head.model import still_heads
from avatarcli.head.parameters import HeadParameters
from avatarcli.multiview.framing import Framing

# Elevations of successive cameras of the ring, degrees. Low and high ones alternate, so that neighbours see each other's blind
# spots: under the chin and on top of the head.
_ELEVATIONS = (0.0, 18.0, -12.0, 8.0, 32.0, -4.0, 14.0, -18.0, 5.0, 24.0, -8.0, 40.0)

# A face at rest, then poses that between them move every part that ARKit names, combined as faces combine them. What is seen most
# comes first: a plan may take only some of them.
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
FACE_REGIONS = ("face", "nose", "lip", "eyelid")  # of the head: what such pictures frame


@dataclass(frozen=True)
class Reel:
    """What one camera sees: the numbers of successive frames, the first of which stands alone. A single frame is a still."""

    view: int
    frames: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """Which pictures there are: V cameras, F frames of head parameters, and the clips that the cameras take of them.

    No camera takes the same frame twice. The last `crops` cameras see the face only.
    """

    cameras: Camera
    parameters: HeadParameters
    clips: tuple[Reel, ...]
    crops: int = 0

    @classmethod
    def full(cls, cameras: Camera, parameters: HeadParameters) -> Plan:
        """Every camera films every frame."""
        frames = tuple(range(len(parameters)))
        return cls(cameras, parameters, tuple(Reel(view, frames) for view in range(len(cameras))))

    @property
    def views(self) -> int:
        return len(self.cameras)

    @property
    def frames(self) -> int:
        return len(self.parameters)

    @property
    def pictures(self) -> list[tuple[int, int]]:
        """View and frame of every picture, clip by clip."""
        return [(clip.view, frame) for clip in self.clips for frame in clip.frames]

    def at_rest(self) -> Plan:
        """Those of its pictures that show the first frame, as stills."""
        stills = tuple(Reel(clip.view, (0,)) for clip in self.clips if 0 in clip.frames)
        return replace(self, parameters=self.parameters[:1], clips=stills)


def make_plan(framing: Framing, face: Tensor, *, views: int, face_views: int, frames: int, size: int) -> Plan:
    """The head at rest from all around, and the face in all its expressions from the front.

    `views` cameras stand on the full circle, at −18° … +40° of elevation. `face_views` more stand in front of the face and up to
    45° beside it; it fills their pictures, and they see all `frames` poses of the clip. What a face does is not seen from
    behind, and a mouth in the picture of a whole head is a few pixels wide.

    face [N, 3]: its surface at rest, metres. size: pixels along each side.
    """
    index = torch.arange(views)
    yaw = index / views * 2 * math.pi
    pitch = torch.deg2rad(torch.tensor([_ELEVATIONS[i % len(_ELEVATIONS)] for i in range(views)]))
    heads, faces = framing.cameras(yaw, pitch, size), _face_cameras(framing, face, face_views, size)
    cameras = Camera(
        torch.cat([heads.world_to_camera, faces.world_to_camera]), torch.cat([heads.K, faces.K]), size, size
    )
    # Stills: in a clip, four frames share a latent, which holds a motion but not four faces that have nothing in common.
    rest = [Reel(view, (0,)) for view in range(views + face_views)]
    expressions = [Reel(views + view, (frame,)) for frame in range(1, frames) for view in range(face_views)]
    return Plan(cameras, scheduled_clip(frames), (*rest, *expressions), face_views)


def _face_cameras(framing: Framing, face: Tensor, count: int, size: int) -> Camera:
    """`count` cameras whose pictures a face [N, 3] fills, evenly spread from its right to its left."""
    yaw = torch.linspace(-_FACE_YAW, _FACE_YAW, count) if count > 1 else torch.zeros(count)
    heads = framing.cameras(yaw, torch.zeros(count), size)
    pixels, _ = heads.project(face)
    low, high = pixels.amin(1), pixels.amax(1)
    side = (high - low).amax(-1, keepdim=True) * (1 + _FACE_MARGIN)
    K = heads.K.clone()
    K[:, :2, 2] -= (low + high - side) / 2
    K[:, :2] *= (size / side)[..., None]
    return Camera(heads.world_to_camera, K, size, size)


def scheduled_clip(frames: int) -> HeadParameters:
    """The face at rest and up to 16 poses after it, those that matter most first. After the eighth they come again, halved.

    Raises ValueError when there are not as many.
    """
    poses = torch.tensor([expression_vector(pose) for pose in _POSES])
    expression = torch.cat([poses, poses[1:] / 2])[:frames]
    if not 1 <= frames <= len(expression):
        raise ValueError(f"there are 1 to {2 * len(poses) - 1} expressions, {frames} are wanted")
    return still_heads(expression)
