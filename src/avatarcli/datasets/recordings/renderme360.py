"""RenderMe-360 (renderme-360.github.io), as its download page describes it: HDF5 files <actor>_<performance>[_raw|_anno].smc.

A group of cameras holds <camera>/color/<frame> and, in the full data, <camera>/mask/<frame>, pictures or JPEG streams; another
holds the calibration, <camera>/K, D (five lens distortions, OpenCV) and RT (camera to world). The published raw files keep
pictures and annotations apart: the calibration is then read from the actor's *_anno.smc beside them.

Needs h5py (`pip install 'avatarcli[train]'`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from avatarcli.arrays import Pixels
from avatarcli.datasets.captured import Matte
from avatarcli.datasets.recordings.recording import Recording, Still, decoded, grey, guarded, rgb, single_camera
from avatarcli.errors import PhotoError, UsageError
from avatarcli.geometry.cameras import Camera
from avatarcli.system import install_extra

# The page and the files name the groups differently.
_PICTURES = ("Camera", "Videos", "Images")
_CALIBRATIONS = ("Calibration", "Calibrations", "Camera_Parameter")


class RenderMeRecording:
    """One performance of an actor."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem.removesuffix("_raw")
        self._path = path
        with _opened(path) as file:
            self._group = _first(file, _PICTURES, path)
            views = file[self._group]
            self._names = [name for name in views if "color" in views[name] and len(views[name]["color"])]
            self._sizes = {name: _size(views[name]["color"]) for name in self._names}
        calibration = next((p for p in (path, self._annotation()) if p.is_file() and _has(p, _CALIBRATIONS)), None)
        if calibration is None:
            raise PhotoError(f"{path} has no calibration, and there is no {self._annotation().name} that has one")
        self._distortion: dict[str, NDArray[np.float64]] = {}
        self.cameras: dict[str, Camera] = guarded(calibration, lambda: self._read(calibration))

    def _annotation(self) -> Path:
        return self._path.with_name(f"{self.name}_anno.smc")

    def _read(self, path: Path) -> dict[str, Camera]:
        cameras = {}
        with _opened(path) as file:
            every = file[_first(file, _CALIBRATIONS, path)]
            # One file has "7" for the other's "07".
            known = {int(name): every[name] for name in every if name.isdigit()}
            for name in self._names:
                entry = known.get(int(name)) if name.isdigit() else None
                if entry is None:
                    continue
                to_world = np.array(entry["RT"], dtype=np.float64)
                width, height = self._sizes[name]
                cameras[name] = single_camera(
                    np.linalg.inv(to_world), np.array(entry["K"], dtype=np.float64), width, height
                )
                self._distortion[name] = np.array(entry["D"], dtype=np.float64).reshape(-1)
        if not cameras:
            raise ValueError("no camera of it has pictures")
        return cameras

    @cached_property
    def _frames(self) -> list[str]:
        with _opened(self._path) as file:
            views = file[self._group]
            shared = set.intersection(*(set(views[name]["color"]) for name in self.cameras))
        return sorted(shared, key=int)

    def frame_count(self) -> int:
        return len(self._frames)

    def shots(self, camera: str, start: int, count: int) -> list[Still]:
        found = []
        with _opened(self._path) as file:
            view = file[self._group][camera]
            for frame in self._frames[start : start + count]:
                image = _picture(view["color"][frame], f"{self._path}: {camera}/color/{frame}")
                mask: Matte | None = None
                if "mask" in view and frame in view["mask"]:
                    mask = _mask(view["mask"][frame], f"{self._path}: {camera}/mask/{frame}")
                found.append(
                    Still(self._straight(camera, image), None if mask is None else self._straight(camera, mask))
                )
        return found

    def _straight(self, camera: str, picture: Any) -> Any:
        """Without the lens' distortion."""
        distortion = self._distortion[camera]
        if not distortion.any():
            return picture
        return cv2.undistort(picture, self.cameras[camera].K.double().numpy(), distortion)


def find(folder: Path) -> list[Recording]:
    """All performances of all actors. Raises PhotoError when there are none, or a file cannot be used."""
    files = [path for path in sorted(folder.rglob("*.smc")) if not path.stem.endswith("_anno")]
    if not files:
        raise PhotoError(f"{folder} holds no <actor>_<performance>.smc files")
    return [RenderMeRecording(path) for path in files]


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        import h5py
    except ImportError:
        raise UsageError(f"RenderMe-360 files need h5py: {install_extra('train')}") from None
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise PhotoError(f"{path} cannot be read ({str(error).splitlines()[0]})") from None
    with file:
        yield file


def _first(file: Any, names: tuple[str, ...], path: Path) -> str:
    for name in names:
        if name in file:
            return name
    raise PhotoError(f"{path} has no group {' or '.join(names)}")


def _has(path: Path, names: tuple[str, ...]) -> bool:
    with _opened(path) as file:
        return any(name in file for name in names)


def _size(pictures: Any) -> tuple[int, int]:
    """Width and height of a camera's pictures."""
    first = next(iter(pictures))
    height, width = _picture(pictures[first], first).shape[:2]
    return width, height


def _picture(data: Any, where: str) -> Pixels:
    """Stored as it is, or as a JPEG stream."""
    values = np.asarray(data)
    if values.ndim == 3:
        return np.ascontiguousarray(values[..., :3], dtype=np.uint8)
    return rgb(decoded(values.astype(np.uint8).tobytes(), where))


def _mask(data: Any, where: str) -> Matte:
    values = np.asarray(data)
    if values.ndim >= 2:
        return np.asarray(values.reshape(*values.shape[:2], -1)[..., 0], dtype=np.float32) / np.float32(255)
    return grey(decoded(values.astype(np.uint8).tobytes(), where))
