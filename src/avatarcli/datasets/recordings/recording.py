"""What a multi-view recording is to the reader, whatever the layout of its files."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from avatarcli.arrays import Pixels
from avatarcli.datasets.captured import Matte
from avatarcli.errors import PhotoError
from avatarcli.geometry.cameras import Camera


@dataclass(frozen=True)
class Still:
    """One picture [H, W, 3] as it was taken, and its matte [H, W] in [0, 1] if the recording has one."""

    image: Pixels
    matte: Matte | None = None


class Recording(Protocol):
    """One person (or one performance of a person) seen by calibrated cameras that stand still.

    cameras: by name, with the size of the pictures for which they are calibrated; lengths are in any unit. Making one reads the
    calibration only.
    """

    @property
    def name(self) -> str: ...

    @property
    def cameras(self) -> Mapping[str, Camera]: ...

    def frame_count(self) -> int:
        """How many frames every camera has."""
        ...

    def shots(self, camera: str, start: int, count: int) -> list[Still]:
        """`count` consecutive pictures of a camera, of one size, free of lens distortion.

        Raises:
            PhotoError, VideoError: one is missing or damaged.
        """
        ...


def single_camera(world_to_camera: NDArray[np.floating], K: NDArray[np.floating], width: int, height: int) -> Camera:
    """A camera of a calibration file: world_to_camera [3 or 4, 4] and K [3, 3].

    Raises:
        ValueError: another shape, or numbers that are no camera.
    """
    if world_to_camera.shape not in ((3, 4), (4, 4)) or K.shape != (3, 3):
        raise ValueError(f"a camera needs a pose [4, 4] and K [3, 3], not {world_to_camera.shape} and {K.shape}")
    rotation = world_to_camera[:3, :3]
    if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-2) or K[0, 0] <= 0:
        raise ValueError("a camera's rotation or focal length is not valid")
    pose = np.eye(4)
    pose[:3] = world_to_camera[:3]
    return Camera(_float(pose), _float(K), width, height)


def decoded(content: bytes | Path, where: str) -> Image.Image:
    """A picture from a file or its content. Raises PhotoError."""
    try:
        with Image.open(content if isinstance(content, Path) else io.BytesIO(content)) as image:
            image.load()
            return image
    except FileNotFoundError:
        raise PhotoError(f"{where} is missing") from None
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise PhotoError(f"{where} cannot be read ({error})") from None


def rgb(image: Image.Image) -> Pixels:
    return np.asarray(image.convert("RGB"))


def grey(image: Image.Image) -> Matte:
    return np.asarray(image.convert("L"), dtype=np.float32) / np.float32(255)


def guarded(path: Path, read: Callable[[], Any]) -> Any:
    """What `read` makes of a calibration file; a one-line PhotoError that names it otherwise."""
    try:
        return read()
    except FileNotFoundError:
        raise PhotoError(f"{path} is missing") from None
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        reason = f"no entry {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
        raise PhotoError(f"{path} cannot be used ({reason})") from None


def _float(array: NDArray[np.floating]) -> Tensor:
    return torch.from_numpy(np.asarray(array, dtype=np.float32))
