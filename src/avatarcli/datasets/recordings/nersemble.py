"""NeRSemble (github.com/tobias-kirschstein/nersemble-data, version 2), as its download tool lays it out:

<person>/calibration/camera_params.json: `world_2_cam` (a 4 × 4 matrix by camera, OpenCV) and `intrinsics` (3 × 3, shared, for
pictures of 2200 × 3208 pixels); <person>/sequences/<sequence>/images/cam_<camera>.mp4.
"""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path

import numpy as np

from avatarcli.arrays import Pixels
from avatarcli.capture.video import probe_video, read_frames
from avatarcli.datasets.recordings.recording import Recording, Still, guarded, single_camera
from avatarcli.errors import PhotoError
from avatarcli.geometry.cameras import Camera

_CALIBRATION = Path("calibration") / "camera_params.json"
_WIDTH, _HEIGHT = 2200, 3208  # pixels: what the calibration is for
_PREFIX = "cam_"
_EMPTY = ("BACKGROUND",)  # sequences without a person


class NersembleRecording:
    """One sequence of a person; only cameras whose video is there."""

    def __init__(self, person: Path, sequence: Path) -> None:
        self.name = f"{person.name}_{sequence.name}"
        self._videos = {
            path.stem.removeprefix(_PREFIX): path for path in sorted(sequence.glob(f"images/{_PREFIX}*.mp4"))
        }
        path = person / _CALIBRATION
        self.cameras: dict[str, Camera] = guarded(path, lambda: self._read(path))

    def _read(self, path: Path) -> dict[str, Camera]:
        document = json.loads(path.read_text(encoding="utf-8"))
        K = np.array(document["intrinsics"], dtype=np.float64)
        poses = document["world_2_cam"]
        return {
            name: single_camera(np.array(poses[name], dtype=np.float64), K, _WIDTH, _HEIGHT)
            for name in self._videos
            if name in poses
        }

    @cached_property
    def _frames(self) -> int:
        return min(len(probe_video(self._videos[name]).times) for name in self.cameras)

    def frame_count(self) -> int:
        return self._frames

    def shots(self, camera: str, start: int, count: int) -> list[Still]:
        found: list[Pixels] = []
        for number, (_, frame) in enumerate(read_frames(probe_video(self._videos[camera]))):
            if number >= start:
                found.append(frame)
            if len(found) == count:
                return [Still(image) for image in found]
        raise PhotoError(f"{self._videos[camera]} has no frames {start} to {start + count - 1}")


def find(folder: Path) -> list[Recording]:
    """All sequences of all people. Raises PhotoError when there are none, or a calibration cannot be used."""
    people = sorted(path.parents[1] for path in folder.glob(f"*/{_CALIBRATION.as_posix()}"))
    found: list[Recording] = [
        NersembleRecording(person, sequence)
        for person in people
        for sequence in sorted((person / "sequences").glob("*"))
        if sequence.name not in _EMPTY and any(sequence.glob(f"images/{_PREFIX}*.mp4"))
    ]
    if not found:
        raise PhotoError(f"{folder} holds no <person>/sequences/<sequence>/images/cam_*.mp4 with {_CALIBRATION}")
    return found
