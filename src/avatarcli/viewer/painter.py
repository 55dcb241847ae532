"""Poses to pictures: drawn here, or packed for a browser to draw."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from avatarcli.arrays import Float32
from avatarcli.export.images import Frame
from avatarcli.gaussians.avatar import Avatar, Splats
from avatarcli.gaussians.rasterize import picture_bytes, rasterize
from avatarcli.geometry.cameras import Camera, intrinsics
from avatarcli.geometry.colors import Color
from avatarcli.geometry.rotations import invert_rigid, quaternion_to_matrix, rigid
from avatarcli.head.parameters import HeadParameters
from avatarcli.multiview.framing import DISTANCE, Framing

# Browsers get covariances in half precision, whose normal numbers start at 6e-5: in square metres most would fall below, in square
# centimetres few do.
CLOUD_UNIT = 0.01  # metres


class View(NamedTuple):
    """Where one person looks from: the camera's rotation (wxyz, OpenCV's axes) and position in the world, its vertical field of
    view (radians), and the size of their picture (pixels)."""

    wxyz: tuple[float, ...]
    position: tuple[float, ...]
    field_of_view: float
    width: int
    height: int

    def camera(self, width: int, height: int) -> Camera:
        """The camera for a picture of another size and about the same shape."""
        rotation = quaternion_to_matrix(torch.tensor(self.wxyz, dtype=torch.float32))
        pose = rigid(rotation, torch.tensor(self.position, dtype=torch.float32))
        focal = 0.5 * height / math.tan(self.field_of_view / 2)
        return Camera(invert_rigid(pose), intrinsics(focal, width, height), width, height)

    def fitted(self, longest: int) -> tuple[int, int]:
        """The largest picture of this shape whose sides are even and at most `longest`: (width, height)."""
        scale = longest / max(self.width, self.height)
        return max(2, round(self.width * scale / 2) * 2), max(2, round(self.height * scale / 2) * 2)


class Cloud(NamedTuple):
    """Gaussians for a browser, in CLOUD_UNIT: centers [G, 3], covariances [G, 3, 3], rgbs [G, 3], opacities [G, 1]."""

    centers: Float32
    covariances: Float32
    rgbs: Float32
    opacities: Float32


class Painter:
    """Draws one avatar on its device."""

    def __init__(self, avatar: Avatar) -> None:
        self.avatar = avatar
        self._rig = avatar.rig()

    @property
    def device(self) -> torch.device:
        return self.avatar.means.device

    @torch.inference_mode()
    def splats(self, pose: HeadParameters) -> Splats:
        """The Gaussians of a pose."""
        return self.avatar.splats(self._rig, pose.to(self.device))

    @torch.inference_mode()
    def picture(self, splats: Splats, camera: Camera, background: Color) -> Frame:
        """A picture uint8 [H, W, 3]; background: sRGB in [0, 1]."""
        drawn = rasterize(*splats, camera.to(self.device), torch.tensor(background))
        return picture_bytes(drawn, opaque=True)

    @torch.inference_mode()
    def cloud(self, splats: Splats) -> Cloud:
        """The Gaussians as a browser takes them."""
        axes = quaternion_to_matrix(splats.quaternions) * (splats.scales / CLOUD_UNIT)[:, None]
        return Cloud(
            (splats.means / CLOUD_UNIT).cpu().numpy(),
            (axes @ axes.transpose(-1, -2)).cpu().numpy(),
            splats.colors.clamp(0, 1).cpu().numpy(),
            splats.opacities[:, None].cpu().numpy(),
        )


def viewpoint(framing: Framing, yaw: float) -> tuple[float, float, float]:
    """The place of a camera that looks at the head from an angle (degrees, positive: the subject's left), metres."""
    x, y, z = framing.target
    angle = math.radians(yaw)
    return x + DISTANCE * math.sin(angle), y, z + DISTANCE * math.cos(angle)


def field_of_view(framing: Framing) -> float:
    """The vertical angle that the framing spans, radians."""
    return 2 * math.atan(0.5 * framing.span / DISTANCE)
