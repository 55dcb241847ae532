"""Pinhole cameras in OpenCV's convention: x right, y down, z forward; pixel centres lie at half integers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.geometry.rotations import invert_rigid, rigid


@dataclass(frozen=True)
class Camera:
    """One camera, or a batch of cameras that share their picture size.

    world_to_camera: rigid transforms [..., 4, 4], metres.
    K: intrinsics [..., 3, 3] in pixels of a `width` × `height` picture.
    """

    world_to_camera: Tensor
    K: Tensor
    width: int
    height: int

    def __post_init__(self) -> None:
        if self.world_to_camera.shape[-2:] != (4, 4) or self.K.shape[-2:] != (3, 3):
            raise ValueError(
                "Camera wants world_to_camera [..., 4, 4] and K [..., 3, 3], got "
                f"{list(self.world_to_camera.shape)} and {list(self.K.shape)}"
            )

    def __getitem__(self, index: int | slice | Tensor) -> Camera:
        return Camera(self.world_to_camera[index], self.K[index], self.width, self.height)

    def __len__(self) -> int:
        return self.world_to_camera.shape[0]

    @property
    def centre(self) -> Tensor:
        """Positions of the cameras in the world [..., 3]."""
        return invert_rigid(self.world_to_camera)[..., :3, 3]

    def to(self, device: torch.device | str) -> Camera:
        return Camera(self.world_to_camera.to(device), self.K.to(device), self.width, self.height)

    def resized(self, width: int, height: int) -> Camera:
        """The same cameras taking pictures of another size."""
        scale = torch.tensor([width / self.width, height / self.height, 1.0], dtype=self.K.dtype, device=self.K.device)
        return Camera(self.world_to_camera, self.K * scale[:, None], width, height)

    def cropped(self, left: float, top: float, width: int, height: int) -> Camera:
        """The same cameras seeing only the window whose corner lies at pixel (left, top)."""
        K = self.K.clone()
        K[..., 0, 2] -= left
        K[..., 1, 2] -= top
        return Camera(self.world_to_camera, K, width, height)

    def to_camera(self, points: Tensor) -> Tensor:
        """Points [..., N, 3] from the world into the cameras' frames [..., N, 3]."""
        w2c = self.world_to_camera
        return points @ w2c[..., :3, :3].transpose(-1, -2) + w2c[..., None, :3, 3]

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Pixel positions [..., N, 2] and depths [..., N] (metres) of world points [..., N, 3].

        Points at or behind the camera plane give meaningless pixels: look at the depth.
        """
        local = self.to_camera(points)
        depth = local[..., 2]
        homogeneous = local @ self.K.transpose(-1, -2)
        safe = torch.where(depth.abs() < 1e-9, torch.full_like(depth, 1e-9), depth)
        return homogeneous[..., :2] / safe[..., None], depth

    def unproject(self, pixels: Tensor, depth: Tensor) -> Tensor:
        """World points [..., N, 3] at pixel positions [..., N, 2] and depths [..., N] (metres)."""
        ones = torch.ones_like(pixels[..., :1])
        rays = torch.cat([pixels, ones], dim=-1) @ torch.linalg.inv(self.K).transpose(-1, -2)
        local = rays * depth[..., None]
        c2w = invert_rigid(self.world_to_camera)
        return local @ c2w[..., :3, :3].transpose(-1, -2) + c2w[..., None, :3, 3]

    def rays(self) -> Tensor:
        """Unit directions [H, W, 3] in the world in which one camera's pixels look."""
        rows, columns = torch.arange(self.height) + 0.5, torch.arange(self.width) + 0.5
        pixels = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)
        ends = self.unproject(pixels.flatten(0, 1), torch.ones(self.height * self.width))
        return functional.normalize(ends - self.centre, dim=-1).view(self.height, self.width, 3)


def intrinsics(focal: Tensor | float, width: int, height: int) -> Tensor:
    """K [..., 3, 3] with the given focal length (pixels) and the principal point in the middle of the picture."""
    focal = torch.as_tensor(focal, dtype=torch.float32)
    zero, one = torch.zeros_like(focal), torch.ones_like(focal)
    rows = [focal, zero, one * (width / 2), zero, focal, one * (height / 2), zero, zero, one]
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def look_at(eye: Tensor, target: Tensor, up: Tensor | None = None) -> Tensor:
    """world_to_camera [..., 4, 4] of cameras at `eye` [..., 3] that see `target` [..., 3] in the middle.

    `up` [..., 3] is the world's up (default +y). Looking straight along it, +z takes its place.
    """
    forward = functional.normalize(target - eye, dim=-1)
    if up is None:
        up = torch.tensor([0.0, 1.0, 0.0], dtype=eye.dtype, device=eye.device)
    up = up.expand_as(forward)
    right = torch.linalg.cross(forward, up)
    fallback = torch.linalg.cross(
        forward, torch.tensor([0.0, 0.0, 1.0], dtype=eye.dtype, device=eye.device).expand_as(up)
    )
    right = torch.where(right.norm(dim=-1, keepdim=True) < 1e-6, fallback, right)
    right = functional.normalize(right, dim=-1)
    down = torch.linalg.cross(forward, right)
    rotation = torch.stack([right, down, forward], dim=-2)
    return rigid(rotation, -(rotation @ eye[..., None])[..., 0])


def orbit_cameras(
    yaw: Tensor, pitch: Tensor, *, distance: Tensor | float, target: Tensor, focal: Tensor | float, size: int
) -> Camera:
    """Square-picture cameras on a sphere around `target` [3].

    yaw, pitch: [V], radians. Yaw 0 sees the face from +z, a positive yaw sees the subject's left side (+x); a positive pitch
    looks down from above. distance: metres. focal: pixels of a `size` × `size` picture.
    """
    direction = torch.stack([yaw.sin() * pitch.cos(), pitch.sin(), yaw.cos() * pitch.cos()], dim=-1)
    eye = target + direction * torch.as_tensor(distance)[..., None]
    K = intrinsics(focal, size, size).expand(len(yaw), 3, 3)
    return Camera(look_at(eye, target), K, size, size)


def focal_for_field_of_view(degrees: float, size: int) -> float:
    """Focal length in pixels that makes a picture `size` pixels wide span `degrees`."""
    return 0.5 * size / math.tan(math.radians(degrees) / 2)
