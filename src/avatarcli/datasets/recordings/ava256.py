"""Ava-256 (github.com/facebookresearch/ava-256), as its datasheet describes it:

<capture>/decoder/camera_calibration.json: a list `KRT` with `cameraId`, `K` and `T` (world to camera) of every camera;
frame_list.csv with `seg_id` and `frame_id`; image/cam<camera>.zip of {frame_id:06d}.avif; segmentation_parts/cam<camera>.zip of
{frame_id:06d}.png, 0 where there is no person. The published pictures are smaller than what the calibration is for.
"""

from __future__ import annotations

import csv
import json
import zipfile
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avatarcli.datasets.captured import Matte
from avatarcli.datasets.recordings.recording import Recording, Still, decoded, guarded, rgb, single_camera
from avatarcli.errors import PhotoError
from avatarcli.geometry.cameras import Camera

_CALIBRATION = Path("decoder") / "camera_calibration.json"
_SENSOR = (2668, 4096)  # pixels: width and height of what was taken, for which the cameras are calibrated
_CHAIR = 3  # class of the segmentation that is no part of the person


class AvaRecording:
    """One segment of a capture."""

    def __init__(self, capture: Path, segment: str, frames: list[str]) -> None:
        self.name = f"{capture.name}_{segment}"
        self._folder = capture / "decoder"
        self._listed = frames
        path = capture / _CALIBRATION
        self.cameras: dict[str, Camera] = guarded(path, lambda: self._read(path))

    def _read(self, path: Path) -> dict[str, Camera]:
        document = json.loads(path.read_text(encoding="utf-8"))
        cameras = {}
        for entry in document["KRT"] if isinstance(document, dict) else document:
            name = str(entry["cameraId"])
            if self._archive("image", name).is_file():
                cameras[name] = single_camera(_pose(entry["T"]), _upper(entry["K"]), *_SENSOR)
        if not cameras:
            raise ValueError("no camera of it has pictures")
        return cameras

    @cached_property
    def _frames(self) -> list[str]:
        """Those that every camera has: some were lost when they were taken."""
        there = [set(self._names("image", name)) for name in self.cameras]
        return [frame for frame in self._listed if all(f"{frame}.avif" in names for names in there)]

    def frame_count(self) -> int:
        return len(self._frames)

    def shots(self, camera: str, start: int, count: int) -> list[Still]:
        shots = []
        for frame in self._frames[start : start + count]:
            archive = self._archive("image", camera)
            image = rgb(decoded(_content(archive, f"{frame}.avif"), f"{archive}: {frame}.avif"))
            shots.append(Still(image, self._matte(camera, frame, image.shape[:2])))
        return shots

    def _matte(self, camera: str, frame: str, shape: tuple[int, ...]) -> Matte | None:
        archive = self._archive("segmentation_parts", camera)
        if not archive.is_file() or f"{frame}.png" not in self._names("segmentation_parts", camera):
            return None
        picture = decoded(_content(archive, f"{frame}.png"), f"{archive}: {frame}.png")
        parts = np.asarray(picture.convert("P") if picture.mode == "P" else picture.convert("L"))
        person = ((parts > 0) & (parts != _CHAIR)).astype(np.float32)
        return person if person.shape == shape else None

    def _archive(self, kind: str, camera: str) -> Path:
        return self._folder / kind / f"cam{camera}.zip"

    def _names(self, kind: str, camera: str) -> list[str]:
        path = self._archive(kind, camera)
        try:
            with zipfile.ZipFile(path) as archive:
                return [Path(name).name for name in archive.namelist()]
        except (OSError, zipfile.BadZipFile) as error:
            raise PhotoError(f"{path} cannot be read ({error})") from None


def find(folder: Path) -> list[Recording]:
    """All segments of all captures. Raises PhotoError when there are none, or a file cannot be used."""
    found: list[Recording] = []
    for calibration in sorted(folder.glob(f"*/{_CALIBRATION.as_posix()}")):
        capture = calibration.parents[1]
        listed = capture / "decoder" / "frame_list.csv"
        segments: dict[str, list[str]] = {}
        for segment, frame in guarded(listed, partial(_listed, listed)):
            segments.setdefault(segment, []).append(f"{frame:06d}")
        found.extend(AvaRecording(capture, segment, sorted(frames)) for segment, frames in sorted(segments.items()))
    if not found:
        raise PhotoError(f"{folder} holds no <capture>/{_CALIBRATION}")
    return found


def _listed(path: Path) -> list[tuple[str, int]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return [(row["seg_id"].strip(), int(row["frame_id"])) for row in csv.DictReader(stream, skipinitialspace=True)]


def _content(archive: Path, name: str) -> bytes:
    try:
        with zipfile.ZipFile(archive) as opened:
            inner = next(entry for entry in opened.namelist() if Path(entry).name == name)
            return opened.read(inner)
    except (OSError, zipfile.BadZipFile, StopIteration) as error:
        raise PhotoError(f"{archive} has no readable {name} ({error})") from None


def _upper(values: list[list[float]]) -> NDArray[np.float64]:
    """K [3, 3], whichever of rows and columns the file has first."""
    K = np.array(values, dtype=np.float64)
    return K.T if K[2, 0] or K[2, 1] else K


def _pose(values: list[list[float]]) -> NDArray[np.float64]:
    """A pose [3 or 4, 4], whichever of rows and columns the file has first: its translation is not in the last row."""
    pose = np.array(values, dtype=np.float64)
    if pose.shape == (4, 3) or (pose.shape == (4, 4) and np.any(pose[3, :3])):
        pose = pose.T
    return pose
