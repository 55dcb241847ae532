"""The subject of an evaluation: an avatar, and what it was made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatarcli.capture.identity import FaceEmbedder
from avatarcli.capture.landmarks import FaceLandmarks, detect_face
from avatarcli.capture.preprocessed import Preprocessed
from avatarcli.evaluation.metrics import Points
from avatarcli.gaussians.avatar import Avatar
from avatarcli.gaussians.rasterize import Rasterized
from avatarcli.gaussians.rig import Rig
from avatarcli.geometry.cameras import Camera
from avatarcli.head.face_points import IRISES
from avatarcli.head.parameters import HeadParameters
from avatarcli.pictures import to_bytes
from avatarcli.weights.lpips import Backbone, Lpips

SIZE = 512  # pixels: side of every picture that is judged
WHITE = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Sitter:
    """One avatar under test. Pictures come back on the CPU, whatever the device that drew them."""

    name: str
    file: Path  # avatar.safetensors
    avatar: Avatar
    rig: Rig
    photo: Preprocessed
    seconds: float  # that making it took, all stages

    @classmethod
    def load(cls, name: str, preprocess: Path, file: Path, *, seconds: float, device: str) -> Sitter:
        """Read an avatar file and the preprocess folder it was made from. Raises WorkspaceError or OSError."""
        avatar = Avatar.load(file).to(device)
        return cls(name, file, avatar, avatar.rig(), Preprocessed.load(preprocess), seconds)

    @property
    def device(self) -> torch.device:
        return self.avatar.means.device

    def draw(self, parameters: HeadParameters, camera: Camera) -> Rasterized:
        """The avatar on white."""
        with torch.inference_mode():
            drawn = self.avatar.render(
                self.rig, parameters.to(self.device), camera.to(self.device), torch.tensor(WHITE, device=self.device)
            )
            return Rasterized(drawn.color.clamp(0, 1).cpu(), drawn.alpha.cpu())

    def face(self, parameters: HeadParameters, camera: Camera) -> tuple[NDArray[np.uint8], FaceLandmarks]:
        """A picture [H, W, 3] of the avatar and the face found in it. Raises PhotoError when there is none."""
        picture = to_bytes(self.draw(parameters, camera).color)
        return picture, detect_face(picture)

    def landmarks(self, parameters: HeadParameters, camera: Camera) -> NDArray[np.float64]:
        """Where the head model says MediaPipe's points [478, 2] (pixels) are in the first frame of `parameters`."""
        head = self.avatar.head
        points = head.model.landmarks(head.in_world(parameters[:1].to(self.device))[0])
        return camera.project(points.cpu())[0].double().numpy()

    def orbit(self, yaw: list[float], size: int = SIZE) -> Camera:
        """Cameras at eye level around the avatar; yaw in degrees, positive on the subject's left."""
        angles = torch.deg2rad(torch.tensor(yaw))
        return self.avatar.framing.cameras(angles, torch.zeros(len(yaw)), size)


class Instruments:
    """The networks of the metrics, loaded when first used. Every use of one that is missing raises WeightsError."""

    def __init__(self, device: str) -> None:
        self._device = device

    @cached_property
    def alex(self) -> Lpips:
        return Lpips("alex").to(self._device)

    @cached_property
    def vgg(self) -> Lpips:
        return Lpips("vgg").to(self._device)

    @cached_property
    def embed(self) -> FaceEmbedder:
        return FaceEmbedder(self._device)

    def lpips(self, backbone: Backbone, image: Tensor, target: Tensor) -> float:
        """LPIPS of two pictures [H, W, 3] in [0, 1]."""
        network = self.alex if backbone == "alex" else self.vgg
        with torch.inference_mode():
            return float(network(image.to(self._device), target.to(self._device)))


def interocular(landmarks: Points) -> float:
    """Pixels between the irises of MediaPipe's points [478, 2]."""
    return float(np.linalg.norm(landmarks[IRISES[0]] - landmarks[IRISES[1]]))
