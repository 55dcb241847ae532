"""Our own layout, which `avatar generate` and `avatar export transforms` write and nerfstudio reads: pictures and
`transforms.json`. Pictures with transparency bring their mattes."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path

import numpy as np

from avatarcli.datasets.recordings.recording import Recording, Still, decoded, grey, guarded, rgb, single_camera
from avatarcli.errors import PhotoError
from avatarcli.geometry.cameras import Camera

_FILE = "transforms.json"
_OPENGL_FROM_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])  # the file's cameras look along −z with y up


class TransformsRecording:
    """A folder with `transforms.json`: per frame `file_path`, `transform_matrix` (camera to world), `fl_x`, `fl_y`, `cx`,
    `cy`, `w`, `h`, `camera_index` and `timestep_index`; intrinsics may stand once for all at the top."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        self._folder = folder
        guarded(folder / _FILE, self._read)

    def _read(self) -> None:
        document = json.loads((self._folder / _FILE).read_text(encoding="utf-8"))
        self._files: dict[str, dict[int, Path]] = {}
        self._cameras: dict[str, Camera] = {}
        for frame in document["frames"]:
            entry = {**document, **frame}
            name = str(entry.get("camera_index", 0))
            self._files.setdefault(name, {})[int(entry.get("timestep_index", 0))] = self._folder / entry["file_path"]
            if name not in self._cameras:
                pose = np.linalg.inv(np.array(entry["transform_matrix"], dtype=np.float64) @ _OPENGL_FROM_OPENCV)
                focal_y = float(entry.get("fl_y", entry["fl_x"]))
                K = np.array([[entry["fl_x"], 0, entry["cx"]], [0, focal_y, entry["cy"]], [0, 0, 1]], dtype=np.float64)
                self._cameras[name] = single_camera(pose, K, int(entry["w"]), int(entry["h"]))
        if not self._cameras:
            raise ValueError("it has no frames")

    @property
    def cameras(self) -> dict[str, Camera]:
        return self._cameras

    @cached_property
    def _steps(self) -> list[int]:
        return sorted(set.intersection(*(set(files) for files in self._files.values())))

    def frame_count(self) -> int:
        return len(self._steps)

    def shots(self, camera: str, start: int, count: int) -> list[Still]:
        return [self._shot(self._files[camera][step]) for step in self._steps[start : start + count]]

    def _shot(self, path: Path) -> Still:
        image = decoded(path, str(path))
        matte = grey(image.getchannel("A")) if image.mode in ("RGBA", "LA") else None
        return Still(rgb(image), matte)


def find(folder: Path) -> list[Recording]:
    """The folder itself, or every folder below it with such a file. Raises PhotoError for a file that cannot be used."""
    found = [folder] if (folder / _FILE).is_file() else sorted(path.parent for path in folder.glob(f"*/{_FILE}"))
    if not found:
        raise PhotoError(f"{folder} holds no {_FILE}, nor does a folder in it")
    return [TransformsRecording(path) for path in found]
